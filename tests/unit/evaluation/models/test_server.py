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
from medix_verl.evaluation.models import server
from medix_verl.evaluation.models.server import ServerSpec, serving

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


def test_a_server_that_failed_and_does_not_end_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "QUIET_S", 1.0)
    failed = "import sys, time; print('RuntimeError: the engine failed', flush=True); time.sleep(600)"
    with (
        pytest.raises(SetupError, match="failed while loading: RuntimeError: the engine failed"),
        serving(SPEC, tmp_path / "server.log", never, program(failed)),
    ):
        pass
    # One that goes on with something else is waited for.
    slow = (
        "import time; print('RuntimeError: tried', flush=True); print('INFO 11-30 09:02:25 [a.py:1] go on', flush=True)"
    )
    with (
        pytest.raises(SetupError, match="not ready after 3 s"),
        serving(ServerSpec("a/b", 3), tmp_path / "other.log", never, program(f"{slow}; time.sleep(600)")),
    ):
        pass
    assert descendants() == []


def test_the_log_of_an_earlier_server_is_not_this_ones(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text("ValueError: of yesterday\n")
    with pytest.raises(SetupError) as raised, serving(SPEC, tmp_path / "server.log", never, program("exit(3)")):
        pass
    assert "with code 3: its log is empty" in str(raised.value)


def test_a_cpu_server_has_room_for_its_longest_prompt_unless_it_is_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "is_cpu_build", lambda: True)
    words = server.serve_command(ServerSpec("a/b"), 1)
    assert words[words.index("--max-model-len") + 1] == "auto" and "--enforce-eager" in words
    words = server.serve_command(ServerSpec("a/b", extra=("--max_model_len=99",)), 1)
    assert "auto" not in words and "--enforce-eager" in words
    assert int(server.environment()["VLLM_CPU_KVCACHE_SPACE"]) >= 1
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "3")
    assert server.environment()["VLLM_CPU_KVCACHE_SPACE"] == "3"
    monkeypatch.setattr(server, "is_cpu_build", lambda: False)
    monkeypatch.setattr(server, "serve_program", lambda: ["vllm", "serve"])
    assert server.serve_command(ServerSpec("a/b"), 1)[-2:] == ["--generation-config", "vllm"]


def test_a_death_while_serving_is_told(tmp_path: Path) -> None:
    raised: list[str] = []
    with serving(SPEC, tmp_path / "server.log", raised.append, program(GOOD)):
        (process,) = descendants()
        process.kill()
        until = time.monotonic() + 10
        while not raised and time.monotonic() < until:
            time.sleep(0.05)
    assert "the model's server ended with code -9" in raised[0]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_signal_to_the_evaluation_stops_the_server(tmp_path: Path, number: signal.Signals, status: int) -> None:
    source = (
        "import sys, time; from pathlib import Path; from medix_verl.evaluation.models.server import *\n"
        f"words = [sys.executable, '-c', {GOOD!r}, '{{port}}']\n"
        f"with serving(ServerSpec('a/b', 20), Path({str(tmp_path / 'server.log')!r}), print, words):\n"
        "    print('ready', flush=True); time.sleep(600)\n"
    )
    user = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True, env={**os.environ})
    assert user.stdout is not None and user.stdout.readline() == "ready\n"
    (process,) = psutil.Process(user.pid).children()
    user.send_signal(number)
    assert user.wait(20) == status
    psutil.wait_procs([process], timeout=10)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
