# SPDX-License-Identifier: Apache-2.0
"""VQA-RAD: clinicians' questions on 314 radiology pictures (flaviagiammarino/vqa-rad, CC0 1.0).

Files: `data/train-*.parquet` (1,793 rows) and `data/test-*.parquet` (451) with `image` (struct of bytes and path),
`question` and `answer`. Rows have no ids; each gets a hash of its content as id, a duplicate row with the suffix `-2`.
There is no modality and no answer type: an answer of yes or no is closed, any other open. The tag is null, because the
data set mixes CT, MRI and X-ray, and training on a guessed tag would be wrong.

Leakage is documented: train and test share pictures and some questions. Use `--decontaminate-against` to compare them.
"""

from __future__ import annotations

from collections.abc import Iterator

from medix_verl.data.converters.assemble import read_plain
from medix_verl.data.converters.base import Refused, SetSpec
from medix_verl.data.source import Source
from medix_verl.types import Sample

__all__ = ["SPEC", "read"]

SPEC = SetSpec(
    name="vqa-rad",
    title="VQA-RAD",
    hub_id="flaviagiammarino/vqa-rad",
    licence="CC0-1.0",
    task="mixed",
    pictures=True,
    about="Clinicians' questions on 314 radiology pictures; train and test share pictures",
    splits={"train": "train", "test": "test"},
    rows={"train": 1793, "test": 451},
)


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`)."""
    return read_plain(SPEC, source, split)
