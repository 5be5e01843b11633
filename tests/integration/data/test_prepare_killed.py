# SPDX-License-Identifier: Apache-2.0
"""The real command, killed, stopped or out of space at several moments and typed again: the same bytes in the end."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from helpers import sets

ROWS = 4500
"""Four parts and a piece."""
FILES = ("train.parquet", "train.report.json", "train.dropped.jsonl")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A preparation with refused rows and duplicates in several parts."""
    folder = tmp_path_factory.mktemp("set")
    again = {f"r{number}": {"answer": ""} for number in range(5, ROWS, 700)}
    copies = {
        f"c{number}": {
            "question": f"What is seen in picture {number}?",
            "answer": f"finding {number}",
            "image": sets.picture(number, 64).hex(),
        }
        for number in range(0, ROWS, 900)
    }
    source = sets.put_rows(folder / "in", ROWS, side=64, **again, **copies)
    converter = sets.put_converter(folder)
    return [sys.executable, "-m", "medix_verl", "prepare", str(converter), "--source", str(source)]


def start(words: list[str], out: Path, limit: int | None = None) -> subprocess.Popen[str]:
    def small_files() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [*words, "--out", str(out / "train.parquet"), "--workers", "2"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=small_files)


def run(words: list[str], out: Path, limit: int | None = None) -> tuple[int, str]:
    with start(words, out, limit) as process:
        _, error = process.communicate(timeout=120)
    return process.returncode, error


@pytest.fixture(scope="module")
def undisturbed(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed")
    status, error = run(words, out)
    assert status == 0, error
    return content(out)


def content(out: Path) -> dict[str, bytes]:
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    return {name: (out / name).read_bytes() for name in FILES}


def disturb(words: list[str], out: Path, when: Callable[[Path], bool], number: signal.Signals) -> tuple[int, str]:
    """Send a signal to the command alone, once something is there in its folder of parts."""
    process = start(words, out)
    workers: list[psutil.Process] = []
    while process.poll() is None and not when(out / ".train.parquet.parts"):
        time.sleep(0.001)
    if process.poll() is None:
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
    _, error = process.communicate(timeout=60)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == [], "worker processes outlive the command"
    return process.returncode, error


LAST = "around the last rename"
MOMENTS = {
    "at the start": lambda parts: (parts / "plan.json").exists(),
    "in the first part": lambda parts: (parts / ".part-00000.parquet.0.part").exists(),
    "between a part's files": lambda parts: (parts / "part-00001.parquet").exists(),
    "in the fourth part": lambda parts: (parts / "part-00002.json").exists(),
    "at the start of stage 2": lambda parts: (parts / "complete.json").exists(),
    "in the final file": lambda parts: (parts.parent / ".train.parquet.0.part").exists(),
    LAST: lambda parts: (parts.parent / "train.dropped.jsonl").exists(),
}


FEW = ("in the fourth part", "in the final file")
"""Moments of the tests that `make test` runs; `make long` runs the others too."""


@pytest.mark.parametrize(
    "moment", [pytest.param(moment, marks=() if moment in FEW else pytest.mark.long) for moment in MOMENTS]
)
def test_killed_and_started_again(words: list[str], undisturbed: dict[str, bytes], moment: str, tmp_path: Path) -> None:
    status, _ = disturb(words, tmp_path, MOMENTS[moment], signal.SIGKILL)
    assert status == -signal.SIGKILL, "it was over before it could be killed"
    final = tmp_path / "train.parquet"
    # The moments before the last rename are short: where the file is there already, it is whole.
    assert not final.exists() or (moment == LAST and final.read_bytes() == undisturbed["train.parquet"])
    status, error = run(words, tmp_path)
    assert status == 0, error
    if moment not in ("at the start", "in the first part", LAST):
        assert "finished parts of an earlier run" in error
    assert content(tmp_path) == undisturbed


@pytest.mark.long
def test_killed_over_and_over(words: list[str], undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    for moment in ("in the first part", "between a part's files", "in the fourth part", "in the final file"):
        assert disturb(words, tmp_path, MOMENTS[moment], signal.SIGKILL)[0] == -signal.SIGKILL
    assert run(words, tmp_path)[0] == 0
    assert content(tmp_path) == undisturbed


@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.long)]
)
def test_stopped_and_started_again(
    words: list[str], undisturbed: dict[str, bytes], number: signal.Signals, expected: int, tmp_path: Path
) -> None:
    status, error = disturb(words, tmp_path, MOMENTS["in the fourth part"], number)
    assert status == expected and "stopped; what is finished is kept: type the same command again" in error
    assert "Traceback" not in error
    assert [path.name for path in tmp_path.iterdir()] == [".train.parquet.parts"]
    assert run(words, tmp_path)[0] == 0
    assert content(tmp_path) == undisturbed


def test_out_of_space_and_started_again(words: list[str], undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """A limit on a file's size fails as a full disk does, and is one that a test can set."""
    status, error = run(words, tmp_path, limit=len(undisturbed["train.parquet"]) // 2)
    assert status == 1 and "too large for this file system" in error and "Traceback" not in error, error
    assert not (tmp_path / "train.parquet").exists()
    assert run(words, tmp_path)[0] == 0
    assert content(tmp_path) == undisturbed


def test_two_at_once_do_not_mix(words: list[str], undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    first = start(words, tmp_path)
    while first.poll() is None and not MOMENTS["in the first part"](tmp_path / ".train.parquet.parts"):
        time.sleep(0.001)
    status, error = run(words, tmp_path)
    first.communicate(timeout=60)
    assert status == 1 and "is being prepared by another process; wait for it" in error
    assert first.returncode == 0
    assert content(tmp_path) == undisturbed


def test_a_hub_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "medix_verl", "prepare", "slake", "--out", str(tmp_path / "a.parquet")]
    began = time.monotonic()
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9"},
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert (
        "the hub cannot be reached" in done.stderr and "`hf download BoKelvin/SLAKE --repo-type dataset" in done.stderr
    )
    assert time.monotonic() - began < 20
    assert list(tmp_path.iterdir()) == []
