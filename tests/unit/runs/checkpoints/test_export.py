# SPDX-License-Identifier: Apache-2.0
"""What an export refuses before and after merging; tests/integration/runs/test_export.py runs the merger."""

from __future__ import annotations

import json
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from medix_verl.cli.main import main
from medix_verl.errors import ConfigError, DataError, SetupError
from medix_verl.runs.bounded import run_bounded
from medix_verl.runs.checkpoints import export
from medix_verl.runs.checkpoints.checkpoint import Checkpoint
from medix_verl.runs.checkpoints.export import ExportSpec, check_model, check_target, export_checkpoint, merge_command

FINDINGS = {
    "class": "Fake",
    "parameters": 3,
    "missing": [],
    "unexpected": [],
    "mismatched": [],
    "tokens": 5,
    "pictures": False,
    "tensors": 1,
    "dtypes": ["bfloat16"],
    "not_finite": [],
}


def checkpoint(folder: Path, backend: str = "fsdp", merged: bool = False, config: str = "{}") -> Checkpoint:
    model = folder / "hf"
    model.mkdir()
    (model / "config.json").write_text(config)
    (folder / "shard").write_bytes(b"x" * 1000)
    return Checkpoint(folder, None, 4, backend, 1, model, (folder / "shard",), merged=merged)


def says(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """Let the processes leave these findings in the log."""

    def run(what: str, command: list[str], log: Path, limit_s: float) -> None:
        with log.open("a") as stream:
            stream.write("noise\n" + json.dumps({**FINDINGS, **changes}) + "\nmore noise\n")

    monkeypatch.setattr(export, "run_bounded", run)


def test_a_target_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert check_target(tmp_path / "empty") == tmp_path / "empty"
    assert check_target(tmp_path / "new" / "deep").parent.is_dir()
    for name in ("file", "folder/file"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    for name in ("file", "folder"):
        with pytest.raises(ConfigError, match="is there already; give another name"):
            check_target(tmp_path / name)


def test_a_full_disk_is_seen_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    found = checkpoint(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 499))
    with pytest.raises(SetupError, match="GB free, and the model needs"):
        export.check_space(found, tmp_path / "out")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 500))
    export.check_space(found, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"missing": list("abcde")}, r"lacks tensors of its class \(a, b, c and 2 more\)"),
        ({"unexpected": ["x"]}, r"its class does not know \(x\)"),
        ({"mismatched": ["x"]}, "of another shape"),
        ({"not_finite": ["x"]}, "values that are not numbers"),
    ],
)
def test_a_model_that_is_not_whole_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, list[str]], message: str
) -> None:
    says(monkeypatch, **change)
    with pytest.raises(DataError, match=message):
        check_model(tmp_path, tmp_path / "log", 5)


def test_only_a_checked_model_gets_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = checkpoint(tmp_path, "megatron", merged=True)
    monkeypatch.setattr(export, "find_checkpoint", lambda place: found)
    out = tmp_path / "out" / "model"
    says(monkeypatch, missing=["a"])
    with pytest.raises(DataError, match="lacks tensors"):
        export_checkpoint(ExportSpec(tmp_path, out), lambda line: None)
    assert [path.name for path in out.parent.iterdir()] == ["model.export.log"]
    says(monkeypatch)
    done = export_checkpoint(ExportSpec(tmp_path, out), lambda line: None)
    assert done.findings == FINDINGS
    assert [path.name for path in out.parent.iterdir()] == ["model"]
    assert (out / "config.json").is_file()


@pytest.mark.parametrize(
    ("config", "tied"),
    [
        ("{}", False),
        ('{"tie_word_embeddings": true}', True),
        ('{"text_config": {"tie_word_embeddings": true}}', True),
        ('{"tie_word_embeddings": false, "text_config": {"tie_word_embeddings": true}}', False),
    ],
)
def test_the_merger_is_told_the_backend(tmp_path: Path, config: str, tied: bool) -> None:
    words = merge_command(checkpoint(tmp_path, "megatron", config=config), tmp_path / "part")
    assert words[1:6] == ["-m", "verl.model_merger", "merge", "--backend", "megatron"]
    assert ("--tie-word-embedding" in words) is tied


def test_what_the_merger_needs_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match="merged by Megatron itself; type: pip install"):
        export.merge(checkpoint(tmp_path, "megatron"), tmp_path / "part", tmp_path / "log", 1)
    shutil.rmtree(tmp_path / "hf")
    with pytest.raises(SetupError, match="the merger is verl's, which is not installed"):
        export.merge(checkpoint(tmp_path), tmp_path / "part", tmp_path / "log", 1)


@pytest.mark.parametrize(
    ("program", "limit_s", "message"),
    [
        ("import time; time.sleep(60)", 0.5, "the work took longer than 0.5 s and was ended"),
        ("import os; os.kill(os.getpid(), 9)", 30, "was killed, most likely for want of memory"),
        ("raise ValueError('no such key')", 30, "failed: ValueError: no such key; see"),
        ("raise OSError(28, 'No space left on device')", 30, "failed: no space left on the disk"),
        ("raise SystemExit(3)", 30, "failed: its log is empty"),
    ],
)
def test_every_end_of_a_process_is_told(tmp_path: Path, program: str, limit_s: float, message: str) -> None:
    with pytest.raises(SetupError, match=message):
        run_bounded("the work", [sys.executable, "-c", program], tmp_path / "log", limit_s)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--limit", "0"], "--limit is 0; give seconds above 0"),
        (["--metrics", "x"], "--metrics is for the model card"),
        (["--card", "--metrics", "x"], "--metrics x is not there"),
        (["--score", "x.parquet"], "--score x.parquet is not there"),
        ([], "there is no folder"),
    ],
)
def test_the_command_refuses_before_it_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["export", str(tmp_path / "none"), "--out", str(tmp_path / "out"), *words]) == 1
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1
