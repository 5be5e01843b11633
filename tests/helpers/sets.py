# SPDX-License-Identifier: Apache-2.0
"""A data set for the tests of the preparation: a converter in a file, and rows with a picture each."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["put_converter", "put_rows"]

CONVERTER = '''# SPDX-License-Identifier: Apache-2.0
"""A set of the tests: rows.jsonl, each row with the hexadecimal bytes of a picture."""

from medix_verl.data.converters.base import Option, Refused, SetSpec
from medix_verl.types import ImageRef, Sample

SPEC = SetSpec(
    name="mine", title="Mine", licence="MIT", task="open", pictures=True, about="a set of the tests",
    splits={"train": "rows", "val": "held"}, rows={"train": 4}, CREDENTIAL
)
OPTIONS = {"suffix": Option("", "put behind each question")}


def read(source, split):
    for row in source.rows(SPEC.splits[split], ["id", "question", "answer"], optional=["image", "meta"]):
        if not row["answer"]:
            yield Refused(row["id"], "no answer", "it is empty")
            continue
        picture = row["image"]
        path = picture.removeprefix("path:") if picture and picture.startswith("path:") else None
        refs = () if picture is None else (ImageRef(path=path) if path else ImageRef(bytes=bytes.fromhex(picture)),)
        meta = {"licence": "MIT", "answer_type": "open", "image_id": [row["id"]], **(row["meta"] or {})}
        question = row["question"] + source.options["suffix"]
        yield Sample(row["id"], "mine", question, row["answer"], "X_RAY" if refs else None, refs, None, split, meta)
'''


def put_converter(folder: Path, credential: str = "") -> Path:
    """Write the converter's file."""
    words = f"credential={credential!r}, credentialed=True" if credential else ""
    path = folder / "mine.py"
    path.write_text(CONVERTER.replace("CREDENTIAL", words), encoding="utf-8")
    return path


def picture(seed: int, side: int) -> bytes:
    """A PNG that is like no other."""
    noise = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def put_rows(folder: Path, count: int, name: str = "rows", side: int = 32, **changes: dict[str, Any]) -> Path:
    """Write rows r0, r1, ...; `changes` are by id, and an id that is not there is a further row."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, Any]] = {
        f"r{number}": {
            "id": f"r{number}",
            "question": f"What is seen in picture {number}?",
            "answer": f"finding {number}",
            "image": picture(number, side).hex(),
        }
        for number in range(count)
    }
    for row_id, change in changes.items():
        rows[row_id] = {**rows.get(row_id, {"id": row_id, "question": "What?", "answer": "this"}), **change}
    lines = (json.dumps(row) + "\n" for row in rows.values())
    (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder
