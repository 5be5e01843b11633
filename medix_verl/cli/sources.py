# SPDX-License-Identifier: Apache-2.0
"""Where the local copies of tasks lie: the three forms of `--sources`. Whether a copy fits, its loader finds out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from medix_verl.errors import ConfigError

__all__ = ["read_sources"]


def read_sources(words: Sequence[str]) -> dict[str, Path]:
    """The local copies that the user names, by task.

    Raises:
        ConfigError: A word is none of the three forms, or names a task that is none.
    """
    from medix_verl.evaluation.tasks import find, tasks

    found: dict[str, Path] = {}
    for word in words:
        name, is_pair, place = word.partition("=")
        path = Path(word).expanduser()
        if is_pair and not path.exists():
            found[find(name).name] = Path(place).expanduser()
        elif path.is_dir():
            found |= {task: path / task for task in tasks() if (path / task).exists()}
        elif path.is_file():
            found |= {find(key).name: Path(value).expanduser() for key, value in read_pairs(path).items()}
        else:
            raise ConfigError(f"--sources {word}: no such file or folder; write TASK=PATH, FILE.json, or DIR")
    return found


def read_pairs(path: Path) -> dict[str, str]:
    """A JSON file of task -> path.

    Raises:
        ConfigError: It is something else.
    """
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f'--sources {path} is not JSON ({error}); write {{"slake_vqa": "PATH"}}') from error
    if not isinstance(pairs, dict) or not all(isinstance(value, str) for value in pairs.values()):
        raise ConfigError(f'--sources {path} is no object of texts; write {{"slake_vqa": "PATH"}}')
    return pairs
