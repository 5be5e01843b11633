# SPDX-License-Identifier: Apache-2.0
"""Damaged pictures and DICOM files through the readers: each is read, or refused by the row's id, within its time.

    python tests/benchmarks/fuzz_files.py --pictures 20000 --dicom 2000

Pictures are written here in every format that is accepted, in many modes; DICOM files are the test files of pydicom
that are installed with it. Each is damaged in one to four places: a byte or a length is changed, a piece is cut out,
doubled or taken from another file, the end is lost. Pictures go through `load_image` as `prepare` and training open
them; DICOM files also through the converter of a folder. They are opened in a child with limits on time and memory.

An exception that is no DataError with the row's id, a child that dies and an item that takes too long are printed with
the damaged bytes in base64, and the program ends with 1.
"""

from __future__ import annotations

import argparse
import base64
import io
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from medix_verl.data.converters.base import Refused, resolve_options
from medix_verl.data.converters.registry import find, options_of
from medix_verl.data.pictures.images import load_image
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.runtime.bounded import Bounded, Lost
from medix_verl.types import ImageRef

SECONDS = 20
FOLDER = 100
"""DICOM files that the converter reads at once."""
LARGEST = 200_000
"""Bytes of a DICOM file that is damaged: larger ones differ by their pixels only."""
FORMS = (
    *(("PNG", mode) for mode in ("L", "RGB", "RGBA", "LA", "P", "1", "I;16")),
    *(("JPEG", mode) for mode in ("L", "RGB", "CMYK")),
    *(("TIFF", mode) for mode in ("L", "RGB", "RGBA", "F", "I;16", "1", "CMYK")),
    *(("WEBP", mode) for mode in ("RGB", "RGBA")),
    *(("GIF", mode) for mode in ("L", "P")),
    *(("BMP", mode) for mode in ("L", "RGB", "P")),
    *(("JPEG2000", mode) for mode in ("L", "RGB", "RGBA")),
    *(("PPM", mode) for mode in ("L", "RGB")),
    *(("PCX", mode) for mode in ("L", "RGB")),
    ("AVIF", "RGB"),
)


def pictures(draw: random.Random) -> list[bytes]:
    """One whole picture of each form that this build of Pillow writes."""
    found = []
    for form, mode in FORMS:
        noise = np.frombuffer(draw.randbytes(48 * 40 * 4), np.uint8).reshape(40, 48, 4)
        image = Image.fromarray(noise, "RGBA").convert("RGB")
        image = image.convert("L").convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)
        buffer = io.BytesIO()
        try:
            image.save(buffer, form)
        except (KeyError, OSError):
            continue
        found.append(buffer.getvalue())
    return found


def dicom_files() -> list[bytes]:
    """The small ones of pydicom's own test files."""
    import pydicom

    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    return [path.read_bytes() for path in sorted(folder.rglob("*.dcm")) if path.stat().st_size <= LARGEST]


def damaged(draw: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """The file with one to four damages."""
    for _ in range(draw.randint(1, 4)):
        size = len(data)
        if size < 16:
            return data
        # Headers stand first, and decide most.
        at = draw.randrange(min(size, 2048) if draw.random() < 0.6 else size)
        kind = draw.randrange(6)
        if kind == 0:
            data = data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]
        elif kind == 1:
            width = draw.choice((2, 4, 8))
            value = draw.choice((0, 1, 255, (1 << 31) - 1, 1 << 31, (1 << 8 * width) - 1)) % (1 << 8 * width)
            data = data[:at] + value.to_bytes(width, draw.choice(("little", "big"))) + data[at + width :]
        elif kind == 2:
            data = data[:at] + data[at + draw.randint(1, 64) :]
        elif kind == 3:
            data = data[:at] + data[at : at + draw.randint(1, 64)] + data[at:]
        elif kind == 4:
            other = draw.choice(others)
            start = draw.randrange(len(other))
            data = data[:at] + other[start : start + draw.randint(1, 64)] + data[at:]
        else:
            data = data[: max(at, 16)]
    return data


def opened(data: bytes) -> str:
    """What became of a picture."""
    try:
        load_image(ImageRef(bytes=data), "row-7")
    except DataError as error:
        if "row-7" not in str(error):
            raise RuntimeError(f"a refusal without the row's id: {error}") from error
        return "refused"
    return "read"


def converted(files: list[bytes]) -> Counter[str]:
    """What became of DICOM files that the converter of a folder read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = ["id,question,answer,file,split"]
        for number, data in enumerate(files):
            (folder / f"f{number}.dcm").write_bytes(data)
            lines.append(f"r{number},What is seen?,nothing,f{number}.dcm,train")
        (folder / "table.csv").write_text("\n".join(lines), encoding="utf-8")
        converter = find("dicom")
        options = resolve_options("dicom", options_of(converter), {"allow-identified": "yes"})
        found = list(converter.read(Source(folder, options=options), "train"))
    return Counter("refused" if isinstance(item, Refused) else "read" for item in found)


def run(name: str, items: Iterator[list[bytes]], count: int, deadline: float) -> int:
    """Open so many items; returns how many failed."""
    child, began, counts, failed = Bounded(SECONDS), time.monotonic(), Counter[str](), 0
    done = 0
    while done < count and time.monotonic() < deadline:
        batch = next(items)
        try:
            for data in batch:
                done += 1
                result = next(child.each(opened, [data]))
                if isinstance(result, Lost):
                    raise RuntimeError(result.why)
                counts[result] += 1
            if name == "DICOM files":
                result = next(child.each(converted, [batch]))
                if isinstance(result, Lost):
                    raise RuntimeError(f"the converter {result.why}")
        except Exception as error:  # noqa: BLE001 - what is looked for
            failed += 1
            print(f"{name}: {type(error).__name__}: {error}\n{base64.b64encode(data).decode()}")
    child.close()
    rate = done / (time.monotonic() - began)
    print(f"{done} damaged {name}: {counts['read']} read, {counts['refused']} refused, {failed} failed, {rate:.0f} a s")
    return failed


def stream(draw: random.Random, whole: list[bytes], batch: int) -> Iterator[list[bytes]]:
    """Batches of damaged files, without an end."""
    while True:
        yield [damaged(draw, draw.choice(whole), whole) for _ in range(batch)]


def main() -> int:
    """Run both; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--dicom", type=int, default=2_000)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw, deadline = random.Random(args.seed), time.monotonic() + 60 * args.minutes
    failed = run("pictures", stream(draw, pictures(draw), 1), args.pictures, deadline)
    failed += run("DICOM files", stream(draw, dicom_files(), FOLDER), args.dicom, deadline)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
