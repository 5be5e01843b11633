# SPDX-License-Identifier: Apache-2.0
"""Makes the demo's folder once: data/train.parquet, data/val.parquet, policy/, judge/ and, last of all, manifest.json.

A folder whose manifest names this recipe, these library versions and the hashes of the files that are there is
finished and is used as it is. Anything else (no manifest, another seed, a changed file) is built anew; only the
four things named above are ever removed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.data import prompts
from medix_verl.data.parquet import write_samples
from medix_verl.data.prompts import render_prompt
from medix_verl.demo.judge_model import judge_prompt, make_judge, save_judge, teach_verdicts
from medix_verl.demo.policy import make_policy, make_processor, save_policy
from medix_verl.demo.rows import demo_samples
from medix_verl.demo.tokenizer import train_tokenizer
from medix_verl.demo.warmup import TEMPLATE, WarmupSpec, target_text, warm_up
from medix_verl.runtime.files import locked, write_json
from medix_verl.types import Sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["COUNTS", "build_demo", "is_built"]

COUNTS = {"train": 960, "val": 240}
WARMUP_ROWS = 1920
"""Rows of the training split that the warm-up sees: more crops of its regions, so that the tags hold on others."""

MANIFEST = "manifest.json"
PARTS = ("data", "policy", "judge")
SOURCES = (
    *(Path(__file__).with_name(f"{name}.py") for name in ("pictures", "draw", "questions", "rows")),
    *(Path(__file__).with_name(f"{name}.py") for name in ("tokenizer", "policy", "warmup", "judge_model", "build")),
    Path(prompts.__file__).with_suffix("") / f"{TEMPLATE}.jinja",
)
"""The files that decide what is built: a folder that others made is built anew."""

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "pillow", "pyarrow", "pydicom", "scikit-image")

Progress = Callable[[str], None]


def build_demo(out_dir: str | Path, seed: int = 0, progress: Progress | None = None) -> dict[str, Any]:
    """Build the demo's data and models, or reuse a finished build.

    Args:
        out_dir: The demo's folder; made when missing.
        seed: Of the data, the weights and the warm-up.
        progress: Called with one line now and then.

    Returns:
        The manifest.

    Raises:
        SetupError: A wheel that carries the pictures is not installed.
    """
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock"):
        return build_unlocked(folder, seed, progress)


def build_unlocked(folder: Path, seed: int, progress: Progress | None) -> dict[str, Any]:
    """build_demo, for the one process that holds the folder."""
    if is_built(folder, seed):
        say(progress, f"the demo in {folder} is finished; it is used as it is")
        return read_manifest(folder)
    (folder / MANIFEST).unlink(missing_ok=True)
    for part in PARTS:
        shutil.rmtree(folder / part, ignore_errors=True)
    build_data(folder / "data", seed, progress)
    samples = demo_samples("train", WARMUP_ROWS, seed)
    with one_seeded_thread(seed):
        measured = build_models(folder, samples, seed, progress)
    manifest = {**recipe(seed), "rows": COUNTS, "measured": measured, "files": hashes(folder)}
    write_json(folder / MANIFEST, manifest, indent=2, sort_keys=True)
    return manifest


def is_built(out_dir: str | Path, seed: int = 0) -> bool:
    """Whether the folder holds a finished build of this recipe, unchanged since."""
    folder = Path(out_dir)
    manifest = read_manifest(folder)
    wanted = json.loads(json.dumps(recipe(seed)))
    same = all(manifest.get(key) == value for key, value in wanted.items())
    return same and manifest.get("files") == hashes(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def recipe(seed: int) -> dict[str, Any]:
    """What makes two builds the same."""
    return {
        "source": hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest(),
        "seed": seed,
        "warmup": asdict(WarmupSpec(seed=seed)),
        "versions": {name: installed(name) for name in PACKAGES},
    }


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for part in PARTS for path in (folder / part).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def build_data(folder: Path, seed: int, progress: Progress | None) -> None:
    """Write both splits."""
    for split, count in COUNTS.items():
        write_samples(demo_samples(split, count, seed), folder / f"{split}.parquet")
        say(progress, f"{count} {split} rows written")


def build_models(folder: Path, rows: Iterable[Sample], seed: int, progress: Progress | None) -> dict[str, float]:
    """Make, teach and save the policy and the judge."""
    import torch

    samples = list(rows)
    tokenizer = train_tokenizer(corpus(samples))
    torch.manual_seed(seed)
    policy, processor = make_policy(tokenizer), make_processor(tokenizer)
    losses = warm_up(policy, processor, samples, WarmupSpec(seed=seed), progress)
    save_policy(policy, processor, folder / "policy")
    say(progress, f"policy saved, {count_parameters(policy)} parameters")
    torch.manual_seed(seed)
    right = build_judge(folder / "judge", tokenizer, samples, seed)
    say(progress, f"judge saved, {right:.2f} of its last verdicts were right")
    return {"warmup_loss": round(sum(losses[-20:]) / len(losses[-20:]), 4), "judge_right": round(right, 4)}


def build_judge(folder: Path, tokenizer: PreTrainedTokenizerFast, samples: list[Sample], seed: int) -> float:
    judge = make_judge(tokenizer)
    right = teach_verdicts(judge, tokenizer, sorted({sample.answer for sample in samples}), seed=seed)
    save_judge(judge, tokenizer, folder)
    return right


def corpus(samples: list[Sample]) -> Iterator[str]:
    """What the tokenizer learns from: prompts, targets and judge prompts of the training rows."""
    for sample in samples:
        yield render_prompt(sample, TEMPLATE)
        yield target_text(sample, sample.answer)
        yield judge_prompt(sample.answer, sample.answer)


def count_parameters(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def say(progress: Progress | None, line: str) -> None:
    if progress is not None:
        progress(line)


@contextmanager
def one_seeded_thread(seed: int) -> Iterator[None]:
    """One torch thread, for speed on a busy machine and equal sums; the caller's generator and threads come back."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
