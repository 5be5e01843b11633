# SPDX-License-Identifier: Apache-2.0
"""How a process ends: a signal leaves through `finally`, as Ctrl-C does, and a child does not outlive its parent."""

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
from typing import Any, TypeVar

__all__ = ["end_with_parent", "exit_on_signals", "run_until_signal"]

Result = TypeVar("Result")

_POLL_S = 1.0
_PR_SET_PDEATHSIG = 1
# Looked up here: between fork and exec no library may be loaded, a thread may have held the loader's lock.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


@contextlib.contextmanager
def exit_on_signals(*numbers: signal.Signals) -> Iterator[None]:
    """Turn these signals into SystemExit(128 + number) inside the block; the handlers of before come back after it.

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

    An exception that a handler raises is lost where it happens to strike a destructor or a callback, and an event loop
    has many; so the loop itself hears of the signal. One that this process was started to ignore stays ignored.
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
    """In a child process: let it end when its parent has ended, even if that was killed and could clear up nothing.

    There are two ways, because a thread does not survive `exec`, and the kernel's signal comes when the parent's
    *thread* ends that started the child:

    - A Python child calls it without an argument, and a thread watches from then on: children of multiprocessing, as
      the first thing of their target; a ProcessPoolExecutor, as its `initializer` (data.checking, embedding); vLLM's
      engine processes, by its plugin (cpu.vllm_engine). The parent is gone when multiprocessing's sentinel says so or
      when the child has another parent; the sentinel alone never tells a forked child whose siblings hold its other
      end. The process ends within a second, without clean-up: nobody is left who could want an answer.
    - A child that is another program gets it as `preexec_fn=partial(end_with_parent, os.getpid())` of
      `subprocess.Popen` (evaluation.server). The kernel then sends it SIGTERM, so that it can end what it started. The
      thread that calls Popen must live as long as the child is wanted. Linux only; elsewhere it does nothing.

    Args:
        starter: Number of the process that calls Popen, in a `preexec_fn`.
    """
    if starter is None:
        parent = multiprocessing.parent_process()
        known = (os.getppid(), None if parent is None else parent.sentinel)
        threading.Thread(target=_watch, args=known, name="medix-parent-watch", daemon=True).start()
    elif _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != starter:  # it ended before the kernel knew
            os._exit(1)


def _watch(parent: int, sentinel: int | None) -> None:
    while os.getppid() == parent:
        if sentinel is None:
            time.sleep(_POLL_S)
        elif wait([sentinel], _POLL_S):
            break
    os._exit(1)
