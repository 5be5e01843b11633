# SPDX-License-Identifier: Apache-2.0
"""Reads and writes the records of an evaluation, one line for each answer: `EVAL_DIR/records/TASK[.CONDITION].jsonl`.

With k generations, a question has k lines. Report, comparison, leakage, grounding, audit and export read only these
records and the manifest, not inspect_ai's logs. Writes are deterministic (sorted by id and repeat, keys in a fixed
order) and atomic. Reading rejects, with the line number, an unknown or missing key, a wrong type, a value outside its
range, a status that contradicts the value, and a duplicate answer. An answer that could not be judged has no value,
never 0.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from medix_verl.data.io.jsonl import kind_of, read_lines, read_object
from medix_verl.errors import DataError
from medix_verl.runtime.files import write_text

__all__ = [
    "ANSWER_TYPES",
    "CONDITIONS",
    "CUT",
    "FINISHES",
    "STATUSES",
    "Record",
    "cut_off",
    "entry_name",
    "first_answers",
    "lowest",
    "most_generations",
    "place_of",
    "read_records",
    "record_path",
    "write_records",
]

STATUSES = ("scored", "unscored", "error")
"""`unscored`: there is an answer that could not be judged. `error`: there is no answer, or judging failed."""
CONDITIONS = ("real", "blank", "shuffled")
"""Which pictures were sent to the model."""
ANSWER_TYPES = ("open", "closed", "report", "rubric")
CUT = ("length", "content_filter", "empty")
"""Finish reasons of an incomplete answer: the token limit, a content filter or a refusal of the model, and an answer
without text (null)."""
FINISHES = ("stop", *CUT)
LATER = ("finish", "perceptual", "rotation_of", "rotation", "facets", "metrics", "tokens", "repeat")
"""Keys that older records do not have; the field's default applies."""


@dataclass(frozen=True, slots=True)
class Record:
    """One question of a task, with the model's response and the judge's score.

    Raises:
        DataError: A field contradicts another one, or is outside its range.
    """

    task: str
    id: str
    cluster: str
    """Cluster of dependent answers: the picture's or the patient's id, else the question's own id."""
    question: str
    reference: str
    response: str
    """The model's whole text; empty if there is none."""
    answer: str | None
    """The part of the response that was judged, or None if it has no answer."""
    value: float | None
    """The score in [0, 1], for a rubric at most 1 and possibly negative; None unless the status is `scored`."""
    status: str
    reason: str = ""
    """Why there is no value; if there is one, what decided it."""
    votes: tuple[float | None, ...] = ()
    """The judge's votes, each in [0, 1]; None for an unreadable or failed vote."""
    judge: str = ""
    answer_type: str = "open"
    modality: str | None = None
    data_source: str = ""
    images: tuple[str, ...] = ()
    """Content hashes of the pictures, in order."""
    condition: str = "real"
    options: tuple[str, ...] | None = None
    latency_s: float | None = None
    """Time to generate the model's answer, in seconds."""
    finish: str | None = None
    """How the model's answer ended, one of FINISHES; None if there is no answer, or it was not recorded."""
    perceptual: tuple[str, ...] = ()
    """Perceptual hashes of the pictures, in order; empty if an earlier version wrote the record or its log."""
    rotation_of: str | None = None
    """The question whose options were rotated (medix_verl.evaluation.tasks.rotation); None without rotation."""
    rotation: int = 0
    """Number of places of the rotation: the index of the option that became the first."""
    facets: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Facets of the row, by which scores are broken down: region, question_type, theme."""
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Further metrics of the answer, in no average: text metrics of a report, `axis:NAME` of a rubric."""
    tokens: tuple[int, ...] | None = None
    """Number of tokens of the prompt and of the answer, as counted by the server; None if not reported."""
    repeat: int = 1
    """Number of the generation of the question, from 1."""

    @property
    def key(self) -> tuple[str, int]:
        """Unique key of an answer within a task: the question's id and the generation."""
        return self.id, self.repeat

    def __post_init__(self) -> None:
        for name in ("task", "id", "cluster"):
            if not getattr(self, name):
                raise DataError(f"{name} is empty; each record needs task, id and cluster")
        _check_choice("status", self.status, STATUSES)
        _check_choice("condition", self.condition, CONDITIONS)
        _check_choice("answer_type", self.answer_type, ANSWER_TYPES)
        if self.finish is not None:
            _check_choice("finish", self.finish, FINISHES)
        if (self.status == "scored") != (self.value is not None):
            raise DataError(
                f"status is {self.status!r} and value is {self.value}; a value is there when, and only when,"
                " the status is 'scored'"
            )
        least = lowest(self.answer_type)
        for value, low in ((self.value, least), *((vote, 0.0) for vote in self.votes)):
            if value is not None and not (low <= value <= 1.0 and value > -math.inf):
                accepted = "0 to 1, or null" if low == 0.0 else "at most 1, or null"
                raise DataError(f"a value or vote is {value}; accepted: {accepted}")
        if self.repeat < 1:
            raise DataError(f"repeat is {self.repeat}; accepted: an integer of at least 1")
        _check_beside(self)
        if self.latency_s is not None and not 0.0 <= self.latency_s < float("inf"):
            raise DataError(f"latency_s is {self.latency_s}; accepted: seconds of at least 0, or null")


def _check_beside(record: Record) -> None:
    """Check metrics, tokens and rotation."""
    if not all(-math.inf < value <= 1.0 for value in record.metrics.values()):
        raise DataError(f"metrics are {dict(record.metrics)}; accepted: numbers of at most 1")
    if record.tokens is not None and (len(record.tokens) != 2 or min(record.tokens) < 0):
        raise DataError(f"tokens are {record.tokens}; accepted: two counts, or null")
    if record.rotation < 0:
        raise DataError(f"rotation is {record.rotation}; accepted: a whole number of at least 0")


def lowest(answer_type: str) -> float:
    """Lower bound of a score: 0, or minus infinity for rubrics, which may subtract any number of points."""
    return -math.inf if answer_type == "rubric" else 0.0


def entry_name(task: str, condition: str) -> str:
    """Name of a task under a condition in eval.json and in the records' file name: `TASK`, or `TASK.CONDITION`.

    Raises:
        DataError: The condition is not one of CONDITIONS.
    """
    _check_choice("condition", condition, CONDITIONS)
    return task if condition == "real" else f"{task}.{condition}"


def place_of(entry: str) -> tuple[str, str]:
    """Task and condition of a name made by entry_name."""
    task, _, condition = entry.rpartition(".")
    return (task, condition) if task and condition in CONDITIONS else (entry, "real")


def record_path(eval_dir: Path, task: str, condition: str = "real") -> Path:
    """Path of the records of a task; see entry_name."""
    return eval_dir / "records" / f"{entry_name(task, condition)}.jsonl"


def write_records(path: Path, records: Iterable[Record]) -> int:
    """Write records, sorted by id and repeat, replacing an existing file; the output is deterministic.

    Returns:
        The number of records.

    Raises:
        DataError: Two records have the same id and repeat.
    """
    ordered = sorted(records, key=lambda record: record.key)
    for left, right in pairwise(ordered):
        if left.key == right.key:
            raise DataError(f"{path}: two records have the id {left.id!r}; an id is given once for each generation")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, (json.dumps(asdict(record), ensure_ascii=True, allow_nan=False) + "\n" for record in ordered))
    return len(ordered)


def read_records(path: Path) -> list[Record]:
    """Read the records of a file, in its order.

    Raises:
        DataError: There is no such file, or a line is invalid; the message has the line number.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file; give an evaluation's folder: medix-verl evaluate ... --out EVAL_DIR")
    seen: dict[tuple[str, int], int] = {}
    return list(read_lines(path, partial(_read_record, seen=seen)))


def first_answers(records: Iterable[Record]) -> list[Record]:
    """The first generation of each question."""
    return [record for record in records if record.repeat == 1]


def most_generations(records: Iterable[Record]) -> int:
    """The largest number of generations of a question; 1 without records."""
    return max((record.repeat for record in records), default=1)


def cut_off(records: Iterable[Record]) -> dict[str, int]:
    """Number of incomplete answers by finish reason, one of CUT; reasons without any are left out."""
    found = Counter(record.finish for record in records)
    return {kind: found[kind] for kind in CUT if found[kind]}


def _read_record(raw: bytes, number: int, seen: dict[tuple[str, int], int]) -> Record:
    given, kinds = read_object(raw), _kinds()
    for key in given:
        if key not in kinds:
            raise DataError(f"unknown key {key!r}; accepted: {', '.join(kinds)}")
    missing = [name for name in kinds if name not in given and name not in LATER]
    if missing:
        raise DataError(f"the key {missing[0]!r} is missing; a record has {', '.join(kinds)}")
    record = Record(**{name: _read(kinds[name], name, value) for name, value in given.items()})
    if record.key in seen:
        again = "" if record.repeat == 1 else f", generation {record.repeat},"
        raise DataError(f"the id {record.id!r}{again} was given on line {seen[record.key]}; it is given once in a task")
    seen[record.key] = number
    return record


@cache
def _kinds() -> dict[str, Any]:
    return get_type_hints(Record)


def _read(kind: Any, name: str, value: Any, otherwise: str = "") -> Any:
    """Convert a JSON value to the type of a field's annotation: str, number, tuple or mapping of these, or None.

    Python's json accepts NaN and Infinity; the range checks of Record reject both.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if type(None) in parts:
        return None if value is None else _read(parts[0], name, value, " or null")
    if origin is tuple and isinstance(value, list):
        return tuple(_read(parts[0], name, item) for item in value)
    if origin is Mapping and isinstance(value, dict):
        return {key: _read(parts[1], f"{name}.{key}", item) for key, item in value.items()}
    if not origin and isinstance(value, (int, kind) if kind is float else kind) and not isinstance(value, bool):
        return kind(value)
    raise DataError(f"{name} is {kind_of(value)}; accepted: {_WORDS[origin or kind]}{otherwise}")


_WORDS: Any = {str: "a text", float: "a number", int: "a whole number", tuple: "a list", Mapping: "an object"}


def _check_choice(name: str, value: str, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise DataError(f"{name} is {value!r}; accepted: {', '.join(accepted)}")
