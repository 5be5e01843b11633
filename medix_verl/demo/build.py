# SPDX-License-Identifier: Apache-2.0
"""Builds the demo's folder once: data/train.parquet, data/val.parquet, policy/, judge/ and, last, manifest.json.

A folder is finished, and reused, if its manifest has these settings and library versions and the hashes of its files.
Otherwise (no manifest, another seed, policy or question set, a changed file) it is built again; only the four things
named above are ever removed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from medix_verl.data import prompts
from medix_verl.data.io.parquet import write_samples
from medix_verl.demo.models.align import AlignSpec, align_tower
from medix_verl.demo.models.policies import POLICIES, PolicyKind, Progress
from medix_verl.demo.models.tiny import save_policy
from medix_verl.demo.models.warmup import TEMPLATE, WarmupSpec, warm_up
from medix_verl.demo.questions.table import QUESTIONS, QuestionSet
from medix_verl.runtime.files import locked, write_json
from medix_verl.types import Sample

__all__ = ["COUNTS", "BuildSpec", "build_demo", "is_built", "seeded_threads"]

COUNTS = {"train": 960, "val": 240}
WARMUP_ROWS = 1920
"""Rows of the training split in the warm-up: more crops of its regions, so that the tags generalise to others."""

MANIFEST = "manifest.json"
PARTS = ("data", "policy", "judge")
HERE = Path(__file__).parent
SOURCES = (
    *sorted((HERE / "models").glob("*.py")),
    *sorted((HERE / "questions").glob("*.py")),
    Path(__file__),
    Path(prompts.__file__).with_suffix("") / f"{TEMPLATE}.jinja",
)
"""The files that determine the build; a folder built from other versions of them is built again."""

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "pillow", "pyarrow")


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """What to build."""

    seed: int = 0
    """Seed of the data, the weights and the warm-up."""
    policy: str = "tiny"
    """A name of POLICIES."""
    questions: str = "pictures"
    """A name of QUESTIONS."""
    weights: Path | None = None
    """File of a pretrained policy; None finds or downloads it. Not part of the settings: the file's hash is fixed."""
    warmup_steps: int | None = None
    """Steps of the warm-up; None means the policy's default."""

    @property
    def kind(self) -> PolicyKind:
        """The policy."""
        return POLICIES[self.policy]

    @property
    def asked(self) -> QuestionSet:
        """The questions."""
        return QUESTIONS[self.questions]

    @property
    def warmup(self) -> WarmupSpec:
        """The policy's warm-up with this seed."""
        own = self.kind.warmup
        return replace(own, seed=self.seed, steps=own.steps if self.warmup_steps is None else self.warmup_steps)

    @property
    def align(self) -> AlignSpec | None:
        """The alignment of the policy's vision tower with this seed."""
        return None if self.kind.align is None else replace(self.kind.align, seed=self.seed)


def build_demo(out_dir: str | Path, spec: BuildSpec | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Build the demo's data and models, or reuse a finished build.

    Args:
        out_dir: The demo's folder; created if missing.
        spec: What to build.
        progress: Called with progress lines.

    Returns:
        The manifest.

    Raises:
        SetupError: A package with the pictures, the ontology or the pretrained model is not available.
    """
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock"):
        return build_unlocked(folder, spec or BuildSpec(), progress or (lambda _: None))


def build_unlocked(folder: Path, spec: BuildSpec, progress: Progress) -> dict[str, Any]:
    """build_demo, for the process that has the folder's lock."""
    if is_built(folder, spec):
        progress(f"the demo in {folder} is finished; it is used as it is")
        return read_manifest(folder)
    (folder / MANIFEST).unlink(missing_ok=True)
    for part in PARTS:
        shutil.rmtree(folder / part, ignore_errors=True)
    build_data(folder / "data", spec, progress)
    samples = list(spec.asked.samples("train", WARMUP_ROWS, spec.seed))
    with seeded_threads(spec.seed, spec.warmup.threads):
        measured = build_models(folder, samples, spec, progress)
    manifest = {**recipe(spec), "rows": COUNTS, "measured": measured, "files": hashes(folder)}
    write_json(folder / MANIFEST, manifest, indent=2, sort_keys=True)
    return manifest


def is_built(out_dir: str | Path, spec: BuildSpec | None = None) -> bool:
    """Whether the folder contains a finished, unchanged build with these settings."""
    folder = Path(out_dir)
    manifest = read_manifest(folder)
    wanted = json.loads(json.dumps(recipe(spec or BuildSpec())))
    same = all(manifest.get(key) == value for key, value in wanted.items())
    return same and manifest.get("files") == hashes(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def recipe(spec: BuildSpec) -> dict[str, Any]:
    """The settings that determine a build."""
    return {
        "source": hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest(),
        "seed": spec.seed,
        "policy": spec.policy,
        "questions": spec.questions,
        "made_of": list(spec.kind.made_of),
        "align": None if spec.align is None else asdict(spec.align),
        "warmup": asdict(spec.warmup),
        "versions": {name: installed(name) for name in (*PACKAGES, *spec.asked.packages)},
    }


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for part in PARTS for path in (folder / part).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def build_data(folder: Path, spec: BuildSpec, progress: Progress) -> None:
    """Write both splits."""
    for split, count in COUNTS.items():
        write_samples(spec.asked.samples(split, count, spec.seed), folder / f"{split}.parquet")
        progress(f"{count} {split} rows written")


def build_models(folder: Path, samples: list[Sample], spec: BuildSpec, progress: Progress) -> dict[str, float]:
    """Create, train and save the policy and the judge."""
    import torch

    torch.manual_seed(spec.seed)
    models = spec.kind.make(samples, spec.weights, progress)
    torch.manual_seed(spec.seed)
    about = models.save_judge(folder / "judge", samples, spec.seed)
    progress(f"judge saved: {about}")
    torch.manual_seed(spec.seed)
    if spec.align is not None:
        align_tower(models.policy, models.processor, samples, spec.align, progress)
    losses = warm_up(models.policy, models.processor, samples, spec.warmup, progress)
    save_policy(models.policy, models.processor, folder / "policy")
    progress(f"policy saved, {count_parameters(models.policy)} parameters")
    return {"warmup_loss": round(sum(losses[-20:]) / max(1, len(losses[-20:])), 4)}


def count_parameters(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@contextmanager
def seeded_threads(seed: int, threads: int | None = 1) -> Iterator[None]:
    """Set the number of torch threads (one is fastest on a busy machine) and the seed; both are restored afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(before if threads is None else threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)
