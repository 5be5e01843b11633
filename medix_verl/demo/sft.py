# SPDX-License-Identifier: Apache-2.0
"""The demo's files for supervised fine-tuning: `sft/train.parquet` and `sft/val.parquet`, from the demo's own rows.

They are in the folder of `build` but not part of its manifest: a finished build stays valid.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medix_verl.data.io.parquet import read_samples
from medix_verl.data.sft.file import write_sft
from medix_verl.data.sft.rows import SftSpec
from medix_verl.demo.build import COUNTS
from medix_verl.demo.models.warmup import TEMPLATE

__all__ = ["write_demo_sft"]


def write_demo_sft(folder: Path, how: SftSpec | None = None) -> dict[str, dict[str, Any]]:
    """Write both splits of a finished demo.

    Args:
        folder: The demo's folder.
        how: How rows are written; None means the prompt of the demo's policy.

    Returns:
        Split -> the report, as in the report of a preparation.
    """
    how = how or SftSpec(prompt=TEMPLATE)
    place = folder / "sft"
    place.mkdir(exist_ok=True)
    return {
        split: write_sft(read_samples(folder / "data" / f"{split}.parquet"), place / f"{split}.parquet", how)
        for split in COUNTS
    }
