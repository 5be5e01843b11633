# SPDX-License-Identifier: Apache-2.0
"""Ends processes cleanly: signals unwind through `finally` like Ctrl-C, children end with their parent; sessions."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["end_session", "end_with_parent", "exit_on_signals", "run_until_signal", "session_of"]

if TYPE_CHECKING:
    import psutil

Result = TypeVar("Result")

_POLL_S = 1.0
_PR_SET_PDEATHSIG = 1
# Looked up here: between fork and exec no library may be loaded, because a thread may have held the loader's lock.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


@contextlib.contextmanager
def exit_on_signals(*numbers: signal.Signals) -> Iterator[None]:
    """Turn these signals into SystemExit(128 + number) inside the block; the previous handlers are restored after it.

    A signal that this process was started to ignore stays ignored, such as SIGHUP under `nohup`.
    """

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # only there can handlers be set
        yield
        return
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, leave) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_until_signal(work: Coroutine[Any, Any, Result], *numbers: signal.Signals) -> Result:
    """`asyncio.run`, in which these signals cancel the work; it then ends with SystemExit(128 + number).

    An exception raised by a handler is lost if it occurs inside a destructor or a callback, of which an event loop has
    many. Therefore the signals are handled by the loop. A signal that this process was started to ignore stays ignored.
    """
    heard: list[int] = []

    async def main() -> Result:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def stop(number: int) -> None:
            heard.append(number)
            task.cancel()

        if threading.current_thread() is threading.main_thread():
            for number in numbers:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    loop.add_signal_handler(number, stop, number)
        return await work

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        if not heard:
            raise
        raise SystemExit(128 + heard[0]) from None


def end_with_parent(starter: int | None = None) -> None:
    """In a child process: make it end when its parent has ended, even if the parent was killed without clean-up.

    There are two ways, because a thread does not survive `exec`, and the kernel's signal is sent when the *thread* of
    the parent that started the child ends:

    - A Python child calls it without an argument, which starts a thread that watches the parent: children of
      multiprocessing, at the start of their target; a ProcessPoolExecutor, as its `initializer` (data.checking,
      embedding); vLLM's engine processes, by its plugin (cpu.vllm_engine). The parent has ended when multiprocessing's
      sentinel fires or the child has another parent. The sentinel alone is not enough: it never fires in a forked child
      whose siblings have its other end open. The process ends within a second, without clean-up, because no process can
      use its result.
    - A child that is another program gets it as `preexec_fn=partial(end_with_parent, os.getpid())` of
      `subprocess.Popen` (evaluation.server). The kernel then sends it SIGTERM, so that it can end what it started. The
      thread that calls Popen must live as long as the child is needed. Linux only; elsewhere it does nothing.

    Args:
        starter: PID of the process that calls Popen, in a `preexec_fn`.
    """
    if starter is None:
        parent = multiprocessing.parent_process()
        known = (os.getppid(), None if parent is None else parent.sentinel)
        threading.Thread(target=_watch, args=known, name="medix-parent-watch", daemon=True).start()
    elif _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != starter:  # it ended before the kernel knew
            os._exit(1)


def session_of(leader: int, mark: tuple[str, str] | None = None) -> list[psutil.Process]:
    """Living processes of the session of a leader.

    Args:
        leader: Its PID; it may have ended.
        mark: A variable and its value: processes with it in their environment belong to the session too. A process can
            leave its session, and one can overwrite its environment; none is known to do both.
    """
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            is_ours = os.getsid(process.pid) == leader or (mark and process.environ().get(mark[0]) == mark[1])
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end_session(leader: int, grace_s: float = 10.0, mark: tuple[str, str] | None = None) -> None:
    """End the remaining processes of a session (see session_of): SIGTERM, then SIGKILL after `grace_s` seconds.

    Processes that do not end within another `grace_s` seconds are left.
    """
    import psutil

    began = time.monotonic()
    reported: set[tuple[int, int]] = set()
    while (left := session_of(leader, mark)) and (past := time.monotonic() - began) < 2 * grace_s:
        number = signal.SIGTERM if past < grace_s else signal.SIGKILL
        for process in left:
            if (process.pid, number) not in reported:
                reported.add((process.pid, number))
                with contextlib.suppress(psutil.Error):
                    process.send_signal(number)
        time.sleep(0.1)


def _watch(parent: int, sentinel: int | None) -> None:
    while os.getppid() == parent:
        if sentinel is None:
            time.sleep(_POLL_S)
        elif wait([sentinel], _POLL_S):
            break
    os._exit(1)
