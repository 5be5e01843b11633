# SPDX-License-Identifier: Apache-2.0
"""Several generations of a question: each has a seed of its own, and a place of its own among the kept answers."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medix_verl.evaluation.models.generation import GenerationSpec
from medix_verl.evaluation.task_run import Answering, TaskRun, question_key
from medix_verl.evaluation.tasks.pictures import Item
from medix_verl.evaluation.tasks.table import find
from medix_verl.types import Sample

ITEM = Item(Sample("q", "set", "What is seen?", "yes"))


def run_of(seed: int) -> TaskRun:
    judging: Any = SimpleNamespace(judge_name="rule", stopped="")
    return TaskRun(find("medqa"), {"q": ITEM}, judging, Answering("m", generation=GenerationSpec(seed=seed)))


def test_seeds_differ_and_the_first_is_the_runs_own() -> None:
    seeds = [[GenerationSpec(seed=seed).seed_of(repeat) for repeat in range(1, 17)] for seed in (0, 1, 2)]
    assert [own[0] for own in seeds] == [0, 1, 2]
    assert len({seed for own in seeds for seed in own}) == 3 * 16
    assert all(0 <= seed < 2**31 for own in seeds for seed in own)


def test_questions_are_not_drawn_with_one_seed() -> None:
    spec = GenerationSpec(temperature=0.7)
    seeds = {spec.seed_of(repeat, name) for repeat in (1, 2, 3, 4) for name in ("a", "b", "c")}
    assert len(seeds) == 12 and all(0 <= seed < 2**31 for seed in seeds)
    assert GenerationSpec().seed_of(1, "a") == 0


def test_each_generation_is_kept_apart_and_those_of_before_are_found() -> None:
    keys = [question_key(run_of(0), ITEM, repeat) for repeat in (1, 2, 3)]
    assert len(set(keys)) == 3 and keys[0] == question_key(run_of(0), ITEM)


def test_each_generation_is_asked_with_its_seed(tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    from inspect_ai.model import ModelOutput

    from medix_verl.evaluation.inspect.tasks import ask

    asked: list[Any] = []

    async def generate(state: Any, **given: Any) -> Any:
        asked.append(given.get("seed"))
        return state

    for epoch in (1, 2, 3):
        state: Any = SimpleNamespace(
            epoch=epoch, sample_id="q", metadata={}, messages=[], output=ModelOutput.from_content("m", "x")
        )
        asyncio.run(ask(run_of(5), b"key", state, generate))
    # None leaves the one of the task's settings, which is the run's.
    assert asked == [None, 5 + 7919, 5 + 2 * 7919]
