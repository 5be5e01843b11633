# SPDX-License-Identifier: Apache-2.0
"""Rate and memory of `medix-verl prepare` on generated rows in medix-rl-data's layout, pictures of 400 x 400.

    python tests/benchmarks/prepare.py --rows 10000 51000 --workers 2

200 pictures are drawn; each row has one of them with a comment of its own, so that no two rows have the same bytes.
Their pixels repeat, so duplicates are found but (texts differ) not dropped. Each size is prepared twice in processes
of their own: with the real check, which decodes every picture, and with one that decodes none, which is the rate of
everything else: reading, fingerprints of texts, parts, duplicates, the final file. Memory is the peak of the sum of the
proportional set sizes (PSS) of the command and its workers, so that shared pages count once.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil

SIDE = 400
DRAWN = 200
ROWS_A_SHARD = 5000


def draw(seed: int, kind: str) -> bytes:
    """A soft picture with some noise, as a scan has: about 25 KB as JPEG, about 300 KB as PNG."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.int16)
    noisy = (soft + rng.integers(-6, 7, soft.shape)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, kind, **({"quality": 85} if kind == "JPEG" else {"compress_level": 1}))
    return buffer.getvalue()


def generate(folder: Path, rows: int, kind: str) -> int:
    """Write shards `train-*.parquet`; give their size in bytes."""
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
    return sum(path.stat().st_size for path in (folder / "data").iterdir())


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


def no_decoding(sample: Any, spec: Any) -> Any:
    """The real check but for the pictures: their marks are made of their bytes."""
    import hashlib

    from medix_verl.data.answers import answer_flags, question_flags
    from medix_verl.data.checks import Checked
    from medix_verl.data.fingerprints import PictureMarks, fingerprint
    from medix_verl.data.schema import to_row

    to_row(sample)
    marks = []
    for ref in sample.images:
        digest = hashlib.blake2b(ref.bytes, digest_size=32).digest()
        marks.append(PictureMarks(digest[:16], int.from_bytes(digest[16:24], "big"), digest))
    flags = (*answer_flags(sample, spec.max_answer_chars), *question_flags(sample))
    return Checked(None, "", flags, fingerprint(sample, marks), tuple((SIDE, SIDE) for _ in marks))


def child(source: str, out: str, workers: int, decode: bool) -> None:
    """One preparation; its own time, without the start of Python, goes to standard output."""
    from medix_verl.data.checks import QualitySpec
    from medix_verl.data.job import Job
    from medix_verl.data.prepare import prepare

    job = Job("medix-rl-data", "train", Path(out), place=source, workers=workers)
    began = time.perf_counter()
    checker = None if decode else partial(no_decoding, spec=QualitySpec())
    report = prepare(job, lambda line: print(f"{time.perf_counter() - began:8.1f} s  {line}", file=sys.stderr), checker)
    print(json.dumps({"seconds": time.perf_counter() - began, "rows": report["rows"]}))


def tree(root: psutil.Process) -> Iterator[psutil.Process]:
    yield root
    yield from root.children(recursive=True)


def memory(root: psutil.Process) -> int:
    """Bytes of the process and its children, shared pages counted once."""
    total = 0
    for process in tree(root):
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return total


def measure(source: Path, out: Path, workers: int, decode: bool) -> dict[str, Any]:
    words = [sys.executable, __file__, "--child", str(source), str(out), str(workers), str(int(decode))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        peak, root = 0, psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak = max(peak, memory(root))
            except psutil.NoSuchProcess:
                break
            time.sleep(0.2)
        printed, _ = process.communicate()
    if process.returncode:
        raise SystemExit(process.returncode)
    return {**json.loads(printed), "peak": peak, "size": out.stat().st_size}


def main() -> None:
    """Generate, measure, print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[2000])
    parser.add_argument("--workers", type=int, default=min(8, len(os.sched_getaffinity(0))))
    parser.add_argument("--kind", choices=("JPEG", "PNG"), default="JPEG")
    parser.add_argument("--folder", type=Path, help="where to generate; default: a temporary folder")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        source, out, workers, decode = args.child
        child(source, out, int(workers), decode == "1")
        return
    for rows in args.rows:
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            folder = Path(name)
            size = generate(folder / "in", rows, args.kind)
            print(f"{rows} rows, {size / 2**20:.0f} MiB of {args.kind}, {args.workers} workers", flush=True)
            for decode in (False, True):
                got = measure(folder / "in", folder / "out.parquet", args.workers, decode)
                what = "pictures decoded" if decode else "without decoding"
                rate, peak = rows / got["seconds"], got["peak"] / 2**20
                print(
                    f"  {what}: {rate:7.0f} rows/s, {got['seconds']:.1f} s, peak {peak:.0f} MiB, {got['rows']}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
