# SPDX-License-Identifier: Apache-2.0
"""Options of one preparation: the data set, its location and split, the output file, and how rows are handled.

A Job refuses options that are invalid for every set; whether the set has the split and the options is checked in
`prepare`. The splits of one table may be prepared one after the other. They must then use the same division, otherwise
they share rows. The options of the other splits are read from their reports, in the folder of the output file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from medix_verl.data.converters.base import Option, SetSpec
from medix_verl.data.prepare.checks import QualitySpec
from medix_verl.data.prepare.parts import read_json
from medix_verl.data.sft.rows import SftSpec
from medix_verl.data.source import Source
from medix_verl.errors import ConfigError
from medix_verl.specs import Choice, Count, Natural, spec

__all__ = ["IMAGE_MODES", "Job", "check_other_splits", "place_of", "reported", "reported_options"]

IMAGE_MODES = ("embed", "files")
LOCAL = "local:"
SPLIT_OPTIONS = ("split_by", "val_share", "test_share")


@spec("the preparation", label="--{flag}")
class Job:
    """The options of one `medix-verl prepare` command."""

    name: str
    """Name of a converter: see `registry.find`."""
    split: str
    out: Path
    place: str | None = None
    """Folder, file or hub id; None: the set's own hub id."""
    revision: str | None = None
    images: Annotated[str, Choice(IMAGE_MODES)] = "embed"
    """`embed`: pictures inside the parquet file; `files`: in a folder next to it, named by their content hash."""
    limit: Count | None = None
    """Number of rows of the set to read; None: all."""
    workers: Count = 1
    bounded: bool = False
    """Whether a single worker also decodes pictures in a child process with limited time and memory."""
    ray: str | None = None
    """Address of the Ray cluster that checks the rows, `auto` for a running one; None: this machine only,
    unless this process is already connected to a cluster."""
    options: Mapping[str, str] = field(default_factory=dict)
    quality: QualitySpec = field(default_factory=QualitySpec)
    against: tuple[Path, ...] = ()
    """Evaluation files whose rows must not be in the output."""
    card: Path | None = None
    max_prompt_tokens: Count | None = None
    """Longer prompts are refused; None: no limit."""
    model: str | None = None
    """The model whose tokenizer counts the tokens; None: they are estimated."""
    patch_size: Count | None = None
    """Side of a patch in pixels, for the estimate; None: that of Qwen3-VL."""
    rows_a_part: Count = 1024
    allow_lost: Natural = 0
    """Maximum number of rows lost because of their encoding (reason `bad encoding`) before the preparation fails."""
    sft: SftSpec | None = None
    """How a file for supervised fine-tuning is written in addition; None: no such file."""

    def __post_init__(self) -> None:
        """Refuse options that are invalid for every set."""
        if self.model is not None and self.max_prompt_tokens is None:
            raise ConfigError(f"--model is {self.model!r}, but nothing is counted; give --max-prompt-tokens N as well")
        self.check_patch()
        if self.out.is_dir() or self.out.suffix != ".parquet":
            kind = "a folder" if self.out.is_dir() else "no .parquet file"
            raise ConfigError(f"--out {self.out} is {kind}; give a file such as {self.out / 'train.parquet'}")
        if self.images == "files" and self.out.is_symlink():
            real = self.out.resolve()
            raise ConfigError(f"--out {self.out} is a link, and --images files lie beside the file; give --out {real}")

    def check_patch(self) -> None:
        """Refuse a patch size that would have no effect.

        Raises:
            ConfigError: No tokens are counted, or the model defines its own patch size.
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
    """Location of the rows: the one given by the user, or the set's hub id.

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


def check_other_splits(job: Job, source: Source) -> None:
    """Refuse to divide a table differently from another split of it in the same folder.

    Raises:
        ConfigError: The other split used different options.
    """
    ours = {key: source.options.get(key) for key in SPLIT_OPTIONS}
    if None in ours.values():
        return
    for path in sorted(job.out.parent.glob("*.report.json")):
        other = read_json(path)
        if other.get("set") != job.name or other.get("split") == job.split or not same_table(other, source):
            continue
        theirs = {key: other["options"].get(key) for key in SPLIT_OPTIONS}
        if theirs != ours:
            flags = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in theirs.items())
            raise ConfigError(
                f"{path.name} is of the split {other['split']} of the same table, prepared with {flags}: the two would "
                f"share rows; type the same here, or delete {path} and prepare {other['split']} again"
            )


def same_table(report: Mapping[str, Any], source: Source) -> bool:
    place, options = report.get("source"), report.get("options")
    if not isinstance(place, dict) or not isinstance(options, dict):
        return False
    known = str(place.get("place"))
    same_place = (known if known.startswith(LOCAL) else reported(known)) == reported(source.place)
    return same_place and options.get("table") == source.options.get("table")


def reported(place: str) -> str:
    """A location as report and card show it: a hub id unchanged, a local path as a hash, as it may contain a name."""
    path = Path(place).expanduser()
    if not path.exists():
        return place
    return LOCAL + hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def reported_options(options: Mapping[str, str], known: Mapping[str, Option]) -> dict[str, str]:
    """A converter's options as the report shows them."""
    return {key: reported(value) if value and known[key].place else value for key, value in options.items()}
