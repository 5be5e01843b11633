# SPDX-License-Identifier: Apache-2.0
"""A small copy of the MIMIC-CXR evaluation set, in its own layout; all content is made up."""

from __future__ import annotations

import io
from pathlib import Path

SECRET = "The left lower lobe of Mrs Ypsilon is consolidated."


def picture() -> bytes:
    """A picture whose bytes are in no other file."""
    from PIL import Image

    buffer = io.BytesIO()
    pixels = bytes((7 * place * place + place // 96) % 256 for place in range(96 * 96))
    Image.frombytes("L", (96, 96), pixels).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def write_mimic(folder: Path, raw: bytes) -> Path:
    """The evaluation set's own layout: picture by value."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    place = folder / "mimic_cxr"
    place.mkdir(parents=True)
    url = "https://physionet.org/files/mimic-cxr-jpg/2.1.0/files/p10/p10000032/s50414267/aa-1.jpg"
    rows = [{"image": url, "report": SECRET, "summary": "Left lower lobe pneumonia of Mrs Ypsilon."}]
    pq.write_table(pa.Table.from_pylist(rows), place / "test-00000-of-00001.parquet")
    (folder / "aa-1.jpg").write_bytes(raw)
    return folder
