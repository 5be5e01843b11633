# SPDX-License-Identifier: Apache-2.0
"""Resumes a stopped training: everything written up to the last checkpoint is kept.

verl itself continues from the checkpoint, but starts a new metrics file. So the lines up to the checkpoint are kept in
a second file until the training ends, normally or not. A run can only be resumed with the same settings.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from medix_verl.errors import ConfigError
from medix_verl.runtime.files import read_json_lines, write_json, write_text

__all__ = ["clear", "join_metrics", "last_checkpoint", "prepare_resume"]

NOTE, METRICS, EARLIER = "run.json", "metrics.jsonl", "metrics.earlier.jsonl"
TRACKER = Path("checkpoints") / "latest_checkpointed_iteration.txt"
"""verl's file with the step of the last checkpoint."""


def clear(folder: Path, settings: Mapping[str, object]) -> None:
    """Prepare the folder for a new training; checkpoints stay until verl overwrites them."""
    for name in (METRICS, EARLIER, "train.log", "report.md", "report.json", TRACKER):
        (folder / name).unlink(missing_ok=True)
    for name in ("rollouts", "validation"):
        shutil.rmtree(folder / name, ignore_errors=True)
    write_json(folder / NOTE, dict(settings))


def prepare_resume(folder: Path, settings: Mapping[str, object]) -> int:
    """Set the metrics up to the last checkpoint aside; returns its step, 0 if there is none.

    Raises:
        ConfigError: There is no run to resume, or it was started with other settings.
    """
    note = folder / NOTE
    if not note.is_file():
        raise ConfigError(f"--resume: there is no run in {folder}; leave --resume out to start one")
    was = json.loads(note.read_text(encoding="utf-8"))
    now = json.loads(json.dumps(dict(settings)))
    if changed := [name for name in now if was.get(name) != now[name]]:
        name = changed[0]
        raise ConfigError(
            f"--resume: the run in {folder} was started with {name} {was.get(name)!r}, and now it is {now[name]!r}; "
            "type it as it was, or leave --resume out to start again"
        )
    step = last_checkpoint(folder)
    write_text(folder / EARLIER, lines_up_to(folder, step))
    (folder / METRICS).unlink(missing_ok=True)
    for name in ("report.md", "report.json"):
        (folder / name).unlink(missing_ok=True)
    return step


def join_metrics(folder: Path) -> None:
    """Put the earlier metrics before those of the training that just ended; does nothing if there are none."""
    if (folder / EARLIER).is_file():
        write_text(folder / METRICS, lines_up_to(folder, None))
        (folder / EARLIER).unlink()


def last_checkpoint(folder: Path) -> int:
    """The step of the last checkpoint; 0 if there is none."""
    tracker = folder / TRACKER
    text = tracker.read_text(encoding="ascii").strip() if tracker.is_file() else ""
    return int(text) if text.isdigit() else 0


def lines_up_to(folder: Path, last: int | None) -> list[str]:
    """All metrics up to a step, the earlier ones first; empty without a checkpoint."""
    entries = [
        entry
        for name in (EARLIER, METRICS)
        if (folder / name).is_file()
        for entry in read_json_lines(folder / name)
        if entry is not None
    ]
    return [json.dumps(entry) + "\n" for entry in entries if last is None or (last > 0 and int(entry["step"]) <= last)]
