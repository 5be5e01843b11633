# SPDX-License-Identifier: Apache-2.0
"""Check a finished parquet file: lists every row that would be refused, flagged or dropped, by its id.

The report has the same keys as that of `prepare` (see `finish`), and `findings`: each collision with the other row's
id. The file is not changed, and checking continues after an invalid row. Memory grows only by the fingerprints.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tqdm import tqdm

from medix_verl.credentialed import is_credentialed
from medix_verl.data.converters.base import Refused
from medix_verl.data.duplicates.collisions import Finding, find_duplicates
from medix_verl.data.duplicates.fingerprint_cache import file_marks
from medix_verl.data.duplicates.fingerprints import Fingerprint
from medix_verl.data.io.file_limits import rows_at_once
from medix_verl.data.prepare.check_pool import outcomes
from medix_verl.data.prepare.checks import QualitySpec, check
from medix_verl.data.prepare.finish import collisions, examples
from medix_verl.data.schema import SAMPLE_SCHEMA, check_file, from_row
from medix_verl.errors import DataError
from medix_verl.types import Sample

__all__ = ["check_parquet"]

BATCH = 64


def check_parquet(
    path: Path,
    spec: QualitySpec | None = None,
    against: Sequence[Path] = (),
    workers: int = 1,
    bounded: bool = False,
) -> dict[str, Any]:
    """Check every row of a sample file.

    Args:
        path: The file; its picture paths are relative to its folder.
        spec: What is refused, flagged and dropped; None: the default.
        against: Evaluation files whose rows must not be in the file.
        workers: Processes that decode pictures.
        bounded: As in `check_pool.outcomes`.

    Returns:
        The report: `rows` (read, refused; dropped and written: what `prepare` would drop and keep), `reasons`,
        `flags`, `collisions` and `examples` as `prepare` writes them, `refused` and `findings` with every row, and
        `checked`, which states that the rows are still in the file.

    Raises:
        DataError: The file is not a sample file, or a file of `against` cannot be used.
    """
    total = check_file(path)
    quality = spec or QualitySpec()
    refused: list[Refused] = []
    flags: Counter[str] = Counter()
    facts: Counter[str] = Counter()
    test = partial(check, spec=quality, base_dir=str(path.parent))

    def marks() -> Iterator[tuple[str, Fingerprint]]:
        seen = outcomes(rows_of(path, facts), test, workers, bounded)
        # On standard error, and only in a terminal.
        for found in tqdm(seen, total=total, delay=2, unit=" rows", disable=not sys.stderr.isatty(), file=sys.stderr):
            flags.update(found.flags)
            if isinstance(found.item, Refused):
                refused.append(found.item)
            elif found.fingerprint is not None:
                yield found.item.id, found.fingerprint

    others = {str(file): file_marks(file, workers, bounded) for file in against}
    findings = find_duplicates(marks(), others, quality)
    report = report_of(refused, findings, flags, facts)
    return {"set": path.name, "checked": True, "against": [file.name for file in against], **report}


def rows_of(path: Path, facts: Counter[str]) -> Iterator[Sample | Refused]:
    """The rows; an invalid row or a repeated id is yielded as a Refused."""
    seen: set[str] = set()
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=rows_at_once(file, BATCH), columns=SAMPLE_SCHEMA.names):
            for row in batch.to_pylist():
                facts["read"] += 1
                try:
                    sample = from_row(row)
                except DataError as cause:
                    yield Refused(str(row.get("id")), "invalid row", str(cause))
                    continue
                facts["credentialed"] += is_credentialed(sample.data_source, sample.meta)
                if sample.id in seen:
                    yield Refused(sample.id, "id comes twice", "an earlier row has the same id")
                    continue
                seen.add(sample.id)
                yield sample


def report_of(
    refused: list[Refused], findings: list[Finding], flags: Counter[str], facts: Counter[str]
) -> dict[str, Any]:
    dropped = [found for found in findings if found.drop]
    gone = [(item.id, item.reason, item.detail) for item in refused]
    gone += [(found.id, f"duplicate: {found.kind}", f"of {found.other_id!r}") for found in dropped]
    rows = {"read": facts["read"], "refused": len(refused), "dropped": len(dropped)}
    return {
        "credentialed": facts["credentialed"] > 0,
        "rows": {**rows, "written": facts["read"] - len(gone)},
        "reasons": dict(Counter(reason for _, reason, _ in gone).most_common()),
        "flags": dict(sorted(flags.items())),
        "collisions": collisions(findings),
        "examples": examples(gone),
        "refused": [{"id": item.id, "reason": item.reason, "detail": item.detail} for item in refused],
        "findings": [
            {"id": one.id, "kind": one.kind, "file": one.other_file, "other_id": one.other_id, "drop": one.drop}
            for one in findings
        ],
    }
