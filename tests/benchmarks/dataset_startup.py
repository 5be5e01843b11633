# SPDX-License-Identifier: Apache-2.0
"""How long MedixDataset takes to start: reading the files, and leaving out the prompts that are too long.

    python tests/benchmarks/dataset_startup.py --model outputs/demo/policy [--rows 51000] [--side 400] [--workers 2]
                                               [--images embedded|files] [--folder FOLDER]

Makes a file of text rows and rows with one picture each (noise, JPEG of quality 90), unless --folder holds one of that
size already, then builds the dataset as verl's trainer does, with an empty Arrow cache and again with the cache that it
left. Prints seconds and rows a second for both, the rows left out, and this process's peak memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medix_verl.data.io.parquet import write_samples
from medix_verl.data.pictures.image_store import ImageStore
from medix_verl.types import ImageRef, Sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="outputs/demo/policy")
    parser.add_argument("--rows", type=int, default=51_000)
    parser.add_argument("--side", type=int, default=400)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--images", choices=("embedded", "files"), default="embedded")
    parser.add_argument("--folder", type=Path, help="where the file is kept; default: a temporary folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        path = folder / f"{args.images}-{args.rows}-{args.side}.parquet"
        if not path.exists():
            start = time.perf_counter()
            write_samples(samples(args, path), path)
            print(f"made {args.rows} rows in {time.perf_counter() - start:.1f} s, {path.stat().st_size / 1e9:.2f} GB")
        cache = Path(scratch) / "cache"
        for state in ("empty", "warm"):
            start_up(args, path, cache, state)
        shutil.rmtree(cache, ignore_errors=True)


def samples(args: argparse.Namespace, path: Path) -> Iterator[Sample]:
    import io

    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    store = ImageStore(path.with_suffix(".images"))
    noise = random.integers(0, 255, (2 * args.side, 2 * args.side), dtype=np.uint8)
    for number in range(args.rows):
        top, left = random.integers(0, args.side, 2)
        stream = io.BytesIO()
        cut = noise[top : top + args.side, left : left + args.side] // 8 + number % 128
        Image.fromarray(cut.astype(np.uint8)).convert("RGB").save(stream, "JPEG", quality=90)
        data = stream.getvalue()
        ref = ImageRef(bytes=data) if args.images == "embedded" else store.put(data)
        question = f"Question {number}: which organ does this picture show, and what is wrong with it?"
        images = () if number % 10 == 0 else (ref,)
        yield Sample(f"r{number}", "bench", question, "lung", "X_RAY" if images else None, images=images)


def start_up(args: argparse.Namespace, path: Path, cache: Path, state: str) -> None:
    import datasets
    import verl  # noqa: F401 - its import registers the plugin
    from omegaconf import OmegaConf
    from verl.utils import hf_processor, hf_tokenizer

    from medix_verl.data.dataset import MedixDataset

    datasets.config.HF_DATASETS_CACHE = cache
    settings: dict[str, Any] = {"max_prompt_length": 4352, "image_patch_size": 16, "medix": {"prompt": "medix"}}
    settings["mm_processor_kwargs"] = {"min_pixels": 262144, "max_pixels": 4194304}
    config = OmegaConf.create(
        {**settings, "filter_overlong_prompts": True, "filter_overlong_prompts_workers": args.workers}
    )
    tokenizer, processor = hf_tokenizer(args.model), hf_processor(args.model)
    start = time.perf_counter()
    dataset = MedixDataset([str(path)], tokenizer, config, processor=processor)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{state} cache: {seconds:.1f} s, {args.rows / seconds:.0f} rows/s, {args.rows - len(dataset)} rows left out, "
        f"{args.workers} processes, peak {peak:.2f} GiB"
    )


if __name__ == "__main__":
    main()
