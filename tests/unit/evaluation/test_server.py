# SPDX-License-Identifier: Apache-2.0
"""The model's server, played by small programs: ready, dead while loading, too slow, dead while serving, stopped.

These are also the tests of E9, a fault of the official evaluation: no limit, a child never looked at, a fixed port.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from medix_verl.errors import SetupError
from medix_verl.evaluation.server import ServerSpec, serving

GOOD = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"{}")
    def log_message(self, *words): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
CHILD = "import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
SPEC = ServerSpec("owner/name", load_limit_s=20)


def program(source: str) -> list[str]:
    return [sys.executable, "-c", source, "{port}"]


def never(cause: str) -> None:
    raise AssertionError(cause)


OTHERS = ("resource_tracker", "forkserver", "spawn_main")
"""In the words of processes that pools of other tests keep."""


def descendants() -> list[psutil.Process]:
    """Processes of this test."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            words = " ".join(child.cmdline())
            if child.status() != psutil.STATUS_ZOMBIE and not any(other in words for other in OTHERS):
                found.append(child)
    return found


def test_it_serves_and_leaves_no_process(tmp_path: Path) -> None:
    with serving(SPEC, tmp_path / "server.log", never, program(CHILD + GOOD)) as url:
        assert url.startswith("http://127.0.0.1:")
        assert len(descendants()) == 2
    assert descendants() == []


def test_a_server_that_dies_while_loading_shows_its_log(tmp_path: Path) -> None:
    source = "import sys; print('loading'); sys.exit('ValueError: the weights are broken')"
    with (
        pytest.raises(SetupError, match="ended while loading, with code 1: ValueError: the weights are broken"),
        serving(SPEC, tmp_path / "server.log", never, program(source)),
    ):
        pass


def test_a_server_that_never_answers_meets_the_limit(tmp_path: Path) -> None:
    spec = ServerSpec("owner/name", load_limit_s=1.2)
    began = time.monotonic()
    with (
        pytest.raises(SetupError, match=r"not ready after 1.2 s: its log is empty"),
        serving(spec, tmp_path / "server.log", never, program("import time; time.sleep(600)")),
    ):
        pass
    assert time.monotonic() - began < 10 and descendants() == []


def test_a_death_while_serving_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    with serving(SPEC, tmp_path / "server.log", told.append, program(GOOD)):
        (server,) = descendants()
        server.kill()
        until = time.monotonic() + 10
        while not told and time.monotonic() < until:
            time.sleep(0.05)
    assert "the model's server ended with code -9" in told[0]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_signal_to_the_evaluation_stops_the_server(tmp_path: Path, number: signal.Signals, status: int) -> None:
    source = (
        "import sys, time; from pathlib import Path; from medix_verl.evaluation.server import *\n"
        f"words = [sys.executable, '-c', {GOOD!r}, '{{port}}']\n"
        f"with serving(ServerSpec('a/b', 20), Path({str(tmp_path / 'server.log')!r}), print, words):\n"
        "    print('ready', flush=True); time.sleep(600)\n"
    )
    user = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True, env={**os.environ})
    assert user.stdout is not None and user.stdout.readline() == "ready\n"
    (server,) = psutil.Process(user.pid).children()
    user.send_signal(number)
    assert user.wait(20) == status
    psutil.wait_procs([server], timeout=10)
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
