# SPDX-License-Identifier: Apache-2.0
"""Finds the commits of the checkouts that a run uses; calls git with a timeout of seconds, without network."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

__all__ = ["commits"]

GIT_LIMIT_S = 5.0


def commits(places: Iterable[Path]) -> dict[str, str]:
    """Checkout -> commit, for the places that are in one; `+changes` if tracked files differ."""
    found: dict[str, str] = {}
    for place in places:
        top = git(place, "rev-parse", "--show-toplevel")
        commit = git(place, "rev-parse", "HEAD")
        if top and commit and Path(top).name not in found:
            changed = git(place, "status", "--porcelain", "--untracked-files=no")
            found[Path(top).name] = commit + ("+changes" if changed else "")
    return found


def git(place: Path, *words: str) -> str | None:
    """Output of git; None if it fails (no git, no checkout, timeout)."""
    try:
        done = subprocess.run(
            ["git", "-C", str(place), *words],
            capture_output=True,
            text=True,
            timeout=GIT_LIMIT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
