# SPDX-License-Identifier: Apache-2.0
"""Reads the input of a judge audit: labelled pairs, and attacks, which are pairs that must be judged wrong.

A pair's line has `reference`, `candidate` and `label` (true, false, 1 or 0: does the candidate say the same?), and
optionally `question`, `options`, `synonyms`, `tolerance`, `images` (paths relative to the file's folder, or data URIs),
`id` and `credentialed` (true: must not be sent to a third party). An attack's line has `attack` (its name), `kind`,
`question`, `reference` and `candidate`. The package contains a set of attacks, written for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import medix_verl.judge
from medix_verl.data.io.jsonl import (
    credentialed_row_at,
    images_at,
    kind_of,
    number_at,
    read_lines,
    read_object,
    text_at,
    texts_at,
)
from medix_verl.errors import DataError
from medix_verl.types import Reference

__all__ = ["BUILTIN", "PAIR", "Case", "read_attacks", "read_pairs"]

BUILTIN = Path(medix_verl.judge.__file__).with_name("attacks.jsonl")
"""The attacks contained in the package."""
PAIR = "pair"
NEEDS = {PAIR: "reference, candidate and label", "attack": "attack, kind, question, reference and candidate"}


@dataclass(frozen=True, slots=True)
class Case:
    """A candidate answer whose right verdict is known."""

    name: str
    kind: str
    """PAIR, or the kind of attack."""
    candidate: str
    reference: Reference
    label: bool
    """Whether the candidate says what the reference says; False for every attack."""


def read_pairs(path: Path) -> list[Case]:
    """Read labelled pairs; DataError: a line cannot be used (the message has its number), or there is none."""
    return read_cases(path, PAIR)


def read_attacks(path: Path = BUILTIN) -> list[Case]:
    """Read a set of attacks; DataError: a line cannot be used (the message has its number), or there is none."""
    return read_cases(path, "attack")


def read_cases(path: Path, what: str) -> list[Case]:
    """Read all lines of a file; it needs at least one."""
    if not path.is_file():
        raise DataError(f"{path} is not a file; give a JSONL file whose lines have {NEEDS[what]}")
    cases = list(read_lines(path, partial(read_case, what=what, folder=path.absolute().parent)))
    if not cases:
        raise DataError(f"{path} has no line; write at least one with {NEEDS[what]}")
    return cases


def read_case(raw: bytes, number: int, what: str, folder: Path = Path()) -> Case:
    """Read one line; picture paths are relative to `folder`; DataError: the fault, without file and line number."""
    record = read_object(raw)
    needs = NEEDS[what]
    reference = Reference(
        answer=text_at(record, "reference", needs) or "",
        question=text_at(record, "question", "" if what == PAIR else needs),
        synonyms=tuple(texts_at(record, "synonyms") or ()),
        options=tuple(texts_at(record, "options") or ()) or None,
        tolerance=number_at(record, "tolerance"),
        credentialed_row=credentialed_row_at(record, number),
        images=images_at(record, folder),
    )
    if not reference.answer.strip():
        raise DataError("reference is empty; write the right answer there")
    candidate = text_at(record, "candidate", needs) or ""
    if what == PAIR:
        return Case(str(record.get("id", number)), PAIR, candidate, reference, label_at(record))
    name, kind = text_at(record, "attack", needs) or "", text_at(record, "kind", needs) or ""
    if not name or not kind or kind == PAIR:
        raise DataError(f"attack is {name!r} and kind is {kind!r}; give both a name, kind another one than {PAIR!r}")
    return Case(name, kind, candidate, reference, False)


def label_at(record: dict[str, Any]) -> bool:
    """The label of a pair."""
    value = record.get("label")
    if "label" not in record:
        raise DataError(f"the key 'label' is missing; each line needs {NEEDS[PAIR]}")
    if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    shown = repr(value) if isinstance(value, (int, float)) else kind_of(value)
    raise DataError(f"label is {shown}; accepted: true, false, 1, 0")
