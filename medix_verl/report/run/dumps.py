# SPDX-License-Identifier: Apache-2.0
"""Reads the answers of a training run that verl dumped, file by file, and keeps a bounded sample.

verl 0.9.1 writes `STEP.jsonl` with `input`, `output`, `gts`, `score` and `uid` (GROUP_SESSION_INDEX). Validation dumps
also have the reward's terms, training dumps of the V1 trainer do not. The plugin's own parts, if any, are joined by
`uid`. Terms are taken from a line's `terms`, or from its flat keys (see rewards/keys.py). A term whose flag says that
it is not valid is None, not 0. Lines that cannot be read are counted.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medix_verl.chat_template import read_prompt
from medix_verl.response import parse_response
from medix_verl.rewards.keys import in_order, number_of, values_of
from medix_verl.runtime.files import read_json_lines

__all__ = ["HIGH", "OUTCOMES", "Answer", "Dumps", "StepAnswers", "read_dumps"]

OUTCOMES = ("wrong", "right", "no verdict", "low score", "high score")
"""In display order; the last two are used if a dump has no terms."""
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
    """acc and the reward's terms, as far as the dump has them, in display order."""
    row_id: str | None = None
    source: str | None = None
    modality: str | None = None

    @property
    def parsed(self) -> str | None:
        """Its answer block, by the parser of training; the dumped prompt shows whether it opens a thinking block."""
        return parse_response(self.output, read_prompt(self.input).thinking).answer

    @property
    def group(self) -> str | None:
        """The prompt that it belongs to; None if the dump does not record it."""
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
    """Figures of one step's answers."""

    step: int
    answers: int
    groups: int
    """Prompts with at least two scored answers."""
    collapsed: int
    """Prompts of these whose answers all have the same score."""
    common: str
    """The most frequent parsed answer."""
    common_share: float
    references: int
    """Number of distinct reference answers."""
    reference_share: float
    """Share of the most frequent reference."""
    wordless: float
    """Share of answers without any letter or digit."""
    unparsed: float
    """Share of answers without a closed answer block."""


@dataclass(frozen=True, slots=True)
class Dumps:
    """The figures of a folder of answers, and the answers that are kept."""

    steps: tuple[StepAnswers, ...] = ()
    kept: tuple[Answer, ...] = ()
    """A seeded sample with a bounded number of each outcome."""
    first: tuple[Answer, ...] = ()
    """All answers of the first step, if requested; `last` likewise."""
    last: tuple[Answer, ...] = ()
    broken: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)

    @property
    def answers(self) -> int:
        """Total number of answers."""
        return sum(step.answers for step in self.steps)


def read_dumps(folder: Path | None, parts: Path | None = None, keep: int = 60, whole: bool = False) -> Dumps:
    """Read a folder of answers; empty without a folder.

    Args:
        folder: The folder with verl's STEP.jsonl.
        parts: The folder of the plugin's parts, with STEP.jsonl or val-STEP.jsonl.
        keep: Most answers kept of each outcome.
        whole: Whether to keep all answers of the first and of the last step.
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
    """The answers of one file; None for a line that is not an answer."""
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
    """acc and the terms of a line; None for one without a value."""
    own = entry.get("terms")
    if not isinstance(own, Mapping):
        return values_of(entry)
    acc = {"acc": own["acc"]} if "acc" in own else {}
    return {name: number_of(value) for name, value in {**acc, **{name: own[name] for name in in_order(own)}}.items()}


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
        parsed = answer.parsed
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
    """Keeps a uniform sample of each outcome of a stream (seeded reservoir sampling)."""

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        self.rng = random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.kept: dict[str, list[Answer]] = defaultdict(list)

    def offer(self, answer: Answer) -> None:
        """Add an answer to the stream."""
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
        """At most `size` answers, as evenly as possible from each outcome, the newest steps first."""
        turns = sorted((place, OUTCOMES.index(name)) for name, kept in self.kept.items() for place in range(len(kept)))
        chosen = [(kind, self.kept[OUTCOMES[kind]][place]) for place, kind in turns[: self.size]]
        return tuple(answer for _, answer in sorted(chosen, key=lambda item: (item[0], -item[1].step)))
