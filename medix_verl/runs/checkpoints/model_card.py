# SPDX-License-Identifier: Apache-2.0
"""Writes the card of an exported model, README.md in its folder, from the run's record and logs only.

Missing information is shown as unknown. A card states the licences of the training rows if the data files still exist;
it never claims that a model may be used for anything but research. A card is published with the model, so it contains
no key, local path or local server.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from medix_verl.errors import DataError
from medix_verl.runs.checkpoints.export import Exported
from medix_verl.runs.checkpoints.portable import portable
from medix_verl.runs.logs import places_of, was_written_by
from medix_verl.runs.record import FILE_NAME, RunRecord, read_record
from medix_verl.runtime.files import read_json_lines, write_text
from medix_verl.secrets import scrub_text

__all__ = ["Validation", "read_validation", "render_model_card", "write_model_card"]

TEMPLATE = Path(__file__).parent / "templates" / "model_card.md.jinja"


@dataclass(frozen=True, slots=True)
class Validation:
    """verl's figures of the first validation, and of the last one up to a checkpoint's step."""

    first: int
    last: int
    figures: tuple[tuple[str, float | None, float], ...]
    """(key, first value, last value)"""


def write_model_card(done: Exported, metrics: Path | None = None, evaluation: str = "") -> Path:
    """Write the card.

    Args:
        done: The exported model.
        metrics: The file of verl's `file` logger; None uses the one in the run's record, if it exists.
        evaluation: The table of an evaluation of this model, as Markdown.

    Raises:
        DataError: The record or the metrics file exists and cannot be read.
    """
    run = done.checkpoint.run
    record = read_record(run) if run is not None and (run / FILE_NAME).is_file() else None
    path = done.out / "README.md"
    write_text(path, portable(scrub_text(render_model_card(done, record, metrics or log_of(record), evaluation))))
    return path


def log_of(record: RunRecord | None) -> Path | None:
    """The metrics file in a run's record, if it exists and belongs to that run."""
    places = places_of(record).metrics if record else ()
    return next((path for path in places if record and path.is_file() and was_written_by(record, path)), None)


def render_model_card(done: Exported, record: RunRecord | None, metrics: Path | None, evaluation: str = "") -> str:
    """The card as Markdown."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    config = json.loads((done.out / "config.json").read_text(encoding="utf-8"))
    environment = SandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        name=done.out.name,
        found=done.findings,
        model_type=config.get("model_type", "unknown"),
        checkpoint=done.checkpoint,
        record=record,
        licences=licences_of(record),
        validation=read_validation(metrics, done.checkpoint.step),
        evaluation=evaluation.strip(),
    )


def licences_of(record: RunRecord | None) -> list[tuple[str, int | str]]:
    """Licence -> rows, for the training files that can still be read; each other file is listed."""
    import pyarrow.parquet as pq

    rows: Counter[str] = Counter()
    lost: list[tuple[str, int | str]] = []
    for file in record.data if record else ():
        if file.role != "train" or file.path.endswith((".yaml", ".yml")):
            continue
        try:
            for batch in pq.ParquetFile(file.path).iter_batches(batch_size=4096, columns=["meta"]):
                rows.update(
                    str(json.loads(text or "{}").get("licence", "not stated")) for text in batch["meta"].to_pylist()
                )
        except (OSError, ValueError, KeyError):
            lost.append((f"unknown: {Path(file.path).name} is not here any more", "?"))
    return [*rows.most_common(), *lost]


def read_validation(metrics: Path | None, step: int | None) -> Validation | None:
    """The first validation and the last one up to a step.

    Raises:
        DataError: The file contains no validation.
    """
    if metrics is None:
        return None
    found: list[tuple[int, dict[str, float]]] = []
    for entry in read_json_lines(metrics):
        if entry is None:
            break  # the last line, which is still being written
        data = entry.get("data", {})
        values = {key: value for key, value in data.items() if key.startswith("val-core/") and value is not None}
        if values and (step is None or entry["step"] <= step):
            found.append((entry["step"], values))
    if not found:
        raise DataError(f"{metrics} holds no validation up to step {step}; leave --metrics out, or give another file")
    (first, before), (last, after) = found[0], found[-1]
    figures = tuple((key, before.get(key) if first != last else None, after[key]) for key in sorted(after))
    return Validation(first, last, figures)
