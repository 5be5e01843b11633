# SPDX-License-Identifier: Apache-2.0
"""A blinded sheet of judged answers for a clinician: written as CSV and HTML, read back with its verdicts.

The sheet shows question, options, reference and answer under a code, in a seeded order; it names no model, no judge and
no verdict, and no id that could be looked up. What the codes stand for is in a key file, which stays with whoever asks.
Answers that are the reference's own words are left out, since nobody had to judge them; so are all texts of tasks that
may not be handed on. A filled sheet with an unknown code or an unreadable verdict is refused by its line.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.agreement import Estimate
from medix_verl.evaluation.intervals import clustered_mean
from medix_verl.evaluation.judges import verdicts
from medix_verl.evaluation.kappa import clustered_kappa
from medix_verl.evaluation.records import Record
from medix_verl.evaluation.results import Evaluation, is_open
from medix_verl.evaluation.thumbnails import thumbnail
from medix_verl.judge.rule.normalise import normalise

__all__ = ["COLUMNS", "Labels", "choose", "key_path", "read_labels", "write_sheet"]

COLUMNS = ("case", "question", "options", "reference", "answer", "verdict", "comment")
TEMPLATE = Path(__file__).with_name("templates") / "sheet.html.jinja"
WORDS = {
    **dict.fromkeys(("yes", "y", "1", "true", "correct", "same"), True),
    **dict.fromkeys(("no", "n", "0", "false", "wrong", "different"), False),
    **dict.fromkeys(("unsure", "?", "unclear"), None),
}
"""What may stand under `verdict`; None is counted, and in no share."""
FORMULA = ("=", "@", "\t", "\r")
"""What a spreadsheet would take for the beginning of a formula."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What a clinician said, beside what the judge had said."""

    labelled: int
    unsure: int
    blank: int
    agreement: Estimate | None
    """Share of the labelled cases in which judge and clinician say the same, clustered."""
    kappa: Estimate | None
    table: dict[str, int]
    """Judge and clinician: `yes_yes`, `yes_no`, `no_yes`, `no_no`."""
    by_task: dict[str, tuple[int, int]]
    """Task -> same, labelled."""


def write_sheet(evaluation: Evaluation, out: Path, count: int = 100, seed: int = 0) -> tuple[Path, Path, Path]:
    """Write a sheet.

    Args:
        evaluation: What was judged.
        out: The CSV file; the page gets its name with `.html`, the key with `.key.json`.
        count: Cases, as evenly from all tasks as can be.
        seed: Of choice and order.

    Returns:
        The three files.

    Raises:
        ConfigError: `out` is no CSV file, or there is nothing to label.
    """
    if out.suffix != ".csv" or count < 1:
        raise ConfigError(f"got a sheet {out.name} of {count} cases; give a name that ends in .csv, and 1 case or more")
    chosen = choose(verdicts(evaluation), count, seed)
    if not chosen:
        raise ConfigError(
            f"{evaluation.folder} has no answer for a sheet: all are credentialed, unscored, graded or the "
            "reference's own words; evaluate another task"
        )
    digits = max(3, len(str(len(chosen))))
    cases = {f"C{number:0{digits}d}": record for number, record in enumerate(chosen, start=1)}
    page, key = out.with_suffix(".html"), key_path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(as_csv(cases), encoding="utf-8-sig", newline="")
    page.write_text(as_page(cases, evaluation.folder, out.name), encoding="utf-8")
    key.write_text(as_key(cases, seed), encoding="ascii")
    return out, page, key


def key_path(sheet: Path) -> Path:
    """Where the key of a sheet lies."""
    return sheet.with_suffix(".key.json")


def choose(records: Sequence[Record], count: int, seed: int) -> list[Record]:
    """Cases for a sheet, in a seeded order: in turn from each task that may be shown."""
    rng = random.Random(seed)
    tasks: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: (record.task, record.id)):
        if is_open(record.task) and normalise(record.answer or "") != normalise(record.reference):
            tasks.setdefault(record.task, []).append(record)
    for group in tasks.values():
        rng.shuffle(group)
    turns = [(place, name) for name, group in tasks.items() for place in range(len(group))]
    chosen = [tasks[name][place] for place, name in sorted(turns)[:count]]
    rng.shuffle(chosen)
    return chosen


def as_csv(cases: Mapping[str, Record]) -> str:
    """The sheet for a spreadsheet."""
    target = io.StringIO()
    writer = csv.writer(target)
    writer.writerow(COLUMNS)
    for code, record in cases.items():
        texts = (record.question, "\n".join(record.options or ()), record.reference, record.answer or "(no answer)")
        writer.writerow([code, *map(harmless, texts), "", ""])
    return target.getvalue()


def harmless(text: str) -> str:
    """A text that a spreadsheet does not run: an apostrophe stands before what looks like a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def as_page(cases: Mapping[str, Record], folder: Path, name: str) -> str:
    """The sheet for a browser; it works without a network and hands the filled sheet back as CSV."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    pictures = {code: [thumbnail(folder, image, 480) for image in record.images] for code, record in cases.items()}
    return template.render(cases=cases, pictures=pictures, name=name)


def as_key(cases: Mapping[str, Record], seed: int) -> str:
    """What the codes stand for."""
    told = {
        code: {"task": record.task, "id": record.id, "cluster": record.cluster, "value": record.value}
        for code, record in cases.items()
    }
    return json.dumps({"seed": seed, "cases": told}, indent=1) + "\n"


def read_labels(filled: Path, key: Path) -> Labels:
    """Read a filled sheet.

    Args:
        filled: The CSV file, as a spreadsheet or the page saved it; only `case` and `verdict` are read.
        key: The sheet's key.

    Raises:
        DataError: A file cannot be read, a code is unknown or there twice, or a verdict is none of WORDS.
    """
    cases = read_key(key)
    given: dict[str, str] = {}
    for number, code, word in read_rows(filled):
        if code not in cases or code in given:
            fault = "there twice" if code in given else "not in the key"
            raise DataError(f"{filled} line {number}: case {code!r} is {fault}; give the sheet that {key.name} is of")
        if word and word not in WORDS:
            raise DataError(f"{filled} line {number}: verdict is {word!r}; accepted: {', '.join(WORDS)}, or nothing")
        given[code] = word
    return count_labels(cases, given)


def read_key(key: Path) -> dict[str, dict[str, Any]]:
    """Code -> what it stands for."""
    try:
        cases: dict[str, dict[str, Any]] = json.loads(key.read_text(encoding="utf-8"))["cases"]
        for case in cases.values():
            if case["value"] not in (0.0, 1.0) or not isinstance(case["task"] + case["cluster"], str):
                raise ValueError("a case has no verdict")
    except OSError as error:
        raise DataError(f"{key} cannot be read ({error.strerror}); it was written beside the sheet") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{key} is no key of a sheet ({type(error).__name__}); give the one written beside it"
        ) from error
    return cases


def read_rows(filled: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, code and verdict of each row; commas, semicolons or tabs, as spreadsheets save them."""
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


def count_labels(cases: Mapping[str, dict[str, Any]], given: Mapping[str, str]) -> Labels:
    """Count."""
    judged = [(cases[code], WORDS[word]) for code, word in given.items() if word]
    sure = [(case, label) for case, label in judged if label is not None]
    pairs = [(case["value"] == 1.0, label) for case, label in sure]
    counts = Counter(pairs)
    by_task: dict[str, tuple[int, int]] = {}
    for case, label in sure:
        same, labelled = by_task.get(case["task"], (0, 0))
        by_task[case["task"]] = (same + ((case["value"] == 1.0) == label), labelled + 1)
    names = {True: "yes", False: "no"}
    clusters = [case["cluster"] for case, _ in sure]
    return Labels(
        labelled=len(sure),
        unsure=len(judged) - len(sure),
        blank=len(cases) - len(judged),
        agreement=clustered_mean([float(a == b) for a, b in pairs], clusters),
        kappa=clustered_kappa(pairs, clusters),
        table={f"{names[a]}_{names[b]}": counts[a, b] for a in names for b in names},
        by_task=dict(sorted(by_task.items())),
    )
