# SPDX-License-Identifier: Apache-2.0
"""Generated rows for `prepare.py`, in the layouts of medix-rl-data (parquet) and PubMedVision (JSON and archives)."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

SIDE = 400
DRAWN = 200
ROWS_A_SHARD = 5000
ARCHIVES = 20
SMALL = 48
"""Side of the distinct pictures of a large set, in pixels."""


def draw(seed: int, kind: str, side: int = SIDE) -> bytes:
    """A soft picture with some noise, as a scan has: of 400 x 400 about 25 KB as JPEG, about 300 KB as PNG."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.int16)
    noisy = (soft + rng.integers(-6, 7, soft.shape)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, kind, **({"quality": 85} if kind == "JPEG" else {"compress_level": 1}))
    return buffer.getvalue()


def generate(folder: Path, rows: int, kind: str, layout: str = "medix-rl-data") -> int:
    """Write the files of a set; give their size in bytes."""
    {"medix-rl-data": write_shards, "pubmedvision": write_archives}[layout](folder, rows, kind)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def write_shards(folder: Path, rows: int, kind: str) -> None:
    """`train-*.parquet`, in which 200 pictures come again and again."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures = [draw(seed, kind) for seed in range(DRAWN)]
    starts = range(0, rows, ROWS_A_SHARD)
    (folder / "data").mkdir(parents=True)
    image = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    texts = [(name, pa.string()) for name in ("id", "source", "problem", "solution")]
    schema = pa.schema([texts[0], ("image", image), *texts[1:]])
    for number, first in enumerate(starts):
        path = folder / "data" / f"train-{number:05}-of-{len(starts):05}.parquet"
        with pq.ParquetWriter(path, schema, compression="snappy", use_dictionary=False) as writer:
            for start in range(first, min(first + ROWS_A_SHARD, rows), 100):
                made = [a_row(row, pictures) for row in range(start, min(start + 100, first + ROWS_A_SHARD, rows))]
                writer.write_table(pa.Table.from_pylist(made, schema=schema))


def a_row(number: int, pictures: list[bytes]) -> dict[str, Any]:
    # Both formats allow bytes behind their end.
    data = pictures[number % DRAWN] + b"row %d" % number
    return {
        "id": f"row-{number}",
        "image": [{"bytes": data, "path": None}],
        "source": "generated",
        "problem": f"<image>What is the most likely finding in study {number} of this series?",
        "solution": f"<X_RAY>finding number {number}",
    }


def write_archives(folder: Path, rows: int, kind: str) -> None:
    """One JSON list, and the pictures, all distinct and small, in 20 archives with different inner folders."""
    folder.mkdir(parents=True)
    archives = [zipfile.ZipFile(folder / f"images_{number}.zip", "w") for number in range(ARCHIVES)]
    with (folder / "PubMedVision_InstructionTuning_VQA.json").open("w", encoding="utf-8") as table:
        for row in range(rows):
            name = f"pmc_{row}_0.jpg"
            inner = "images" if row % 2 else f"data/images_{row % ARCHIVES}"
            archives[row % ARCHIVES].writestr(f"{inner}/{name}", draw(row, kind, SMALL))
            table.write(("[\n" if row == 0 else ",\n") + json.dumps(a_conversation(row, name)))
        table.write("\n]\n")
    for archive in archives:
        archive.close()


def a_conversation(number: int, name: str) -> dict[str, Any]:
    asked = f"<image>\nWhat does figure {number} show, and which structure does its arrow mark?"
    found = f"Figure {number} shows a section of tissue; the arrow marks structure {number}. " + "It is stained. " * 20
    return {
        "image": [f"images/{name}"],
        "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": found}],
        "id": f"identity_{number}",
        "modality": ("CT", "MRI", "X-Ray")[number % 3],
        "body_part": "chest",
    }
