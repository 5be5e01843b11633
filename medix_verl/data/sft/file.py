# SPDX-License-Identifier: Apache-2.0
"""Write the file for supervised fine-tuning of `medix-verl prepare ... --sft`, next to the training file.

It has the training file's rows in the same order, except those without a usable rationale, and the same decoding stamp
(`pictures.stamp`). So a row that was dropped from the training file, as a duplicate or as a row of an evaluation file,
is not in the SFT file either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medix_verl.data.io.parquet import Further, write_rows
from medix_verl.data.schema import check_file, first_line
from medix_verl.data.sft.rationale import Origin
from medix_verl.data.sft.rows import MESSAGES, SFT_SCHEMA, SftSpec, Stamp, fit_of, stamp_in
from medix_verl.errors import DataError
from medix_verl.response import parse_response
from medix_verl.runtime.files import atomic_write
from medix_verl.thinking import Thinking
from medix_verl.types import Sample

__all__ = ["check_sft_file", "misfit", "read_messages", "read_stamp", "sft_path", "write_sft"]

EXAMPLES = 5


def sft_path(out: Path) -> Path:
    """`train.parquet` -> `train.sft.parquet`."""
    return out.with_name(f"{out.stem}.sft.parquet")


class Counts:
    """Row counts for the report."""

    def __init__(self, how: SftSpec) -> None:
        self.how = how
        self.written: Counter[str] = Counter()
        self.left: Counter[str] = Counter()
        self.unused: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def report(self, path: Path) -> dict[str, Any]:
        """As JSON values; the same for the same rows."""
        return {
            "file": path.name,
            "prompt": self.how.prompt,
            "rows": {"written": self.written.total(), "left out": self.left.total()},
            "rationales": {origin.value: self.written[origin.value] for origin in Origin},
            "explanations not used": dict(self.unused.most_common()),
            "left out": dict(self.left.most_common()),
            "examples": self.examples,
        }


def write_sft(samples: Iterable[Sample], path: Path, how: SftSpec) -> dict[str, Any]:
    """Write the file from samples whose pictures were all decoded.

    Returns:
        The `sft` section of the report.

    Raises:
        DataError: No row has a usable rationale; no file is written.
    """
    counts, turns = Counts(how), dict[str, Mapping[str, Any]]()
    kept = fitting(samples, counts, turns)
    first = next(kept, None)
    if first is None:
        reason = next(iter(counts.left.most_common(1)), ("there is no row", 0))[0]
        raise DataError(
            f"{path}: no row has a usable rationale ({reason}); leave out --sft, or give the explanations: prepare own "
            "reads a column `rationale`"
        )
    with atomic_write(path) as part:
        further = Further(SFT_SCHEMA, turns.pop, how.stamp())
        write_rows(chained(first, kept), part, path, decoded=True, further=further)
    return counts.report(path)


def chained(first: Sample, others: Iterator[Sample]) -> Iterator[Sample]:
    yield first
    yield from others


def fitting(samples: Iterable[Sample], counts: Counts, turns: dict[str, Mapping[str, Any]]) -> Iterator[Sample]:
    """The samples that can be written; their messages are in `turns` until the writer takes them."""
    for sample in samples:
        fit = fit_of(sample, counts.how)
        if fit.sample is None or fit.rationale.origin is None:
            reason = fit.left.value if fit.left is not None else ""
            counts.left[reason] += 1
            named = counts.examples.setdefault(reason, [])
            named += [sample.id] * (len(named) < EXAMPLES)
            continue
        if fit.rationale.fault is not None:
            counts.unused[fit.rationale.fault.value] += 1
        counts.written[fit.rationale.origin.value] += 1
        turns[sample.id] = fit.row
        yield fit.sample


def read_stamp(path: str | Path) -> Stamp:
    """Read the stamp from a file's metadata.

    Raises:
        DataError: The file was not written for SFT.
    """
    try:
        with pq.ParquetFile(path) as file:
            metadata, columns = file.metadata.metadata, file.schema_arrow.names
    except (pa.ArrowInvalid, OSError) as cause:
        raise DataError(f"{path}: this is not a readable parquet file ({first_line(cause)})") from cause
    return stamp_in(metadata if MESSAGES in columns else None, str(path))


def check_sft_file(path: str | Path) -> int:
    """Refuse a file that was not written for SFT.

    Returns:
        The number of rows.

    Raises:
        DataError: The file was not written for SFT.
    """
    rows = check_file(path)
    read_stamp(path)
    return rows


def misfit(path: str | Path, thinking: Thinking) -> str:
    """Why a file's texts do not continue a prompt of this kind, with the remedy; empty if they do.

    The parser alone is not enough: it accepts a reply that repeats the `<think>` which the prompt already has.

    Args:
        path: The file.
        thinking: Thinking mode of the model's chat template.

    Raises:
        DataError: The file was not written for SFT.
    """
    stamp, texts = read_stamp(path), [text for _, text in read_messages(path)]
    wrong = sum(not parse_response(text, thinking).well_formed for text in texts)
    if not wrong and (stamp.thinking is Thinking.OPEN) is (thinking is Thinking.OPEN):
        return ""
    fits = "medix_thinking" if thinking is Thinking.OPEN else "medix"
    return (
        f"{path} was written with the prompt {stamp.prompt}, whose texts do not continue a prompt that says "
        f"thinking={thinking.value}, as the model's chat template does; prepare with --sft-prompt {fits} and type "
        f"data.medix.prompt={fits}"
    )


def read_messages(path: str | Path) -> list[tuple[str, str]]:
    """The user's and the assistant's text of each row.

    Raises:
        DataError: A row does not have exactly these two turns.
    """
    with pq.ParquetFile(path) as file:
        rows = file.read(columns=["id", MESSAGES]).to_pylist()
    found = []
    for row in rows:
        turns = row[MESSAGES] or []
        if [turn["role"] for turn in turns] != ["user", "assistant"]:
            raise DataError(
                f"{path} row {row['id']!r}: messages must be a user's turn and an assistant's; prepare again"
            )
        found.append((str(turns[0]["content"]), str(turns[1]["content"])))
    return found
