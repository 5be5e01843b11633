# SPDX-License-Identifier: Apache-2.0
"""What a picture costs on its way through verl: bytes for each trajectory, and what the data loader needs.

    python tests/benchmarks/images_in_flight.py --model outputs/demo/policy [--sides 400 2000] [--rows 500]

First table, for each form of `data.medix.images` and for what verl's own dataset would send: the bytes of `raw_prompt`
(pickled, once in each trajectory and once in each call of a reward process), the bytes of the model's inputs that verl
adds to each trajectory behind our seam, what TransferQueue's client really encodes for a trajectory of both, and the
time to send (data loader) and to open (agent loop) one picture. Second table: embedded pictures against
files beside the parquet file: size, start-up of the dataset, Arrow cache, time an item, memory of a data loader worker.
Pictures are smooth with noise, as JPEG of quality 90. Sizes and cache are exact; times are of this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from medix_verl.data.io.parquet import write_samples
from medix_verl.data.pictures.image_store import ImageStore
from medix_verl.data.pictures.messages import FORMS
from medix_verl.types import ImageRef, Sample

BUDGET = {"min_pixels": 262144, "max_pixels": 4194304}
"""Of the recipe medix."""
SMALL = {"min_pixels": 65536, "max_pixels": 1048576}
"""A quarter of it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="outputs/demo/policy")
    parser.add_argument("--sides", type=int, nargs="+", default=[400, 2000])
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--side", type=int, default=400, help="of the pictures of the second table")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_DATASETS_CACHE"] = f"{folder}/cache"
        trajectories(args, Path(folder))
        loading(args, Path(folder))


def picture(side: int, seed: int) -> bytes:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 255, (max(side // 25, 2),) * 2, dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((side, side)).filter(ImageFilter.GaussianBlur(2))
    noisy = np.clip(np.asarray(smooth, dtype=np.int16) + random.normal(0, 4, (side, side)), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noisy).convert("RGB").save(stream, "JPEG", quality=90)
    return stream.getvalue()


def dataset_of(path: Path, model: str, form: str, budget: dict[str, int], **settings: Any) -> Any:
    import verl  # noqa: F401 - its import registers the plugin
    from omegaconf import OmegaConf
    from verl.utils import hf_processor, hf_tokenizer

    from medix_verl.data.dataset import MedixDataset

    medix = {"prompt": "medix", "images": form, "image_store": f"{path.parent}/{path.stem}.images"}
    keys = {"max_prompt_length": 9000, "image_patch_size": 16, "mm_processor_kwargs": budget, "medix": medix}
    config = OmegaConf.create({**keys, "filter_overlong_prompts": False, **settings})
    return MedixDataset([str(path)], hf_tokenizer(model), config, processor=hf_processor(model))


def trajectories(args: argparse.Namespace, folder: Path) -> None:
    print(
        f"{'side':>5} {'budget':>8} {'form':>9} {'raw_prompt':>11} {'inputs':>12} {'queue':>12} {'send':>8} {'open':>8}"
    )
    for side in args.sides:
        path = folder / f"{side}.parquet"
        image = ImageRef(bytes=picture(side, 0))
        write_samples([Sample("a", "s", "Which organ is this?", "lung", "X_RAY", images=(image,))], path)
        for name, budget in (("recipe", BUDGET), ("quarter", SMALL)):
            for form in ("verl", *FORMS):
                trajectory(dataset_of(path, args.model, "pixels" if form == "verl" else form, budget), side, name, form)


def trajectory(dataset: Any, side: int, name: str, form: str) -> None:
    prompt, send = timed(lambda: dataset[0]["raw_prompt"])
    if form == "verl":
        # What RLHFDataset._build_messages sends: the picture as decoded, whatever its size.
        decoded = Image.open(io.BytesIO(picture(side, 0)))
        decoded.load()
        prompt[0]["content"][0]["image"] = decoded.convert("RGB")
    kind = type(dataset)
    opened, late = timed(lambda: asyncio.run(kind.process_multi_modal_info(prompt, 16, dataset.config)))
    images = opened[0]
    text = dataset._chat_text(prompt)
    inputs = dict(dataset.processor(text=[text], images=images, return_tensors="pt", **dataset.mm_processor_kwargs))
    tensors = {key: value for key, value in inputs.items() if key in ("pixel_values", "image_grid_thw")}
    weight = sum(value.numel() * value.element_size() for value in tensors.values())
    pickled = len(pickle.dumps(prompt, protocol=5))
    sizes = f"{pickled:>11,} {weight:>12,} {queued(prompt, tensors):>12,}"
    print(f"{side:>5} {name:>8} {form:>9} {sizes} {send * 1000:>6.1f}ms {late * 1000:>6.1f}ms")


def queued(prompt: Any, tensors: dict[str, Any]) -> int:
    """Bytes that TransferQueue's own encoder makes of a trajectory's fields, built as verl's agent loop builds them."""
    from transfer_queue.utils.serial_utils import MsgpackEncoder

    # A storage unit is sent each field as the list of its rows' values.
    message = {"raw_prompt": [prompt], "multi_modal_inputs": [tensors]}
    return sum(memoryview(part).nbytes for part in MsgpackEncoder().encode(message))


def timed(work: Callable[[], Any], repeats: int = 5) -> tuple[Any, float]:
    """The result, and the shortest of several times in seconds."""
    times, result = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return result, min(times)


def loading(args: argparse.Namespace, folder: Path) -> None:
    print(f"\n{args.rows} rows of {args.side} x {args.side}:")
    print(f"{'pictures':>9} {'parquet':>12} {'files':>12} {'cache':>12} {'start-up':>9} {'item':>8} {'worker rss':>11}")
    pictures = [picture(args.side, number) for number in range(args.rows)]
    for kind in ("embedded", "files"):
        home = folder / kind
        store = ImageStore(home / "data.images")
        refs = [ImageRef(bytes=data) if kind == "embedded" else store.put(data) for data in pictures]
        rows = [
            Sample(f"r{n}", "s", f"Which organ is {n}?", "lung", "X_RAY", images=(ref,)) for n, ref in enumerate(refs)
        ]
        write_samples(rows, home / "data.parquet")
        os.environ["HF_DATASETS_CACHE"] = str(home / "cache")
        load(home, kind, args.model)


def load(home: Path, kind: str, model: str) -> None:
    import datasets
    import psutil
    from torch.utils.data import DataLoader

    datasets.config.HF_DATASETS_CACHE = home / "cache"
    start = time.perf_counter()
    dataset = dataset_of(home / "data.parquet", model, "encoded", BUDGET)
    up = time.perf_counter() - start
    _, item = timed(lambda: [dataset[number] for number in range(0, len(dataset), 5)])
    loader = iter(DataLoader(dataset, batch_size=8, num_workers=2, collate_fn=list))
    for _ in range(len(dataset) // 8 - 4):
        next(loader)
    memory = max(child.memory_full_info().uss for child in psutil.Process().children(recursive=True))
    sizes = f"{size(home / 'data.parquet'):>12,} {size(home / 'data.images'):>12,} {size(home / 'cache'):>12,}"
    each = item / (len(dataset) // 5) * 1000
    print(f"{kind:>9} {sizes} {up:>8.2f}s {each:>6.2f}ms {memory / 2**20:>8.0f}MiB")


def size(place: Path) -> int:
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)


if __name__ == "__main__":
    main()
