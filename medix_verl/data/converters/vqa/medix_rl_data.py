# SPDX-License-Identifier: Apache-2.0
"""MBZUAI/medix-rl-data, MediX-R1's training and test set; the published test split is our `val`, as in their training.

Each shard has the columns `id`, `image` (list of encoded pictures), `source`, `problem` and `solution`; a solution is
the modality tag and the answer, `<X_RAY>pneumonia`. A tag is stripped only if it is one of the sixteen modalities, so
that answers such as `lesion > 3 cm` stay complete (the official reward cuts them at the first `>`). The pictures have
no names: each is identified by a hash of its bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from medix_verl.data.converters.base import Refused, SetSpec
from medix_verl.data.converters.pictures import by_value
from medix_verl.data.source import Source
from medix_verl.types import MODALITIES, Sample

__all__ = ["SPEC", "read"]

SPEC = SetSpec(
    name="medix-rl-data",
    title="MediX-R1 RL data",
    hub_id="MBZUAI/medix-rl-data",
    splits={"train": "train", "val": "test"},
    rows={"train": 51335, "val": 2451},
    licence="CC-BY-NC-SA-4.0",
    task="mixed",
    pictures=True,
    about="the training set of MediX-R1: one picture, short answers, 16 modality tags (47 GB)",
)

COLUMNS = ("id", "image", "source", "problem", "solution")
TAG = re.compile(r"^\s*<\s*([A-Za-z_]+)\s*>\s*")
CLOSED = frozenset({"yes", "no"})


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each published row."""
    for row in source.rows(SPEC.splits[split], COLUMNS):
        yield to_sample(row, split)


def to_sample(row: dict[str, Any], split: str) -> Sample | Refused:
    """Convert one published row."""
    name = str(row["id"] or "")
    solution, problem = str(row["solution"] or ""), str(row["problem"] or "").replace("<image>", "").strip()
    match = TAG.match(solution)
    tag = match[1].upper() if match is not None and match[1].upper() in MODALITIES else None
    answer = (solution[match.end() :] if match is not None and tag else solution).strip()
    if not answer:
        return Refused(name, "no answer", f"the solution is {solution!r}")
    if not problem:
        return Refused(name, "no question", f"the problem is {row['problem']!r}")
    shown = by_value([row["image"]] if row["image"] is not None else ())
    if shown.missing:
        return Refused(name, "no picture", "a picture of the row has no bytes")
    return Sample(
        id=name,
        data_source=f"medix_rl_data/{row['source']}",
        question=problem,
        answer=answer,
        modality=tag,
        images=shown.refs,
        split=split,
        meta={
            "licence": SPEC.licence,
            "answer_type": "closed" if answer.rstrip(".").lower() in CLOSED else "open",
            "image_id": [hashlib.sha256(ref.bytes or b"").hexdigest()[:32] for ref in shown.refs],
        },
    )
