# SPDX-License-Identifier: Apache-2.0
"""The card of an exported model: README.md in its folder, filled from what the run has left, and from nothing else.

What is not known is said to be unknown. A card states the licences of the rows that were trained on where the data
files are still there; it never claims that a model may be used for anything but research.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from medix_verl.errors import DataError
from medix_verl.runs.export import Exported
from medix_verl.runs.record import FILE_NAME, RunRecord, read_record
from medix_verl.runtime.files import read_json_lines

__all__ = ["read_validation", "render_model_card", "write_model_card"]

TEMPLATE = Path(__file__).parent / "templates" / "model_card.md.jinja"


def write_model_card(done: Exported, metrics: Path | None = None) -> Path:
    """Write the card.

    Args:
        done: The model.
        metrics: The file of verl's `file` logger, for the last validation.

    Raises:
        DataError: The record or the metrics file is there and cannot be read.
    """
    run = done.checkpoint.run
    record = read_record(run) if run is not None and (run / FILE_NAME).is_file() else None
    path = done.out / "README.md"
    path.write_text(render_model_card(done, record, metrics), encoding="utf-8")
    return path


def render_model_card(done: Exported, record: RunRecord | None, metrics: Path | None) -> str:
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
    )


def licences_of(record: RunRecord | None) -> list[tuple[str, int | str]]:
    """Licence -> rows, of the training files that can still be read; each other file is named."""
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


def read_validation(metrics: Path | None, step: int | None) -> tuple[int, list[tuple[str, float]]] | None:
    """The last validation up to a step: its step, and verl's figures of it.

    Raises:
        DataError: The file holds no validation.
    """
    if metrics is None:
        return None
    found: tuple[int, list[tuple[str, float]]] | None = None
    for entry in read_json_lines(metrics):
        if entry is None:
            break  # the last line, still being written
        values = sorted((key, value) for key, value in entry.get("data", {}).items() if key.startswith("val-core/"))
        if values and (step is None or entry["step"] <= step):
            found = (entry["step"], values)
    if found is None:
        raise DataError(f"{metrics} holds no validation up to step {step}; leave --metrics out, or give another file")
    return found
