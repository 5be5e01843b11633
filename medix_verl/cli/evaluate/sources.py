# SPDX-License-Identifier: Apache-2.0
"""The local copies of tasks: the three forms of `--sources`. Whether a copy is valid is checked by its loader."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medix_verl.errors import ConfigError

if TYPE_CHECKING:
    from medix_verl.evaluation.tasks.table import TaskSpec

__all__ = ["read_sources"]


def read_sources(words: Sequence[str], chosen: Sequence[TaskSpec] = ()) -> dict[str, Path]:
    """The local copies that the user gives, by task.

    Args:
        words: The values of `--sources`.
        chosen: The tasks of the run, which may be the user's own.

    Raises:
        ConfigError: A word has none of the three forms, or names an unknown task.
    """
    from medix_verl.evaluation.tasks.table import by_task, tasks

    known = list(dict.fromkeys([*tasks(), *(task.name for task in chosen)]))
    found: dict[str, Path] = {}
    for word in words:
        name, is_pair, place = word.partition("=")
        path = Path(word).expanduser()
        if is_pair and not path.exists():
            found |= by_task({name: Path(place).expanduser()}, chosen)
        elif path.is_dir():
            found |= {task: path / task for task in known if (path / task).exists()}
        elif path.is_file():
            found |= by_task({key: Path(value).expanduser() for key, value in read_pairs(path).items()}, chosen)
        else:
            raise ConfigError(f"--sources {word}: no such file or folder; write TASK=PATH, FILE.json, or DIR")
    return found


def read_pairs(path: Path) -> dict[str, str]:
    """A JSON file of task -> path.

    Raises:
        ConfigError: The file is not such an object.
    """
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f'--sources {path} is not JSON ({error}); write {{"slake_vqa": "PATH"}}') from error
    if not isinstance(pairs, dict) or not all(isinstance(value, str) for value in pairs.values()):
        raise ConfigError(f'--sources {path} is not an object of texts; write {{"slake_vqa": "PATH"}}')
    return pairs
