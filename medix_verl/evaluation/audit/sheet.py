# SPDX-License-Identifier: Apache-2.0
"""Writes a blinded sheet of judged answers for a clinician as CSV and HTML, and reads the filled sheet.

The sheet shows question, options, reference and answer under a code, in a seeded order. It contains no model, judge,
verdict or id that could be looked up. A key file, not given to the clinician, maps the codes to the cases. Answers
equal to the reference after normalisation are left out, since they need no judge, and so are tasks whose texts may not
be shared.

Every code ends with the sheet's id, which is also in page and key: a hash of the sheet's content, so that only equal
sheets have the same id. A filled sheet is refused, with the line number, if its id differs from the key's, a code is
unknown, or a verdict cannot be parsed.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.audit.agreement import Estimate
from medix_verl.evaluation.audit.spreadsheet import csv_text
from medix_verl.evaluation.audit.thumbnails import thumbnail
from medix_verl.evaluation.audit.verdicts import verdicts
from medix_verl.evaluation.stats.kappa import two_raters
from medix_verl.evaluation.store.read import Evaluation, is_open
from medix_verl.evaluation.store.records import Record
from medix_verl.judge.rule.normalise import normalise
from medix_verl.runtime.files import atomic_write

__all__ = ["COLUMNS", "Labels", "choose", "key_path", "read_labels", "write_sheet"]

COLUMNS = ("case", "question", "options", "reference", "answer", "verdict", "comment")
TEMPLATE = Path(__file__).with_name("templates") / "sheet.html.jinja"
WORDS = {
    **dict.fromkeys(("yes", "y", "1", "true", "correct", "same"), True),
    **dict.fromkeys(("no", "n", "0", "false", "wrong", "different"), False),
    **dict.fromkeys(("unsure", "?", "unclear"), None),
}
"""Accepted values of `verdict`; None is counted and excluded from shares."""
ID_CHARS = 10
"""Length of a sheet's id in base 32: lower-case letters and the digits 2 to 7."""


@dataclass(frozen=True, slots=True)
class Labels:
    """A clinician's verdicts compared with the judge's."""

    sheet: str
    """The sheet's id."""
    labelled: int
    unsure: int
    blank: int
    agreement: Estimate | None
    """Share of the labelled cases in which judge and clinician agree, clustered."""
    kappa: Estimate | None
    table: dict[str, int]
    """Judge and clinician: `yes_yes`, `yes_no`, `no_yes`, `no_no`."""
    by_task: dict[str, tuple[int, int]]
    """Task -> number of agreements, number labelled."""


def write_sheet(evaluation: Evaluation, out: Path, count: int = 100, seed: int = 0) -> tuple[Path, Path, Path]:
    """Write a sheet: three temporary files, then renames, so that a failed write leaves earlier files unchanged.

    Args:
        evaluation: The evaluation.
        out: The CSV file; the page has the same name with `.html`, the key with `.key.json`.
        count: Number of cases, taken as evenly as possible from all tasks.
        seed: Seed of selection and order.

    Returns:
        The three files.

    Raises:
        ConfigError: `out` does not end in .csv, or there is nothing to label.
        OSError: A file cannot be written.
    """
    if out.suffix != ".csv" or count < 1:
        raise ConfigError(f"got a sheet {out.name} of {count} cases; give a name that ends in .csv, and 1 case or more")
    chosen = choose(verdicts(evaluation), count, seed, evaluation.manifest)
    if not chosen:
        raise ConfigError(
            f"{evaluation.folder} has no answer for a sheet: all are credentialed, unscored, graded or the "
            "reference's own words; evaluate another task"
        )
    sheet, digits = sheet_id(chosen, seed), max(3, len(str(len(chosen))))
    cases = {f"C{number:0{digits}d}-{sheet}": record for number, record in enumerate(chosen, start=1)}
    page, key = out.with_suffix(".html"), key_path(out)
    contents = {
        key: as_key(cases, seed, sheet).encode("ascii"),
        page: as_page(cases, evaluation.folder, out.name, sheet).encode("utf-8", "replace"),
        out: as_csv(cases).encode("utf-8-sig", "replace"),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    # The context entered first exits last, so the key is renamed last: if a rename fails, the old key is still there.
    with ExitStack() as renames:
        for part, content in [(renames.enter_context(atomic_write(path)), text) for path, text in contents.items()]:
            part.write_bytes(content)
    return out, page, key


def sheet_id(cases: Sequence[Record], seed: int) -> str:
    """The id of a sheet: a hash of its cases with all their fields, their order, and the seed."""
    seeded = json.dumps([seed, [asdict(record) for record in cases]], ensure_ascii=True, sort_keys=True)
    return base64.b32encode(hashlib.sha256(seeded.encode("ascii")).digest()).decode("ascii").lower()[:ID_CHARS]


def key_path(sheet: Path) -> Path:
    """Path of a sheet's key."""
    return sheet.with_suffix(".key.json")


def choose(records: Sequence[Record], count: int, seed: int, manifest: Mapping[str, Any] | None = None) -> list[Record]:
    """Cases for a sheet, in a seeded order: taken in turn from each task that may be shown."""
    rng = random.Random(seed)
    tasks: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: (record.task, record.id)):
        if is_open(record.task, manifest) and normalise(record.answer or "") != normalise(record.reference):
            tasks.setdefault(record.task, []).append(record)
    for group in tasks.values():
        rng.shuffle(group)
    turns = [(place, name) for name, group in tasks.items() for place in range(len(group))]
    chosen = [tasks[name][place] for place, name in sorted(turns)[:count]]
    rng.shuffle(chosen)
    return chosen


def as_csv(cases: Mapping[str, Record]) -> str:
    """The sheet as CSV."""
    return csv_text(COLUMNS, [[code, *texts_of(record), "", ""] for code, record in cases.items()])


def texts_of(record: Record) -> tuple[str, str, str, str]:
    """The texts of a case that a sheet shows."""
    return record.question, "\n".join(record.options or ()), record.reference, record.answer or "(no answer)"


def as_page(cases: Mapping[str, Record], folder: Path, name: str, sheet: str) -> str:
    """The sheet as HTML; it needs no network and saves the filled sheet as CSV."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    pictures = {code: [thumbnail(folder, image, 480) for image in record.images] for code, record in cases.items()}
    return template.render(cases=cases, pictures=pictures, name=name, sheet=sheet)


def as_key(cases: Mapping[str, Record], seed: int, sheet: str) -> str:
    """The key: the case of each code."""
    sides = {
        code: {"task": record.task, "id": record.id, "cluster": record.cluster, "value": record.value}
        for code, record in cases.items()
    }
    return json.dumps({"sheet": sheet, "seed": seed, "cases": sides}, indent=1) + "\n"


def read_labels(filled: Path, key: Path) -> Labels:
    """Read a filled sheet.

    Args:
        filled: The CSV file, saved by a spreadsheet or by the page; only `case` and `verdict` are read.
        key: The sheet's key.

    Raises:
        DataError: A file cannot be read, the sheet does not belong to the key, a code is unknown or repeated, or a
            verdict is not one of WORDS.
    """
    sheet, cases = read_key(key)
    given: dict[str, str] = {}
    for number, code, word in read_rows(filled):
        if code not in cases or code in given:
            raise DataError(f"{filled} line {number}: case {code!r} {code_fault(code, sheet, given, key)}")
        if word and word not in WORDS:
            raise DataError(f"{filled} line {number}: verdict is {word!r}; accepted: {', '.join(WORDS)}, or nothing")
        given[code] = word
    return count_labels(sheet, cases, given)


def code_fault(code: str, sheet: str, given: Mapping[str, str], key: Path) -> str:
    """The fault of a code, and what to do."""
    if code in given:
        return "is there twice; leave one of the two rows"
    other = code.partition("-")[2]
    if other != sheet:
        named = f"is of sheet {other}" if other else "names no sheet"
        return f"{named}, and {key.name} is of sheet {sheet}; type --key with the key that was written with this sheet"
    return f"is not in the key; give the sheet that {key.name} is of"


def read_key(key: Path) -> tuple[str, dict[str, dict[str, Any]]]:
    """The sheet's id, and code -> case."""
    try:
        content = json.loads(key.read_text(encoding="utf-8"))
        sheet, cases = content["sheet"], content["cases"]
        for code, case in cases.items():
            if case["value"] not in (0.0, 1.0) or not isinstance(case["task"] + case["cluster"], str):
                raise ValueError("a case has no verdict")
            if code.partition("-")[2] != sheet:
                raise ValueError("a case is of another sheet")
    except OSError as error:
        raise DataError(f"{key} cannot be read ({error.strerror}); it was written beside the sheet") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{key} is not the key of a sheet ({type(error).__name__}); give the one written beside it"
        ) from error
    return sheet, cases


def read_rows(filled: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, code and verdict of each row; separated by commas, semicolons or tabs, as spreadsheets save them."""
    try:
        text = filled.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{filled} is not UTF-8; save it as CSV UTF-8") from error
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    for column in ("case", "verdict"):
        if column not in (reader.fieldnames or ()):
            raise DataError(f"{filled} has no column {column!r}; its first line must be {','.join(COLUMNS)}")
    for row in reader:
        code = (row["case"] or "").strip()
        if code or any(row.get(column) for column in COLUMNS):
            yield reader.line_num, code, (row["verdict"] or "").strip().lower()


def count_labels(sheet: str, cases: Mapping[str, dict[str, Any]], given: Mapping[str, str]) -> Labels:
    """Compare the labels with the judge's verdicts."""
    judged = [(cases[code], WORDS[word]) for code, word in given.items() if word]
    sure = [(case, label) for case, label in judged if label is not None]
    pairs = [(case["value"] == 1.0, label) for case, label in sure]
    by_task: dict[str, tuple[int, int]] = {}
    for case, label in sure:
        same, labelled = by_task.get(case["task"], (0, 0))
        by_task[case["task"]] = (same + ((case["value"] == 1.0) == label), labelled + 1)
    return Labels(
        sheet=sheet,
        labelled=len(sure),
        unsure=len(judged) - len(sure),
        blank=len(cases) - len(judged),
        by_task=dict(sorted(by_task.items())),
        **two_raters(pairs, [case["cluster"] for case, _ in sure]),
    )
