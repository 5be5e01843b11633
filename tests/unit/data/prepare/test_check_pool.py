# SPDX-License-Identifier: Apache-2.0
"""Checks run in order, here or in processes, over a bounded number of items; a dead worker is an error."""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from medix_verl.data.converters.base import Refused
from medix_verl.data.prepare.check_pool import BATCH_ROWS, BATCHES_A_WORKER, Outcome, outcomes
from medix_verl.errors import SetupError
from medix_verl.types import ImageRef, Sample

CHECKS = """
import os
from medix_verl.data.prepare.checks import Checked

def even_only(sample):
    number = int(sample.id)
    return Checked("odd" if number % 2 else None, f"row {number}", ("tenth",) if number % 10 == 0 else ())

def deadly(sample):
    os._exit(9)

def deadly_for_9(sample):
    if sample.id == "9":
        os._exit(9)
    return Checked(None)

def of_process(sample):
    return Checked(None, "", (str(os.getpid()),))
"""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Checks in a module that worker processes can import too: one refuses odd rows, one kills its process."""
    (tmp_path / "made_checks.py").write_text(CHECKS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("made_checks")
    sys.modules.pop("made_checks")


def items(count: int) -> Iterator[Sample | Refused]:
    for number in range(count):
        if number % 7 == 3:
            yield Refused(str(number), "no answer")
        else:
            yield Sample(str(number), "s", "?", "a", images=(ImageRef(bytes=b"x" * 10),))


def test_many_processes_give_what_one_gives(made: ModuleType) -> None:
    one = list(outcomes(items(150), made.even_only, workers=1))
    assert [item.item.id for item in one] == [str(number) for number in range(150)]
    assert one[:4] == [
        Outcome(next(items(1)), ("tenth",)),
        Outcome(Refused("1", "odd", "row 1")),
        Outcome(Sample("2", "s", "?", "a", images=(ImageRef(bytes=b"x" * 10),))),
        Outcome(Refused("3", "no answer")),
    ]
    assert list(outcomes(items(150), made.even_only, workers=2)) == one


def test_few_items_are_in_flight(made: ModuleType) -> None:
    read = []

    def watched() -> Iterator[Sample | Refused]:
        for item in items(100_000):
            read.append(item.id)
            yield item

    found = outcomes(watched(), made.even_only, workers=2)
    next(found)
    found.close()  # type: ignore[attr-defined]  # a generator
    assert len(read) <= 2 * BATCHES_A_WORKER * BATCH_ROWS


def test_a_dead_worker_is_an_error(made: ModuleType) -> None:
    with pytest.raises(SetupError, match=r"a process that checks pictures died.*--workers 1"):
        list(outcomes(items(10), made.deadly, workers=2))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_picture_that_ends_its_worker_refuses_its_row_alone(made: ModuleType, workers: int) -> None:
    found = list(outcomes(items(60), made.deadly_for_9, workers, bounded=True))
    assert [item.item.id for item in found] == [str(number) for number in range(60)]
    lost = [item.item for item in found if isinstance(item.item, Refused) and item.item.reason != "no answer"]
    detail = "row '9': its picture ended the process that opens it (exit code 9); fix or drop the row"
    assert lost == [Refused("9", "picture unreadable", detail)]


def test_one_worker_that_is_bounded_is_a_process_of_its_own(made: ModuleType) -> None:
    (alone,) = outcomes(items(1), made.of_process, 1, bounded=True)
    (here,) = outcomes(items(1), made.of_process, 1)
    assert alone.flags != here.flags == (str(os.getpid()),)
