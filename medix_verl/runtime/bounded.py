# SPDX-License-Identifier: Apache-2.0
"""Processes untrusted files in a child process, with limits on time and memory.

A decoder may loop, allocate all memory, or crash its process. Therefore a child does the work. It is started once, fed
over a pipe, and killed and restarted if an item takes too long or crashes it. Only that item is lost, and the caller
gets the reason; the next child does the others. An exception of the work itself is raised in the caller.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from medix_verl.errors import SetupError
from medix_verl.runtime.processes import end_with_parent

__all__ = ["Bounded", "Lost", "in_child", "own_child"]

SECONDS = 60
"""Wall-clock limit for one item. The largest accepted picture takes a tenth of it on a slow core."""
MEMORY = 6 << 30
"""Bytes in addition to the child's memory at its start; the largest accepted picture takes half of it."""
START_S = 300
"""Time limit for a child to load its modules."""
MOST_LOSSES = 8
"""Consecutive items that end their child; beyond that the cause is the machine, not the files."""
DIED = f"a process that checks pictures died, perhaps out of memory, {MOST_LOSSES} times, one item after the other"
REMEDY = "free some memory or give --workers 1, and type the same command again: it goes on where it was"
GUARD = "in a script of your own, put the call below `if __name__ == '__main__':`"
KEPT = 64 << 20
"""Bytes of freed memory that the child keeps for its next item."""
MAPPED = 32 << 20
"""Allocations from this size use mmap and are returned to the system when freed; the maximum of glibc."""
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""glibc's constants for the two settings (malloc.h)."""
SLICE_S = 1.0
"""Waits are split into slices, so that time for which the machine was suspended does not count for the child."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Result of an item that its child could not process."""

    why: str
    """The reason, such as `takes more than 60 s`."""
    died: bool = False
    """Whether the child ended by itself, that is, was not killed by us."""


class Bounded:
    """A child process that applies functions to items, one after the other. Not thread-safe."""

    def __init__(self, seconds: int = SECONDS, memory: int = MEMORY) -> None:
        """Store the limits; the child is started with the first item.

        Args:
            seconds: Limit for one item.
            memory: Limit in bytes, in addition to the child's memory at its start.
        """
        self._seconds, self._memory = seconds, memory
        self._process: Any = None
        self._pipe: Connection | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._losses = 0

    def each(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """Apply a function to items, in order; both must be picklable.

        Yields:
            For each item its result, or a Lost.

        Raises:
            SetupError: The child does not start, or too many consecutive items end it.
        """
        left = list(items)
        try:
            while left:
                pipe = self._started()
                with contextlib.suppress(OSError):  # the cause is found when the results are read
                    pipe.send((function, left))
                yield from self._results(pipe, left)
        finally:
            if left:  # the caller stopped early; the pending results must not be read by the next call
                self._end()

    def _results(self, pipe: Connection, left: list[Any]) -> Iterator[Any]:
        """Results of the sent items, removed from `left` one by one, up to the first that is lost."""
        while left:
            answer = self._receive(pipe, self._seconds)
            if isinstance(answer, Lost):
                self._end()
                self._losses = self._losses + 1 if answer.died else 0
                if self._losses >= MOST_LOSSES:
                    self._losses = 0
                    raise SetupError(f"{DIED}; {REMEDY}")
                left.pop(0)
                yield answer
                return
            fine, value = answer
            if not fine:
                raise value
            self._losses = 0
            left.pop(0)
            yield value

    def close(self) -> None:
        """End the child; work in progress is lost."""
        with self._lock:
            self._closed = True
        self._end()

    def _started(self) -> Connection:
        with self._lock:
            if self._closed:
                raise SetupError("the process that opens pictures was ended; type the same command again")
            if self._pipe is not None:
                return self._pipe
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=serve, args=(theirs, self._memory), daemon=True)
            self._process.start()
            theirs.close()
            pipe = self._pipe
        if isinstance(self._receive(pipe, START_S), Lost):
            self._end()
            raise SetupError(f"a process that opens pictures does not start; {GUARD}, or {REMEDY}")
        return pipe

    def _receive(self, pipe: Connection, seconds: int) -> Any:
        for _ in range(max(1, round(seconds / SLICE_S))):
            try:
                if pipe.poll(SLICE_S):
                    return pipe.recv()
            except (EOFError, OSError):
                return Lost(f"ended the process that opens it ({self._end()})", died=True)
        return Lost(f"takes more than {seconds} s")

    def _end(self) -> str:
        """End the child, and return how it ended."""
        with self._lock:
            process, pipe, self._process, self._pipe = self._process, self._pipe, None, None
        if process is None or process.pid is None:  # ended already, or a child that could not be started
            return "it was ended"
        process.join(SLICE_S)
        code = process.exitcode
        process.kill()
        process.join()
        if pipe is not None:
            pipe.close()
        if code is None:
            return "killed"
        return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def serve(pipe: Connection, memory: int) -> None:
    """Main loop of the child: processes one list of items after the other, and sends each result when it is ready."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    limit_memory(memory)
    keep_freed()
    pipe.send("ready")
    with contextlib.suppress(EOFError, OSError):
        while True:
            function, items = pipe.recv()
            for item in items:
                pipe.send(result_of(function, item))


def result_of(function: Callable[[Any], Any], item: Any) -> tuple[bool, Any]:
    try:
        return True, function(item)
    except Exception as cause:  # noqa: BLE001 - carried to the caller's process
        try:
            pickle.loads(pickle.dumps(cause))
        except Exception:  # noqa: BLE001 - an exception that cannot be pickled
            return False, RuntimeError(f"{type(cause).__name__}: {cause}")
        return False, cause


def limit_memory(more: int) -> None:
    """Allow this process `more` bytes beyond its current memory; does nothing if the system does not support it."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        wanted = now + more
        resource.setrlimit(resource.RLIMIT_AS, (wanted if most < 0 else min(wanted, most), most))
    except (ImportError, OSError, ValueError):
        return


def keep_freed() -> None:
    """Do not return memory to the system after each item: allocating it again took a third of a picture's time."""
    with contextlib.suppress(OSError, AttributeError):  # a C library other than glibc
        library = ctypes.CDLL(None)
        library.mallopt(TRIM_THRESHOLD, KEPT)
        library.mallopt(MMAP_THRESHOLD, MAPPED)


_own: ContextVar[Bounded | None] = ContextVar("medix_own_child", default=None)


@contextlib.contextmanager
def own_child(wanted: bool = True) -> Iterator[None]:
    """Give `in_child` a child inside the block; without it, `in_child` works in this process."""
    child = Bounded() if wanted else None
    token = _own.set(child)
    try:
        yield
    finally:
        _own.reset(token)
        if child is not None:
            child.close()


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """A function's result, from the child of the enclosing `own_child` block; a Lost if it could not be computed."""
    child = _own.get()
    if child is None:
        return function(*arguments)
    return next(child.each(Applied(function), [arguments]))


@dataclass(frozen=True, slots=True)
class Applied:
    """A function of several arguments as one of a tuple; picklable."""

    function: Callable[..., Any]

    def __call__(self, arguments: tuple[Any, ...]) -> Any:
        return self.function(*arguments)
