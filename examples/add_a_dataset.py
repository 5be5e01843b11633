# SPDX-License-Identifier: Apache-2.0
"""Add your own converter: `medix-verl prepare examples/add_a_dataset.py --source FOLDER --split train --out FILE`.

FOLDER contains train.csv and holdout.csv with the columns film, asked, truth, and the films.
"""

from collections.abc import Iterator

from medix_verl.data.converters.base import Refused, SetSpec
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.types import ImageRef, Sample

SPEC = SetSpec(
    name="wrists",
    title="Wrist radiographs",
    licence="CC-BY-4.0",
    task="open",
    pictures=True,
    about="one question for each film",
    splits={"train": "train", "test": "holdout"},
)


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    for number, row in enumerate(source.rows(SPEC.splits[split], ["film", "asked", "truth"])):
        row_id = f"wrists-{split}-{number}"
        if not row["truth"].strip():
            yield Refused(row_id, "no answer", row["film"])
            continue
        try:
            film = ImageRef(bytes=source.member(row["film"]))
        except DataError as cause:
            yield Refused(row_id, "no picture", str(cause))
            continue
        meta = {"licence": SPEC.licence, "answer_type": "open", "image_id": [row["film"]]}
        yield Sample(row_id, SPEC.name, row["asked"], row["truth"], "X_RAY", (film,), split=split, meta=meta)
