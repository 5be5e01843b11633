# SPDX-License-Identifier: Apache-2.0
"""A run that failed before it read a question leaves no folder; whatever was read, or was there before, stays."""

from pathlib import Path

import pytest

from medix_verl.errors import RunStoppedError, SetupError
from medix_verl.evaluation.store.manifest import held, write_manifest
from medix_verl.evaluation.store.unused import removed_if_unused

MANIFEST = {"format": 1, "model": "m", "done": {}, "failed": {"medqa": "no such split"}}


def failing(folder: Path, error: Exception, sources: bool = False) -> None:
    """A run into a folder that writes what a run writes, and fails."""
    with held(folder), removed_if_unused(folder):
        write_manifest(folder, {**MANIFEST, "sources": {"medqa": {}} if sources else {}})
        (folder / "images").mkdir(exist_ok=True)
        (folder / "server.log").write_text("out of memory\n")
        raise error


def test_a_source_that_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    for _ in range(2):  # the second try is not refused
        with pytest.raises(RunStoppedError):
            failing(tmp_path / "out", RunStoppedError("1 of 1 tasks have no figure"))
        assert not (tmp_path / "out").exists()


def test_the_log_of_a_server_that_did_not_start_stays(tmp_path: Path) -> None:
    with pytest.raises(SetupError):
        failing(tmp_path / "out", SetupError("see server.log"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["server.log"]


def test_questions_that_were_read_stay(tmp_path: Path) -> None:
    with pytest.raises(RunStoppedError):
        failing(tmp_path / "out", RunStoppedError("the server is down"), sources=True)
    assert (tmp_path / "out" / "eval.json").is_file()


def test_a_folder_with_something_in_it_stays(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(RunStoppedError):
        failing(tmp_path / "out", RunStoppedError("x"))
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine" and (tmp_path / "out" / "eval.json").is_file()
