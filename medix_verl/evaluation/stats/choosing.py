# SPDX-License-Identifier: Apache-2.0
"""Measures answer biases: the share of yes, and whether a choice stays the same when the options are rotated
(medix_verl.evaluation.tasks.rotation).

Answers are parsed by medix_verl.choices, as in the judge. An answer that cannot be parsed is counted and never agrees
with another one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from medix_verl.choices import Choices, read_choice, read_yes_no
from medix_verl.evaluation.audit.agreement import Estimate
from medix_verl.evaluation.stats.intervals import clustered_mean
from medix_verl.evaluation.store.records import Record, first_answers

__all__ = ["Rotations", "YesRate", "chosen", "rotations", "yes_rate"]


@dataclass(frozen=True, slots=True)
class YesRate:
    """How often a model answers yes to yes/no questions."""

    questions: int
    """Answered questions."""
    said: Estimate | None
    """Share of yes among the answers that are yes or no; None without any."""
    right: float
    """Share of these questions whose answer is yes."""
    neither: int
    """Answers that are neither yes nor no."""


@dataclass(frozen=True, slots=True)
class Rotations:
    """How a model's choices depend on the order of the options."""

    questions: int
    """Questions with two or more rotations, all answered."""
    incomplete: int
    """Rotated questions that were not answered in all rotations."""
    not_turned: int
    """Questions whose options cannot be rotated."""
    consistency: Estimate | None
    """Share of `questions` with the same option chosen in all rotations."""
    every: Estimate | None
    """Share of right in all rotations, among the questions with a score in each."""
    unread: int
    """Answers to `questions` from which no option can be parsed."""
    letters: Mapping[str, float]
    """Letter -> its share among the parsed choices. The right option has each letter equally often."""


def yes_rate(records: Sequence[Record]) -> YesRate | None:
    """The share of yes; None without yes/no questions."""
    said: list[tuple[bool | None, str, bool]] = []
    for record in records:
        wanted = says_yes(record.reference, record) if record.answer_type in ("open", "closed") else None
        if wanted is not None and record.status != "error":
            said.append((None if record.answer is None else says_yes(record.answer, record), record.cluster, wanted))
    if not said:
        return None
    read = [(float(yes), cluster) for yes, cluster, _ in said if yes is not None]
    return YesRate(
        questions=len(said),
        said=clustered_mean([yes for yes, _ in read], [cluster for _, cluster in read]),
        right=sum(wanted for _, _, wanted in said) / len(said),
        neither=len(said) - len(read),
    )


def says_yes(text: str, record: Record) -> bool | None:
    """Whether a text answers yes or no to a record's question; None for neither, or if yes and no are not options."""
    if record.options is None:
        return read_yes_no(text, record.question)
    choices = Choices.of(record.options)
    place = read_choice(text, choices, record.question) if choices.yes_no is not None else None
    return place == choices.yes_no[0] if choices.yes_no is not None and place in choices.yes_no else None


def chosen(record: Record) -> int | None:
    """Index of the chosen option, in the order that the model saw; None if none can be parsed."""
    if record.answer is None or not record.options:
        return None
    return read_choice(record.answer, Choices.of(record.options), record.question)


def rotations(records: Sequence[Record]) -> Rotations | None:
    """How choices change when the options are rotated; None if none are rotated."""
    groups: dict[str, list[Record]] = {}
    for record in first_answers(records):
        if record.rotation_of is not None:
            groups.setdefault(record.rotation_of, []).append(record)
    several = [group for group in groups.values() if len(group) > 1]
    if not several:
        return None
    whole = [group for group in several if all(record.status != "error" for record in group)]
    places = [[chosen(record) for record in group] for group in whole]
    same = [is_same(group, found) for group, found in zip(whole, places, strict=True)]
    judged = [group for group in whole if all(record.value is not None for record in group)]
    read = [place for found in places for place in found if place is not None]
    return Rotations(
        questions=len(whole),
        incomplete=len(several) - len(whole),
        not_turned=sum(bool(record.options) and record.rotation_of is None for record in records),
        consistency=clustered_mean(list(map(float, same)), [group[0].cluster for group in whole]),
        every=clustered_mean(
            [float(all(record.value == 1.0 for record in group)) for group in judged],
            [group[0].cluster for group in judged],
        ),
        unread=sum(map(len, places)) - len(read),
        letters={ascii_uppercase[place]: count / len(read) for place, count in sorted(Counter(read).items())},
    )


def is_same(group: Sequence[Record], places: Sequence[int | None]) -> bool:
    """Whether the same option was chosen in all rotations of a question, compared in the question's original order."""
    turned = {
        None if place is None else (place + record.rotation) % len(record.options or ())
        for record, place in zip(group, places, strict=True)
    }
    return len(turned) == 1 and None not in turned
