# SPDX-License-Identifier: Apache-2.0
"""Runs that must be fought: families that ignore SIGTERM and leave their session."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from medix_verl.demo.processes import RunEnd, run_marked

pytestmark = pytest.mark.timeout(120)
FAMILY = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
note, depth, ends = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if depth:
    subprocess.Popen([sys.executable, __file__, note, str(depth - 1), "never"], start_new_session=True)
with note.open("a") as stream:
    stream.write(json.dumps(os.getpid()) + "\\n")
while len(note.read_text().splitlines()) < 3:
    time.sleep(0.05)
if ends == "now":
    sys.exit(5)
while True:
    time.sleep(1)
"""


@pytest.fixture
def family(tmp_path: Path) -> list[str]:
    """A command that starts a child and a grandchild, all deaf to SIGTERM, each in a session of its own."""
    (tmp_path / "family.py").write_text(FAMILY)
    return [sys.executable, str(tmp_path / "family.py"), str(tmp_path / "pids"), "2"]


def alive(folder: Path) -> list[int]:
    pids = [json.loads(line) for line in (folder / "pids").read_text().splitlines()]
    assert len(pids) == 3
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def test_the_limit_ends_the_whole_family(family: list[str], tmp_path: Path) -> None:
    began = time.monotonic()
    end = run_marked([*family, "never"], tmp_path / "log", {}, limit_s=3.0)
    assert end.returncode is None
    assert 3.0 <= end.seconds < 15.0
    assert time.monotonic() - began < 25.0
    assert alive(tmp_path) == []


def test_a_run_that_ends_by_itself_leaves_nobody_behind(family: list[str], tmp_path: Path) -> None:
    end = run_marked([*family, "now"], tmp_path / "log", {}, limit_s=60.0)
    assert end.returncode == 5
    assert alive(tmp_path) == []


def test_a_killed_run_reports_the_signal(tmp_path: Path) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert run_marked([sys.executable, "-c", code], tmp_path / "log", {}, limit_s=30.0).returncode == -9


def test_other_runs_are_left_alone(tmp_path: Path) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        end: RunEnd = run_marked([sys.executable, "-c", "pass"], tmp_path / "log", {}, limit_s=30.0)
        assert end.returncode == 0 and bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


INTERRUPTED = """
import sys
from pathlib import Path
from medix_verl.demo.processes import run_marked
run_marked(sys.argv[2:], Path(sys.argv[1]), {}, 60.0)
"""


def test_ctrl_c_ends_the_family_first(family: list[str], tmp_path: Path) -> None:
    import signal

    words = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "log"), *family, "never"]
    caller = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "pids").exists() or len((tmp_path / "pids").read_text().splitlines()) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    caller.send_signal(signal.SIGINT)
    _out, err = caller.communicate(timeout=40)
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    assert alive(tmp_path) == []
