# SPDX-License-Identifier: Apache-2.0
"""Keeps what each score was made of: one line of JSON an answer, beside the answers that verl dumps.

verl's own dump of training answers has the score alone, and no dump of its has the row's id, so that no picture could
be found again. Lines are joined to verl's by `uid`; one without a partner does no harm. A folder that cannot be written
costs these lines and a warning, never the run.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medix_verl.runtime.files import append_lines

__all__ = ["FOLDER", "keep_parts", "part_lines"]

FOLDER = "parts"
"""Below `trainer.rollout_data_dir`."""

_logger = logging.getLogger(__name__)


def keep_parts(folder: Path, step: int, validation: bool, lines: Sequence[str]) -> None:
    """Add lines to the file of a step.

    Args:
        folder: `trainer.rollout_data_dir`; the lines go into a folder below it.
        step: verl's global step, after which its own dump is named too.
        validation: Whether they are of a validation, which may come in several batches.
        lines: From `part_lines`.
    """
    path = folder / FOLDER / f"{'val-' if validation else ''}{step}.jsonl"
    try:
        append_lines(path, lines)
    except OSError as error:
        _logger.warning("the parts of %d answers were not kept: %s; free some space, or set another "
                        "trainer.rollout_data_dir", len(lines), error)  # fmt: skip


def part_lines(
    keys: Sequence[str], extras: Sequence[Mapping[str, float]], infos: Sequence[Any], sources: Sequence[Any]
) -> list[str]:
    """One line an answer.

    Args:
        keys: verl's names of the answers, PROMPT_SESSION_INDEX.
        extras: From medix_verl.rewards.keys.to_verl.
        infos: The rows' `extra_info`, as MedixDataset makes it.
        sources: The rows' `data_source`.
    """
    lines = []
    for key, extra, info, source in zip(keys, extras, infos, sources, strict=True):
        row = info if isinstance(info, Mapping) else {}
        named = {"uid": key, "id": row.get("id"), "data_source": source, "modality_tag": row.get("modality")}
        lines.append(json.dumps({**named, **extra}, ensure_ascii=False, default=str) + "\n")
    return lines
