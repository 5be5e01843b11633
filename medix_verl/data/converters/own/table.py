# SPDX-License-Identifier: Apache-2.0
"""Read a user's own table and build its Samples; shared by the converters of users' data.

Unknown columns are ignored and listed, unless `--set meta=...` keeps them (see `columns`). A line or row that cannot
be used becomes a Refused with its line number. A row without an `id` gets a hash of its content as id. The column
`split` decides a row's split; tables without that column are handled in `split`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from medix_verl.credentialed import is_credentialed
from medix_verl.data.converters.assemble import Choices, assemble, text_of
from medix_verl.data.converters.base import ANSWER_TYPES, LOST_FOR_ENCODING, SPLITS, Ids, Option, Refused, SetSpec
from medix_verl.data.converters.own.columns import ORIGINS, Columns, read_renamed
from medix_verl.data.converters.own.split import OPTIONS as SPLIT_OPTIONS
from medix_verl.data.converters.own.split import SPLIT_WORDS, Splitting, patient_of, splitting_of
from medix_verl.data.converters.pictures import Pictures
from medix_verl.data.io.encodings import DELIMITERS
from medix_verl.data.io.tables import TABLE_SUFFIXES, BadLine, Form, Record, read_table
from medix_verl.data.modalities import Modality
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.types import Sample

__all__ = [
    "OPTIONS",
    "YES_NO",
    "OwnTable",
    "list_of",
    "name_of",
    "of_split",
    "open_table",
    "read_records",
    "sample_of",
    "side_of",
]

COLUMNS = ("id", "question", "answer", "options", "modality", "split", "answer_type", "credentialed", "data_source")
KEPT = ("patient_id", "synonyms", "tolerance", "pass_rate", "rationale")
"""Columns that are always copied to meta: the rule judge, the statistics and the curriculum read them."""
TRUE, FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0", ""})
YES_NO = ("no", "yes")
LETTER = re.compile(r"\(?([A-Z])[.):]?")
"""Matches an answer that is an option's letter."""
OPTIONS_ACCEPTED = "accepted: a JSON list of texts, an object of letters and texts, or texts with | between them"

OPTIONS: Mapping[str, Option] = {
    "table": Option("", "the table's file, where the source is a folder with several"),
    "delimiter": Option("auto", "of a CSV file; auto recognises it", tuple(DELIMITERS)),
    "encoding": Option("auto", "of the table; auto recognises UTF-8, UTF-16 and cp1252, others are named: gb18030"),
    "sheet": Option("", "of an Excel file; default: the first"),
    "columns": Option("", "OURS=THEIRS by comma: which columns have other names, also --column question=Frage"),
    "meta": Option("", "further columns to keep in meta, by comma; * keeps all"),
    "name": Option("", "what stands behind the set's name in data_source; default: the table's name"),
    "licence": Option("own data, licence not stated", "licence of texts and pictures"),
    "credentialed": Option("no", "whether the rows must not leave this machine", YES_NO),
    **SPLIT_OPTIONS,
}


@dataclass(frozen=True, slots=True)
class OwnTable:
    """A user's table and the options for reading it."""

    path: Path
    form: Form
    name: str
    columns: Columns
    """The mapping of column names."""
    places: tuple[str, ...]
    """Columns that locate a row's pictures and select frames of them."""
    spec: SetSpec
    """The converter's, with the user's licence."""
    split: str
    """The requested split."""
    splitting: Splitting
    """How the table is split if it has no column `split`."""
    say: Callable[[str], None]
    """Called with messages about what was recognised and what is ignored."""


def open_table(source: Source, split: str, spec: SetSpec, places: tuple[str, ...]) -> OwnTable:
    """Open the table of a source with the user's options.

    Raises:
        DataError: There is no table, or more than one.
    """
    options = source.options
    name = table_name(source, split)
    path = source.path(name)
    wanted = tuple(filter(None, (item.strip() for item in options["meta"].split(","))))
    stays = spec.credentialed or options["credentialed"] == "yes"
    return OwnTable(
        path=path,
        form=Form(options["delimiter"], options["encoding"], options["sheet"]),
        name=options["name"] or path.stem,
        columns=Columns(
            path=path,
            known=(*COLUMNS, *places, *KEPT),
            renamed=read_renamed(options["columns"], (*COLUMNS, *places, *KEPT)),
            meta=None if wanted == ("*",) else wanted,
        ),
        places=places,
        spec=replace(spec, licence=options["licence"], credentialed=stays),
        split=split,
        splitting=splitting_of(options),
        say=source.note,
    )


def table_name(source: Source, split: str) -> str:
    """Return the table's name: the source itself, else in it the named table, that of the split, or the only one."""
    if Path(source.place).expanduser().is_file():
        return Path(source.place).name
    if source.options["table"]:
        return source.options["table"]
    # Excel creates a file `~$NAME.xlsx` while NAME.xlsx is open.
    listed = source.names(*(f"*{suffix}" for suffix in TABLE_SUFFIXES))
    names = [name for name in listed if not Path(name).name.startswith("~$")]
    of_split = [name for name in names if Path(name).stem == split]
    found = of_split if len(of_split) == 1 else names
    if len(found) != 1:
        got = f"{len(found)} tables: {', '.join(found[:5])}" if found else "no .jsonl, .csv, .tsv or .xlsx file"
        raise DataError(f"{source.place} has {got}; give --source the table's file, or --set table=NAME")
    return found[0]


def read_records(table: OwnTable) -> Iterator[Record | Refused]:
    """Yield the table's records of every split, and a Refused for each line that is not a record.

    Raises:
        DataError: Some rows have a split and some have none, or the table cannot provide the requested split.
    """
    has_split: bool | None = None
    columns = table.columns
    for raw in read_table(table.path, table.form, columns.check, table.say):
        if isinstance(raw, BadLine):
            reason = LOST_FOR_ENCODING if raw.encoding else "bad line"
            yield Refused(f"line {raw.line}", reason, raw.detail)
            continue
        item = Record(raw.line, columns.renamed_values(raw.values))
        word = item.values.get("split")
        if has_split is not None and has_split != (word is not None):
            remedy = "give every row a split, or none"
            raise DataError(f"{table.path} line {item.line}: some rows have a split and some have none; {remedy}")
        if has_split is None:
            table.splitting.check(table.split, table.path, word is not None)
        has_split = word is not None
        if has_split and split_of(word) not in SPLITS:
            detail = f"line {item.line}: split is {word!r}; accepted: {', '.join((*SPLITS, *SPLIT_WORDS))}"
            yield Refused(name_of(item), "unknown split", detail)
        else:
            yield item
    for line in columns.notes():
        table.say(line)


def split_of(word: Any) -> str:
    return SPLIT_WORDS.get(str(word).strip().lower(), str(word).strip().lower())


def of_split(table: OwnTable, side: Callable[[Record], str | Refused]) -> Iterator[Record | Refused]:
    """Yield the table's records of the requested split, and every Refused.

    Args:
        table: The table.
        side: Returns the split of a record, with `side_of`.

    Raises:
        DataError: The table is split by a hash, and none of its rows falls into that split.
    """
    seen = given = 0
    for record in read_records(table):
        if isinstance(record, Refused):
            yield record
            continue
        seen += 1
        found = side(record)
        if isinstance(found, Refused):
            yield found
        elif found == table.split:
            given += 1
            yield record
    if seen and not given and table.splitting.by in ("patient", "picture", "row"):
        by = table.splitting
        raise DataError(
            f"{table.path}: none of its {seen} rows falls into {table.split} (by {by.by}, --val-share {by.val:g}, "
            f"--test-share {by.test:g}); give a larger share, for each split alike"
        )


def side_of(record: Record, table: OwnTable, key: Callable[[], str | Refused]) -> str | Refused:
    """Return the split of a record.

    Args:
        record: The record.
        table: Its table.
        key: Returns the key to hash if the table is split by a hash; a Refused if the record has no key.
    """
    word = record.values.get("split")
    if word is not None:
        return split_of(word)
    if table.splitting.by in ("auto", "none", "any"):
        return table.split
    if table.splitting.by == "patient":
        patient = patient_of(record.values, name_of(record), record.line)
        return patient if isinstance(patient, Refused) else table.splitting.split_of(patient)
    found = key()
    return found if isinstance(found, Refused) else table.splitting.split_of(found)


def name_of(record: Record) -> str:
    """Return a record's name before its pictures are known: its id, else its line."""
    return str(record.values.get("id") or "").strip() or f"line {record.line}"


def sample_of(
    record: Record, table: OwnTable, split: str, ids: Ids, pictures: Pictures, modality: Modality, **extra: Any
) -> Sample | Refused:
    """Build the Sample of one record, or a Refused with the reason."""
    values = record.values
    row_id = id_of(values, ids, pictures)
    try:
        choices = choices_of(values.get("options"), values.get("answer"))
        meta = {**meta_of(values, table), **extra}
        if must_stay(values):
            meta["credentialed"] = True
        kind = values.get("answer_type")
        if kind is not None and kind not in ANSWER_TYPES:
            raise DataError(f"answer_type is {kind!r}; accepted: {', '.join(ANSWER_TYPES)}")
    except DataError as cause:
        return Refused(row_id, "bad value", f"line {record.line}: {cause}")
    made = assemble(
        table.spec,
        split,
        row_id,
        question=values.get("question"),
        answer=None if choices is not None and choices.label else values.get("answer"),
        choices=choices,
        pictures=pictures,
        modality=modality,
        answer_type=kind,
        subset=table.name,
        extra=meta,
    )
    return replace(made, detail=f"line {record.line}: {made.detail}") if isinstance(made, Refused) else made


def choices_of(given: Any, answer: Any) -> Choices | None:
    """Return a row's choices, from a list or from an object of letters and texts; the answer is a text or a letter.

    Raises:
        DataError: The options are not texts, or the answer is the letter of one option and the text of another.
    """
    if isinstance(given, str) and given.lstrip().startswith("{"):
        given = json_object(given)
    if isinstance(given, dict):
        texts = {str(letter).strip(): text for letter, text in given.items()}
    else:
        listed = list_of(given, "options")
        if listed is None:
            return None
        texts = (
            dict(zip(ascii_uppercase, listed, strict=False))
            if len(listed) <= len(ascii_uppercase)
            else {str(place): text for place, text in enumerate(listed)}
        )
    texts = without_letters(texts)
    said = str(answer).strip() if answer is not None else ""
    letter = LETTER.fullmatch(said)
    named = letter[1] if letter and letter[1] in texts else None
    same = [key for key, text in texts.items() if text_of(text) == said]
    if named is None or same == [named]:
        return Choices(texts, named if same else None)
    if same and isinstance(given, dict):
        raise DataError(f"the answer {said!r} is the letter of one option and the text of another; write the text")
    return Choices(texts, None if same else named)


def json_object(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise DataError(f"options is {text[:40]!r}; {OPTIONS_ACCEPTED}") from cause


def without_letters(texts: Mapping[str, Any]) -> dict[str, Any]:
    """Strip the leading letter of the options (`A. lung`) if every option begins with its own letter."""
    found = {}
    for letter, text in texts.items():
        own = re.fullmatch(rf"\(?{re.escape(letter)}[.):]\s+(\S.*)", text, re.S) if isinstance(text, str) else None
        if own is None:
            return dict(texts)
        found[letter] = own[1]
    return found


def id_of(values: Mapping[str, Any], ids: Ids, pictures: Pictures) -> str:
    given = values.get("id")
    if given is not None and str(given).strip():
        return str(given).strip()
    return ids.of(*(str(values.get(key, "")) for key in ("question", "answer", "options")), *pictures.names)


def meta_of(values: Mapping[str, Any], table: OwnTable) -> dict[str, Any]:
    """Return a row's meta: the columns in KEPT after checks, and the requested further columns unchanged."""
    known = {*COLUMNS, *table.places, *KEPT}
    meta = {key: value for key, value in values.items() if key not in known or key == "data_source"}
    if "patient_id" in values:
        meta["patient_id"] = str(values["patient_id"]).strip()
    if (synonyms := list_of(values.get("synonyms"), "synonyms")) is not None:
        meta["synonyms"] = synonyms
    if "tolerance" in values:
        meta["tolerance"] = tolerance_of(values["tolerance"])
    if "pass_rate" in values:
        meta["pass_rate"] = rate_of(values["pass_rate"])
    if rationale := text_of(values.get("rationale")):
        meta["rationale"] = rationale
    return meta


def must_stay(values: Mapping[str, Any]) -> bool:
    """Return whether a row must not be shown to third parties: by `credentialed`, also in `meta`, or by its data set.

    Raises:
        DataError: `credentialed` is neither yes nor no.
    """
    inner = values.get("meta")
    flags = [values.get("credentialed"), inner.get("credentialed") if isinstance(inner, dict) else None]
    origins = [str(value) for name, value in values.items() if name.lower() in ORIGINS]
    return any(map(flag_of, flags)) or any(is_credentialed(origin, {}) for origin in origins)


def flag_of(value: Any) -> bool:
    """Parse a yes or no; a missing value is a no."""
    word = "" if value is None else str(value).strip().lower()
    if word not in TRUE | FALSE:
        raise DataError(f"credentialed is {value!r}; accepted: yes, no, true, false")
    return word in TRUE


def tolerance_of(value: Any) -> float:
    number = number_of(value)
    if number is None or number < 0:
        raise DataError(f"tolerance is {value!r}; accepted: a number of at least 0, the relative error")
    return number


def rate_of(value: Any) -> float:
    """Parse a pass rate, which a CSV cell has as text; the row is refused if it is not a number from 0 to 1."""
    number = number_of(value)
    if number is None or not 0 <= number <= 1:
        raise DataError(f"pass_rate is {value!r}; accepted: a number from 0 to 1, the share of right answers")
    return number


def number_of(value: Any) -> float | None:
    """Return a finite number, also from a text; None for anything else."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def list_of(value: Any, column: str) -> list[str] | None:
    """Return a list of texts from a JSON list or from texts separated by |; None if there is no value.

    Raises:
        DataError: The value is something else.
    """
    if value is None:
        return None
    items: Any = value
    if isinstance(value, str):
        try:
            items = json.loads(value) if value.lstrip().startswith("[") else value.split("|")
        except (ValueError, RecursionError):  # not JSON; thousands of brackets
            items = None
    if not isinstance(items, list) or not all(isinstance(item, str) and item.strip() for item in items):
        raise DataError(f"{column} is {value!r}; accepted: a JSON list of texts, or texts with | between them")
    return [item.strip() for item in items]
