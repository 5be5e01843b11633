# SPDX-License-Identifier: Apache-2.0
"""One line for each answered question of an evaluation: `EVAL_DIR/records/TASK[.CONDITION].jsonl`.

Report, comparison, leakage, grounding, audit and export read these lines and the manifest, never a framework's logs.
Writing is deterministic (sorted by id, keys in a fixed order) and whole or not at all; reading refuses, by the line's
number, an unknown or missing key, a value of another kind, a value outside [0, 1], a status that contradicts the
value, and an id given twice. "Could not be judged" has no value here, never 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from medix_verl.data.jsonl import kind_of, read_lines, read_object
from medix_verl.errors import DataError
from medix_verl.runtime.files import write_text

__all__ = ["ANSWER_TYPES", "CONDITIONS", "STATUSES", "Record", "read_records", "record_path", "write_records"]

STATUSES = ("scored", "unscored", "error")
"""`unscored`: the answer is there and could not be judged. `error`: there is no answer, or judging broke."""
CONDITIONS = ("real", "blank", "shuffled")
"""What was shown in the place of the pictures."""
ANSWER_TYPES = ("open", "closed", "report", "rubric")


@dataclass(frozen=True, slots=True)
class Record:
    """One question of a task, what the model said, and what the judge made of it.

    Raises:
        DataError: A field contradicts another one, or is outside its range.
    """

    task: str
    id: str
    cluster: str
    """What answers are dependent by: the picture's or the patient's id, else the question's own id."""
    question: str
    reference: str
    response: str
    """The model's whole text; empty where there is none."""
    answer: str | None
    """What was judged of it, or None where it holds no answer."""
    value: float | None
    """The score in [0, 1]; None unless the status is `scored`."""
    status: str
    reason: str = ""
    """Why there is no value; beside one, what decided it."""
    votes: tuple[float | None, ...] = ()
    """What each asking of the judge gave, in [0, 1]; None for a vote that could not be read."""
    judge: str = ""
    answer_type: str = "open"
    modality: str | None = None
    data_source: str = ""
    images: tuple[str, ...] = ()
    """Content hashes of the pictures, in order."""
    condition: str = "real"
    options: tuple[str, ...] | None = None
    latency_s: float | None = None
    """Seconds that the model's answer took."""

    def __post_init__(self) -> None:
        for name in ("task", "id", "cluster"):
            if not getattr(self, name):
                raise DataError(f"{name} is empty; each record needs task, id and cluster")
        _check_choice("status", self.status, STATUSES)
        _check_choice("condition", self.condition, CONDITIONS)
        _check_choice("answer_type", self.answer_type, ANSWER_TYPES)
        if (self.status == "scored") != (self.value is not None):
            raise DataError(
                f"status is {self.status!r} and value is {self.value}; a value is there when, and only when,"
                " the status is 'scored'"
            )
        for value in (self.value, *self.votes):
            if value is not None and not 0.0 <= value <= 1.0:
                raise DataError(f"a value or vote is {value}; accepted: 0 to 1, or null")
        if self.latency_s is not None and not 0.0 <= self.latency_s < float("inf"):
            raise DataError(f"latency_s is {self.latency_s}; accepted: seconds of at least 0, or null")


def record_path(eval_dir: Path, task: str, condition: str = "real") -> Path:
    """Where the records of a task lie: `records/TASK.jsonl`, or `records/TASK.CONDITION.jsonl` for other pictures.

    Raises:
        DataError: The condition is not one of CONDITIONS.
    """
    _check_choice("condition", condition, CONDITIONS)
    return eval_dir / "records" / (f"{task}.jsonl" if condition == "real" else f"{task}.{condition}.jsonl")


def write_records(path: Path, records: Iterable[Record]) -> int:
    """Write records, sorted by id, in place of what lies there; the same records always give the same bytes.

    Returns:
        How many there are.

    Raises:
        DataError: Two records have the same id.
    """
    ordered = sorted(records, key=lambda record: record.id)
    for left, right in pairwise(ordered):
        if left.id == right.id:
            raise DataError(f"{path}: two records have the id {left.id!r}; an id is given once in a task")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, (json.dumps(asdict(record), ensure_ascii=True, allow_nan=False) + "\n" for record in ordered))
    return len(ordered)


def read_records(path: Path) -> list[Record]:
    """Read the records of a file, in its order.

    Raises:
        DataError: There is no such file, or a line cannot be used; the message has its number.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file; give an evaluation's folder: medix-verl evaluate ... --out EVAL_DIR")
    seen: dict[str, int] = {}
    return list(read_lines(path, partial(_read_record, seen=seen)))


def _read_record(raw: bytes, number: int, seen: dict[str, int]) -> Record:
    given = read_object(raw)
    known = [item.name for item in fields(Record)]
    for key in given:
        if key not in known:
            raise DataError(f"unknown key {key!r}; accepted: {', '.join(known)}")
    missing = [name for name in known if name not in given]
    if missing:
        raise DataError(f"the key {missing[0]!r} is missing; a record has {', '.join(known)}")
    record = Record(**{name: _READ[kind](name, given[name]) for name, kind in _KINDS.items()})
    if record.id in seen:
        raise DataError(f"the id {record.id!r} was given on line {seen[record.id]}; an id is given once in a task")
    seen[record.id] = number
    return record


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    raise DataError(f"{name} is {kind_of(value)}; accepted: a text")


def _text_or_null(name: str, value: Any) -> str | None:
    return None if value is None else _text(name, value)


def _number_or_null(name: str, value: Any) -> float | None:
    if value is None:
        return None
    # Python's json reads NaN and Infinity; the range checks of Record refuse both.
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise DataError(f"{name} is {kind_of(value)}; accepted: a number or null")


def _list(name: str, value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise DataError(f"{name} is {kind_of(value)}; accepted: a list")


_READ: Mapping[str, Any] = {
    "text": _text,
    "text?": _text_or_null,
    "number?": _number_or_null,
    "texts": lambda name, value: tuple(_text(name, item) for item in _list(name, value)),
    "texts?": lambda name, value: None if value is None else tuple(_text(name, item) for item in _list(name, value)),
    "numbers?": lambda name, value: tuple(_number_or_null(name, item) for item in _list(name, value)),
}
_OTHERS = {
    "answer": "text?",
    "value": "number?",
    "votes": "numbers?",
    "modality": "text?",
    "images": "texts",
    "options": "texts?",
    "latency_s": "number?",
}
_KINDS = {item.name: _OTHERS.get(item.name, "text") for item in fields(Record)}


def _check_choice(name: str, value: str, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise DataError(f"{name} is {value!r}; accepted: {', '.join(accepted)}")
