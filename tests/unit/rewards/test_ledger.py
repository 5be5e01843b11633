# SPDX-License-Identifier: Apache-2.0
"""The book of unscored answers, with a Ray made of plain objects; the real one is in the integration ring."""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from medix_verl.rewards.ledger import Ledger, open_ledger, read_fatal, report_fatal, report_unscored, take_entries
from medix_verl.runtime.shared_actor import CALLS_AT_ONCE


class FakeMethod:
    """An actor's method: `.remote()` calls it at once."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def remote(self, *args: Any) -> Any:
        return asyncio.run(self.function(*args))


class FakeRay(ModuleType):
    """As much of Ray as the ledger uses: named actors that live in this process."""

    def __init__(self, initialized: bool = True) -> None:
        super().__init__("ray")
        self.initialized = initialized
        self.actors: dict[str, Any] = {}
        self.options: dict[str, Any] = {}
        self.timeout: float | None = None
        self.exceptions = SimpleNamespace(RayError=OSError, RayTaskError=OSError)

    def is_initialized(self) -> bool:
        return self.initialized

    def remote(self, cls: type) -> Any:
        def options(**given: Any) -> Any:
            self.options = given

            def create(*args: Any) -> Any:
                handle = SimpleNamespace(call=FakeMethod(cls(*args).call))
                return self.actors.setdefault(given["name"], handle)

            return SimpleNamespace(remote=create)

        return SimpleNamespace(options=options)

    def get_actor(self, name: str) -> Any:
        if name not in self.actors:
            raise ValueError(f"Failed to look up actor with name '{name}'")
        return self.actors[name]

    def get(self, value: Any, timeout: float) -> Any:
        self.timeout = timeout
        return value


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake


def test_counts_since_the_last_reading() -> None:
    ledger = Ledger()
    for cause in ("judge: timed out", "judge: timed out", "semantic: nan"):
        ledger.report(cause)
    assert ledger.take() == (3, ["judge: timed out", "semantic: nan"])
    assert ledger.take() == (0, [])


def test_keeps_the_last_five_causes_and_every_count() -> None:
    ledger = Ledger()
    for number in range(100):
        ledger.report(f"cause {number}")
    assert ledger.take() == (100, [f"cause {number}" for number in range(95, 100)])


def test_a_taken_list_is_not_changed_later() -> None:
    ledger = Ledger()
    ledger.report("one")
    _count, causes = ledger.take()
    ledger.report("two")
    assert causes == ["one"]


def test_every_process_of_the_run_writes_in_the_same_book(ray: FakeRay) -> None:
    book = open_ledger()
    report_unscored("judge: timed out")
    report_unscored("judge: 500")
    assert open_ledger().handle is book.handle
    assert take_entries(book) == (2, ["judge: timed out", "judge: 500"])
    assert ray.timeout == pytest.approx(30.0, abs=1.0)
    shared = {"max_restarts": -1, "max_task_retries": 0, "max_concurrency": CALLS_AT_ONCE}
    assert ray.options == {"name": "medix_ledger", "get_if_exists": True, "num_cpus": 0, **shared}


def test_a_run_without_our_sampler_has_no_book(ray: FakeRay) -> None:
    report_unscored("judge: timed out")
    assert ray.actors == {}


def test_outside_ray_nothing_is_written(ray: FakeRay) -> None:
    ray.initialized = False
    assert open_ledger() is None
    report_unscored("judge: timed out")
    assert take_entries(None) == (0, [])
    assert ray.actors == {}


def test_a_process_that_cannot_score_leaves_its_cause(ray: FakeRay) -> None:
    ledger = open_ledger()
    assert read_fatal(ledger) == ""
    report_fatal("the encoder is missing")
    report_fatal("and another thing")
    assert read_fatal(ledger) == "the encoder is missing"
    assert read_fatal(None) == ""


def test_outside_a_run_of_ours_nothing_is_entered(ray: FakeRay) -> None:
    report_fatal("nobody listens")
    assert ray.actors == {}
