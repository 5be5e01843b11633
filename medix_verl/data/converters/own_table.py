# SPDX-License-Identifier: Apache-2.0
"""What the converters of a user's own data share: the table's columns, its options, and one row's Sample.

The columns are closed: one that is not known is refused with the names that are, unless `--set meta=...` asks to keep
it. A line or a row that cannot be used is a Refused that names its line; a row without an `id` is named by its content.
Rows with a `split` belong to that one, in a table without the column all rows belong to the split that is asked for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.data.converters.assemble import Choices, assemble
from medix_verl.data.converters.base import ANSWER_TYPES, SPLITS, Ids, Option, Refused, SetSpec
from medix_verl.data.converters.pictures import Pictures
from medix_verl.data.modalities import Modality
from medix_verl.data.tables import DELIMITERS, TABLE_SUFFIXES, BadLine, Record, read_table
from medix_verl.errors import DataError
from medix_verl.types import Sample

if TYPE_CHECKING:
    from medix_verl.data.source import Source

__all__ = ["OPTIONS", "YES_NO", "OwnTable", "is_of", "list_of", "name_of", "open_table", "read_records", "sample_of"]

COLUMNS = ("id", "question", "answer", "options", "modality", "split", "answer_type")
KEPT = ("patient_id", "synonyms", "tolerance", "pass_rate")
"""Columns that go to meta without being asked for: the rule judge, the statistics and the curriculum read them."""
RESERVED = frozenset({"licence", "image_id", "credentialed", "modality_word", "modality_guess"})
SPLIT_WORDS = {"training": "train", "validation": "val", "valid": "val", "dev": "val", "testing": "test"}
YES_NO = ("no", "yes")

OPTIONS: Mapping[str, Option] = {
    "table": Option("", "the table's file, where the source is a folder with several"),
    "delimiter": Option("auto", "of a CSV file", tuple(DELIMITERS)),
    "meta": Option("", "further columns to keep in meta, by comma; * keeps all"),
    "name": Option("", "what stands behind the set's name in data_source; default: the table's name"),
    "licence": Option("own data, licence not stated", "licence of texts and pictures"),
    "credentialed": Option("no", "whether the rows must not leave this machine", YES_NO),
}


@dataclass(frozen=True, slots=True)
class OwnTable:
    """One user's table, and how it is read."""

    path: Path
    delimiter: str
    name: str
    places: tuple[str, ...]
    """Columns that say where a row's pictures are, and how they are taken."""
    meta: tuple[str, ...] | None
    """Further columns to keep; None keeps all."""
    spec: SetSpec
    """The converter's, with the user's licence."""

    def check(self, names: list[str], line: int, whole: bool) -> None:
        """Refuse columns that nobody asked for; `whole` where these are all that there are.

        Raises:
            DataError: A column is not known, has a name that is ours, or is missing.
        """
        known = (*COLUMNS, *self.places, *KEPT, *(self.meta or ()))
        ours = [name for name in names if name in RESERVED]
        if ours:
            raise DataError(f"{self.path} line {line}: column {ours[0]!r} is written by medix-verl itself; rename it")
        strange = [] if self.meta is None else [name for name in names if name not in known]
        if strange:
            near = get_close_matches(strange[0], known, n=1)
            hint = f"did you mean {near[0]!r}? Else type" if near else "type"
            accepted = f"accepted: {', '.join(known)}"
            keep = f"{hint} --set meta={','.join([*(self.meta or ()), strange[0]])} to keep it"
            raise DataError(f"{self.path} line {line}: unknown column {strange[0]!r}; {accepted}; {keep}")
        missing = [name for name in ("question", "answer") if whole and name not in names]
        if missing:
            raise DataError(f"{self.path} has no column {missing[0]!r}; it has {', '.join(names)}; add it")


def open_table(source: Source, split: str, spec: SetSpec, places: tuple[str, ...]) -> OwnTable:
    """The table of a source, by the user's options.

    Raises:
        DataError: There is no table, or more than one.
    """
    options = source.options
    name = table_name(source, split)
    path = source.path(name)
    wanted = tuple(filter(None, (item.strip() for item in options["meta"].split(","))))
    must_stay = spec.credentialed or options["credentialed"] == "yes"
    return OwnTable(
        path=path,
        delimiter=options["delimiter"],
        name=options["name"] or path.stem,
        places=places,
        meta=None if wanted == ("*",) else wanted,
        spec=replace(spec, licence=options["licence"], credentialed=must_stay),
    )


def table_name(source: Source, split: str) -> str:
    """Name of the table: the source itself, or in it the one that is asked for, that of the split, the only one."""
    if Path(source.place).expanduser().is_file():
        return Path(source.place).name
    if source.options["table"]:
        return source.options["table"]
    names = source.names(*(f"*{suffix}" for suffix in TABLE_SUFFIXES))
    of_split = [name for name in names if Path(name).stem == split]
    found = of_split if len(of_split) == 1 else names
    if len(found) != 1:
        got = f"{len(found)} tables: {', '.join(found[:5])}" if found else "no .jsonl, .csv or .tsv file"
        raise DataError(f"{source.place} has {got}; give --source the table's file, or --set table=NAME")
    return found[0]


def read_records(table: OwnTable) -> Iterator[Record | Refused]:
    """The table's records, of every split, and a Refused for each line that is none.

    Raises:
        DataError: Some rows have a split and some have none.
    """
    has_split: bool | None = None
    for item in read_table(table.path, table.delimiter, table.check):
        if isinstance(item, BadLine):
            yield Refused(f"line {item.line}", "bad line", item.detail)
            continue
        word = item.values.get("split")
        if has_split is not None and has_split != (word is not None):
            remedy = "give every row a split, or none"
            raise DataError(f"{table.path} line {item.line}: some rows have a split and some have none; {remedy}")
        has_split = word is not None
        if has_split and split_of(word) not in SPLITS:
            detail = f"line {item.line}: split is {word!r}; accepted: {', '.join((*SPLITS, *SPLIT_WORDS))}"
            yield Refused(name_of(item), "unknown split", detail)
        else:
            yield item


def split_of(word: Any) -> str:
    return SPLIT_WORDS.get(str(word).strip().lower(), str(word).strip().lower())


def is_of(record: Record, split: str) -> bool:
    """Whether a record belongs to a split; one without a split belongs to each."""
    word = record.values.get("split")
    return word is None or split_of(word) == split


def name_of(record: Record) -> str:
    """What a record is called before its pictures are known: its id, or its line."""
    return str(record.values.get("id") or "").strip() or f"line {record.line}"


def sample_of(
    record: Record, table: OwnTable, split: str, ids: Ids, pictures: Pictures, modality: Modality, **extra: Any
) -> Sample | Refused:
    """The Sample of one record, or why there is none."""
    values = record.values
    row_id = id_of(values, ids, pictures)
    try:
        options = list_of(values.get("options"), "options")
        meta = {**meta_of(values, table), **extra}
        kind = values.get("answer_type")
        if kind is not None and kind not in ANSWER_TYPES:
            raise DataError(f"answer_type is {kind!r}; accepted: {', '.join(ANSWER_TYPES)}")
    except DataError as cause:
        return Refused(row_id, "bad value", f"line {record.line}: {cause}")
    choices = None if options is None else Choices({str(place): text for place, text in enumerate(options)})
    made = assemble(
        table.spec,
        split,
        row_id,
        question=values.get("question"),
        answer=values.get("answer"),
        choices=choices,
        pictures=pictures,
        modality=modality,
        answer_type=kind,
        subset=table.name,
        extra=meta,
    )
    return replace(made, detail=f"line {record.line}: {made.detail}") if isinstance(made, Refused) else made


def id_of(values: Mapping[str, Any], ids: Ids, pictures: Pictures) -> str:
    given = values.get("id")
    if given is not None and str(given).strip():
        return str(given).strip()
    return ids.of(*(str(values.get(key, "")) for key in ("question", "answer", "options")), *pictures.names)


def meta_of(values: Mapping[str, Any], table: OwnTable) -> dict[str, Any]:
    """What goes to meta: the columns that are read there, checked, and those that were asked for, as they are."""
    known = {*COLUMNS, *table.places, *KEPT}
    meta = {key: value for key, value in values.items() if key not in known}
    if "patient_id" in values:
        meta["patient_id"] = str(values["patient_id"]).strip()
    if (synonyms := list_of(values.get("synonyms"), "synonyms")) is not None:
        meta["synonyms"] = synonyms
    if "tolerance" in values:
        meta["tolerance"] = tolerance_of(values["tolerance"])
    if "pass_rate" in values:
        meta["pass_rate"] = rate_of(values["pass_rate"])
    return meta


def tolerance_of(value: Any) -> float:
    number = number_of(value)
    if number is None or number < 0:
        raise DataError(f"tolerance is {value!r}; accepted: a number of at least 0, the relative error")
    return number


def rate_of(value: Any) -> float:
    """A CSV cell is a text, and a curriculum takes numbers only: it becomes one here, or the row is refused."""
    number = number_of(value)
    if number is None or not 0 <= number <= 1:
        raise DataError(f"pass_rate is {value!r}; accepted: a number from 0 to 1, the share of right answers")
    return number


def number_of(value: Any) -> float | None:
    """A finite number, also one that is written as text; None for anything else."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def list_of(value: Any, column: str) -> list[str] | None:
    """A list of texts: a JSON list, or in a CSV cell texts with | between them; None where there is none.

    Raises:
        DataError: It is something else.
    """
    if value is None:
        return None
    items: Any = value
    if isinstance(value, str):
        try:
            items = json.loads(value) if value.lstrip().startswith("[") else value.split("|")
        except (ValueError, RecursionError):  # no JSON; thousands of brackets
            items = None
    if not isinstance(items, list) or not all(isinstance(item, str) and item.strip() for item in items):
        raise DataError(f"{column} is {value!r}; accepted: a JSON list of texts, or texts with | between them")
    return [item.strip() for item in items]
