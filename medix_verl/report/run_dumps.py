# SPDX-License-Identifier: Apache-2.0
"""Reads the answers that verl dumped of a training run, file by file, and keeps a bounded part of them.

verl 0.9.1 writes `STEP.jsonl` with `input`, `output`, `gts`, `score` and `uid` (GROUP_SESSION_INDEX); a validation has
the reward's terms too, training answers of the V1 trainer have not. The plugin's own parts, where they are, are joined
by `uid`. Terms are whatever a line has: those of its `terms`, or those that its flat keys show (see rewards/keys.py).
A term whose flag says that it does not hold is None, never 0. Lines that cannot be read are counted.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medix_verl.response import parse_response
from medix_verl.rewards.keys import in_order, number_of, values_of
from medix_verl.runtime.files import read_json_lines

__all__ = ["HIGH", "OUTCOMES", "Answer", "Dumps", "StepAnswers", "read_dumps"]

OUTCOMES = ("wrong", "right", "no verdict", "low score", "high score")
"""In the order in which they are shown; the last two where a dump has no terms."""
HIGH = 0.5
SAME = 1e-6


@dataclass(frozen=True, slots=True)
class Answer:
    """One dumped answer."""

    step: int
    uid: str
    input: str
    output: str
    reference: str
    score: float | None
    terms: Mapping[str, float | None]
    """acc and the reward's terms, those that the dump has, in the order in which they are shown."""
    row_id: str | None = None
    source: str | None = None
    modality: str | None = None

    @property
    def group(self) -> str | None:
        """The prompt that it belongs to; None where the dump does not say."""
        return self.uid.rsplit("_", 2)[0] if self.uid.count("_") >= 2 else None

    @property
    def outcome(self) -> str:
        """One of OUTCOMES."""
        if "acc" in self.terms:
            acc = self.terms["acc"]
            return "no verdict" if acc is None else "right" if acc >= HIGH else "wrong"
        if self.score is None:
            return "no verdict"
        return "high score" if self.score >= HIGH else "low score"


@dataclass(frozen=True, slots=True)
class StepAnswers:
    """One step's answers, in figures."""

    step: int
    answers: int
    groups: int
    """Prompts with two scored answers or more."""
    collapsed: int
    """Of these, those whose answers all have one score."""
    common: str
    """The commonest parsed answer."""
    common_share: float
    references: int
    """Different reference answers."""
    reference_share: float
    """Of the commonest reference."""
    wordless: float
    """Share of answers without any letter or digit."""
    unparsed: float
    """Share without a closed answer block."""


@dataclass(frozen=True, slots=True)
class Dumps:
    """What is kept of a folder of answers."""

    steps: tuple[StepAnswers, ...] = ()
    kept: tuple[Answer, ...] = ()
    """A seeded choice, of each outcome a bounded number."""
    first: tuple[Answer, ...] = ()
    """Every answer of the first step, where asked for."""
    last: tuple[Answer, ...] = ()
    broken: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)

    @property
    def answers(self) -> int:
        """How many there are in all."""
        return sum(step.answers for step in self.steps)


def read_dumps(folder: Path | None, parts: Path | None = None, keep: int = 60, whole: bool = False) -> Dumps:
    """Read a folder of answers; none without a folder.

    Args:
        folder: With verl's STEP.jsonl.
        parts: The plugin's own, with STEP.jsonl or val-STEP.jsonl.
        keep: At most so many of each outcome.
        whole: Whether all answers of the first and of the last step are wanted.
    """
    numbered = sorted(
        (int(path.stem), path) for path in (folder.glob("*.jsonl") if folder else ()) if path.stem.isdigit()
    )
    store = Reservoir(keep)
    steps: list[StepAnswers] = []
    first: tuple[Answer, ...] = ()
    last: tuple[Answer, ...] = ()
    broken = 0
    for number, path in numbered:
        found = list(read_step(path, number, parts_of(parts, number, whole)))
        answers = tuple(answer for answer in found if answer is not None)
        broken += len(found) - len(answers)
        if not answers:
            continue
        steps.append(summarise(number, answers))
        for answer in answers:
            store.offer(answer)
        if whole:
            first, last = first or answers, answers
    return Dumps(tuple(steps), store.taken(), first, last, broken, dict(store.seen))


def parts_of(folder: Path | None, number: int, validation: bool) -> dict[str, dict[str, Any]]:
    """The plugin's parts of a step, by uid."""
    path = folder / f"{'val-' if validation else ''}{number}.jsonl" if folder else None
    if path is None or not path.exists():
        return {}
    return {str(entry["uid"]): entry for entry in read_json_lines(path) if entry and "uid" in entry}


def read_step(path: Path, number: int, parts: Mapping[str, Mapping[str, Any]]) -> Iterator[Answer | None]:
    """The answers of one file; None for a line that is none."""
    for entry in read_json_lines(path):
        if entry is None or not isinstance(entry.get("output"), str):
            yield None
            continue
        uid = str(entry.get("uid") or "")
        entry = {**entry, **{key: value for key, value in parts.get(uid, {}).items() if key != "score"}}
        yield Answer(
            step=number,
            uid=uid,
            input=str(entry.get("input") or ""),
            output=entry["output"],
            reference="" if entry.get("gts") is None else str(entry["gts"]),
            score=number_of(entry.get("score")),
            terms=terms_of(entry),
            row_id=text_of(entry.get("id")),
            source=text_of(entry.get("data_source")),
            modality=text_of(entry.get("modality_tag")),
        )


def terms_of(entry: Mapping[str, Any]) -> dict[str, float | None]:
    """acc and the terms that a line has; None where one has no value."""
    told = entry.get("terms")
    if not isinstance(told, Mapping):
        return values_of(entry)
    acc = {"acc": told["acc"]} if "acc" in told else {}
    return {name: number_of(value) for name, value in {**acc, **{name: told[name] for name in in_order(told)}}.items()}


def text_of(value: Any) -> str | None:
    """A text that is not empty, or None."""
    return value if isinstance(value, str) and value else None


def summarise(number: int, answers: tuple[Answer, ...]) -> StepAnswers:
    """One step's figures."""
    groups: dict[str, list[float]] = defaultdict(list)
    said, references, wordless, unparsed = Counter[str](), Counter[str](), 0, 0
    for answer in answers:
        if answer.group is not None and answer.score is not None:
            groups[answer.group].append(answer.score)
        parsed = parse_response(answer.output).answer
        unparsed += parsed is None
        text = (parsed or "").casefold()
        wordless += not any(sign.isalnum() for sign in text)
        said[text] += 1
        references[answer.reference.casefold()] += 1
    del said[""]
    spreads = [max(scores) - min(scores) for scores in groups.values() if len(scores) > 1]
    common, count = said.most_common(1)[0] if said else ("", 0)
    return StepAnswers(
        step=number,
        answers=len(answers),
        groups=len(spreads),
        collapsed=sum(spread < SAME for spread in spreads),
        common=common,
        common_share=count / len(answers),
        references=len(references),
        reference_share=references.most_common(1)[0][1] / len(answers),
        wordless=wordless / len(answers),
        unparsed=unparsed / len(answers),
    )


class Reservoir:
    """Keeps an even choice of each outcome of a stream of any length (reservoir sampling, seeded)."""

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        self.rng = random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.kept: dict[str, list[Answer]] = defaultdict(list)

    def offer(self, answer: Answer) -> None:
        """Take an answer, or not."""
        outcome = answer.outcome
        self.seen[outcome] += 1
        kept = self.kept[outcome]
        if len(kept) < self.size:
            kept.append(answer)
            return
        place = self.rng.randrange(self.seen[outcome])
        if place < self.size:
            kept[place] = answer

    def taken(self) -> tuple[Answer, ...]:
        """At most `size` answers, every outcome as evenly as can be, of each the newest steps first."""
        turns = sorted((place, OUTCOMES.index(name)) for name, kept in self.kept.items() for place in range(len(kept)))
        chosen = [(kind, self.kept[OUTCOMES[kind]][place]) for place, kind in turns[: self.size]]
        return tuple(answer for _, answer in sorted(chosen, key=lambda item: (item[0], -item[1].step)))
