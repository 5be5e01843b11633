# SPDX-License-Identifier: Apache-2.0
"""A package from outside, begun by `medix-verl new package lab` and installed by pip into a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from helpers.places import ROOT

__all__ = ["RECIPE", "environment", "install"]

RECIPE = "lab/first"


def install(folder: Path, name: str = "lab") -> Path:
    """Begin the package and install it; gives the folder for PYTHONPATH."""
    site = folder / "site"
    done = _run(sys.executable, "-m", "medix_verl", "new", "package", name, "--folder", str(folder))
    assert done.returncode == 0, done.stderr
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    done = _run(*pip, "--target", str(site), str(folder / name))
    assert done.returncode == 0, done.stderr
    return site


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=200, check=False)


def environment(folder: Path) -> dict[str, str]:
    """The environment of a process that has the package."""
    known = [str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in known if part)}
