# SPDX-License-Identifier: Apache-2.0
"""A child that hangs, eats memory or dies costs one item; the others are done, and nothing waits for ever."""

from __future__ import annotations

import importlib
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from medix_verl.errors import DataError, SetupError
from medix_verl.runtime.bounded import MOST_LOSSES, Bounded, Lost, in_child, own_child

pytestmark = pytest.mark.timeout(120)
WORK = """
import os
import resource
import time
from medix_verl.errors import DataError

def work(item):
    if item == "hang":
        while True:
            time.sleep(1)
    if item == "die":
        os._exit(7)
    if item == "crash":
        os.kill(os.getpid(), 11)
    if item == "eat":
        try:
            return len(bytearray(8 << 30))
        except MemoryError:
            return "too much"
    if item == "refuse":
        raise DataError("refused")
    if item == "odd":
        class Odd(Exception):
            pass
        raise Odd("of its own kind")
    return os.getpid() if item == "who" else item

def faults(_):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    kept = [bytearray(b"x" * (1 << 20)) for _ in range(20)]
    del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def two(first, second):
    return [first, second, os.getpid()]
"""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Functions in a module that the child can import too."""
    (tmp_path / "made_work.py").write_text(WORK, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("made_work")
    sys.modules.pop("made_work")


@pytest.fixture
def child() -> Iterator[Bounded]:
    bounded = Bounded(seconds=2, memory=1 << 30)
    yield bounded
    bounded.close()
    assert not [one for one in psutil.Process().children() if "spawn_main" in " ".join(one.cmdline())]


def test_one_child_does_all_the_work(made: ModuleType, child: Bounded) -> None:
    first = list(child.each(made.work, ["who", 1, None, b"x" * (20 << 20)]))
    assert first[1:] == [1, None, b"x" * (20 << 20)] and first[0] != os.getpid()
    assert list(child.each(made.work, ["who"])) == first[:1]
    assert list(child.each(made.work, [])) == []


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ("hang", r"takes more than 2 s"),
        ("die", r"ended the process that opens it (exit code 7)"),
        ("crash", r"ended the process that opens it (signal SIGSEGV)"),
    ],
)
def test_an_item_that_is_lost_costs_no_other(made: ModuleType, child: Bounded, item: str, why: str) -> None:
    found = list(child.each(made.work, ["a", item, "b", item, "c"]))
    assert [one if isinstance(one, str) else one.why for one in found] == ["a", why, "b", why, "c"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are those of glibc")
def test_freed_memory_is_kept_for_the_next_item(made: ModuleType, child: Bounded) -> None:
    found = list(child.each(made.faults, range(6)))
    assert found[0] > 1000 and max(found[2:]) < 100  # pages of 4 KiB, of 20 MiB


def test_memory_is_limited(made: ModuleType, child: Bounded) -> None:
    assert list(child.each(made.work, ["eat", "a"])) == ["too much", "a"]


def test_an_exception_is_raised_here_and_the_rest_is_forgotten(made: ModuleType, child: Bounded) -> None:
    found = child.each(made.work, ["a", "refuse", "b"])
    assert next(found) == "a"
    with pytest.raises(DataError, match="refused"):
        next(found)
    with pytest.raises(RuntimeError, match="Odd: of its own kind"):
        list(child.each(made.work, ["odd"]))
    assert list(child.each(made.work, ["c"])) == ["c"]


def test_what_nobody_asks_for_is_not_taken_for_the_next_result(made: ModuleType, child: Bounded) -> None:
    found = child.each(made.work, ["a", "b", "c"])
    assert next(found) == "a"
    found.close()  # type: ignore[attr-defined]  # a generator
    assert list(child.each(made.work, ["d"])) == ["d"]


def test_a_machine_on_which_every_child_dies_is_an_error(made: ModuleType, child: Bounded) -> None:
    with pytest.raises(SetupError, match=f"died, perhaps out of memory, {MOST_LOSSES} times.*--workers 1"):
        list(child.each(made.work, ["die"] * (MOST_LOSSES + 1)))
    mixed = ["die", "a"] * MOST_LOSSES
    assert len(list(child.each(made.work, mixed))) == len(mixed)


def test_close_ends_work_in_progress(made: ModuleType, child: Bounded) -> None:
    found: list[object] = []

    def use() -> None:
        try:
            found.extend(Bounded.each(child, made.work, ["a", "hang", "b"]))
        except SetupError as cause:
            found.append(cause)

    thread = threading.Thread(target=use)
    thread.start()
    time.sleep(1)
    child.close()
    thread.join(10)
    assert not thread.is_alive() and isinstance(found[-1], (SetupError, Lost))


def test_a_call_is_made_in_the_child_of_the_block_around_it(made: ModuleType) -> None:
    assert in_child(made.two, 1, 2) == [1, 2, os.getpid()]
    with own_child():
        first = in_child(made.two, 1, 2)
        assert first[:2] == [1, 2] and first[2] != os.getpid() and in_child(made.two, 3, 4)[2] == first[2]
    with own_child(wanted=False):
        assert in_child(made.two, 1, 2)[2] == os.getpid()
