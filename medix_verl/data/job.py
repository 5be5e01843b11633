# SPDX-License-Identifier: Apache-2.0
"""What one preparation was told: the set, its place and split, the file to write, and what to do with the rows.

A Job refuses what no set could do; whether its set has such a split and such options is seen in `prepare`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated

from medix_verl.data.checks import QualitySpec
from medix_verl.data.converters.base import SetSpec
from medix_verl.errors import ConfigError
from medix_verl.specs import Choice, Count, spec

__all__ = ["IMAGE_MODES", "Job", "place_of"]

IMAGE_MODES = ("embed", "files")


@spec("the preparation", label="--{flag}")
class Job:
    """One preparation: what `medix-verl prepare` was told."""

    name: str
    """A converter: see `registry.find`."""
    split: str
    out: Path
    place: str | None = None
    """Folder, file or hub id; None is the set's own hub id."""
    revision: str | None = None
    images: Annotated[str, Choice(IMAGE_MODES)] = "embed"
    """`embed`: pictures inside the parquet file; `files`: beside it, named by their content."""
    limit: Count | None = None
    """Rows of the set to read; None is all."""
    workers: Count = 1
    options: Mapping[str, str] = field(default_factory=dict)
    quality: QualitySpec = field(default_factory=QualitySpec)
    against: tuple[Path, ...] = ()
    """Evaluation files whose rows must not be in this one."""
    card: Path | None = None
    max_prompt_tokens: Count | None = None
    """Longer prompts are refused; None counts none."""
    model: str | None = None
    """Whose tokens are counted; None estimates them."""
    patch_size: Count | None = None
    """Side of a patch, in pixels, for that estimate; None is Qwen3-VL's."""
    rows_a_part: Count = 1024

    def __post_init__(self) -> None:
        """Refuse what no set could do."""
        if self.model is not None and self.max_prompt_tokens is None:
            raise ConfigError(f"--model is {self.model!r}, but nothing is counted; give --max-prompt-tokens N as well")
        self.check_patch()
        if self.out.is_dir() or self.out.suffix != ".parquet":
            kind = "a folder" if self.out.is_dir() else "no .parquet file"
            raise ConfigError(f"--out {self.out} is {kind}; give a file such as {self.out / 'train.parquet'}")

    def check_patch(self) -> None:
        """Refuse a patch size that nothing would go by.

        Raises:
            ConfigError: No prompt is counted, or a model brings its own.
        """
        if self.patch_size is None:
            return
        if self.max_prompt_tokens is None:
            raise ConfigError(
                f"--patch-size is {self.patch_size}, but nothing is counted; give --max-prompt-tokens N as well"
            )
        if self.model is not None:
            raise ConfigError(f"--patch-size is {self.patch_size}, and --model {self.model} has its own; leave out one")


def place_of(job: Job, spec: SetSpec) -> str:
    """Where the rows are: what the user gave, or the set's own place on the hub.

    Raises:
        ConfigError: The set is credentialed or not on the hub, and no local place was given.
    """
    if spec.credentialed and (job.place is None or not Path(job.place).expanduser().exists()):
        raise ConfigError(
            f"{spec.name} is credentialed ({spec.credential}); get your own copy and give --source FOLDER, "
            f"got {job.place or 'none'}"
        )
    if job.place is not None:
        return job.place
    if spec.hub_id is None:
        needs = f" ({spec.files})" if spec.files else ""
        raise ConfigError(f"{spec.name} is not on the hub; give --source the folder or file with its rows{needs}")
    return spec.hub_id
