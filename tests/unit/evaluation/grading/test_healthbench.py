# SPDX-License-Identifier: Apache-2.0
"""HealthBench's score against an implementation of its own: exact fractions, as the paper's formula has it."""

import asyncio
import json
import random
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import judges as fake
from medix_verl.data.converters.text.healthbench import to_item
from medix_verl.errors import DataError
from medix_verl.evaluation.audit.agreement import Estimate
from medix_verl.evaluation.grading.protocol import Protocol
from medix_verl.evaluation.grading.spec import ProtocolSpec
from medix_verl.evaluation.reports.table import write_summary
from medix_verl.evaluation.stats.intervals import spread_interval, spread_of
from medix_verl.evaluation.stats.paired import compare
from medix_verl.evaluation.stats.summary import macro_average, mean_of, summarise, summarise_task
from medix_verl.evaluation.store.read import Evaluation
from medix_verl.evaluation.store.records import Record, read_records, write_records
from medix_verl.types import Sample


def record(number: int, value: float | None, **more: object) -> Record:
    given = {"task": "healthbench", "id": f"{number:04d}", "cluster": str(number), "question": "q", "reference": "r"}
    status = "unscored" if value is None else "scored"
    rest = {"response": "x", "answer": "x", "value": value, "status": status, "answer_type": "rubric"}
    return Record(**{**given, **rest, **more})  # type: ignore[arg-type]


def estimate(values: list[float]) -> Estimate:
    found = mean_of([record(n, value) for n, value in enumerate(values)])
    assert found is not None
    return found


def test_the_mean_is_cut_and_not_each_conversation() -> None:
    found = estimate([1.0] * 6 + [-0.5] * 6)
    assert found.value == 0.25  # cut for each conversation it was 0.5
    assert 0.0 <= found.low < 0.25 < found.high <= 1.0


POINTS = st.integers(-10, 10).filter(bool)
RUBRIC = st.lists(st.tuples(POINTS, st.booleans(), st.integers(0, 2)), min_size=1, max_size=10)
"""Points of each criterion, whether it is met, and the replies before that cannot be read."""
NOISE = ("I would say yes.", '{"criteria_met": "maybe"}', "")


def published_row(number: int, rubric: list[tuple[int, bool, int]]) -> dict[str, object]:
    """A line of the published file."""
    return {
        "prompt_id": f"p{number}",
        "prompt": [{"role": "user", "content": f"It hurts. ({number})"}],
        "rubrics": [{"criterion": f"criterion-{n}-", "points": item[0], "tags": []} for n, item in enumerate(rubric)],
        "example_tags": [],
    }


def graded(number: int, rubric: list[tuple[int, bool, int]]) -> float | None:
    """One conversation through this package: converter, grader's prompt, its replies, points."""
    sample = to_item(published_row(number, rubric), "test", "main", number)
    assert isinstance(sample, Sample)
    asked: Counter[int] = Counter()

    def reply(text: str) -> str:
        (place,) = (n for n in range(len(rubric)) if f"criterion-{n}-" in text)
        _, met, noise = rubric[place]
        asked[place] += 1
        if asked[place] <= noise:
            return NOISE[asked[place] - 1]
        message = json.dumps({"explanation": f"it does {'' if met else 'not '}", "criteria_met": met})
        return f"```json\n{message}\n```" if met else message

    outcome = asyncio.run(
        Protocol(ProtocolSpec("published"), fake.voters(fake.Answering(reply))).judge(sample, "Rest.", "rubric")
    )
    return outcome.value


@settings(max_examples=60, deadline=None)
@given(rubrics=st.lists(RUBRIC.filter(lambda items: any(worth > 0 for worth, _, _ in items)), min_size=1, max_size=5))
def test_the_score_is_that_of_an_independent_implementation(rubrics: list[list[tuple[int, bool, int]]]) -> None:
    """HealthBench's rule as its paper states it (arXiv 2505.08775), in exact fractions.

    A conversation scores the points of its criteria that are met over the largest sum that can be reached; the score
    of a model is the mean over the conversations, cut to 0 and 1.
    """
    exact = []
    for rubric in rubrics:
        reached = possible = Fraction()
        for worth, met, _ in rubric:
            reached += worth if met else 0
            possible += max(worth, 0)
        exact.append(reached / possible)
    values = [graded(number, rubric) for number, rubric in enumerate(rubrics)]
    assert values == [pytest.approx(float(value)) for value in exact]
    mean = min(Fraction(1), max(Fraction(0), sum(exact) / len(exact)))
    assert estimate([value for value in values if value is not None]).value == pytest.approx(float(mean))


def test_more_lost_than_won_is_0() -> None:
    found = estimate([-0.5] * 100 + [0.1] * 50)
    assert (found.value, found.low) == (0.0, 0.0) and found.high < 0.05 and found.approximate


def test_the_interval_covers() -> None:
    rng = random.Random(1)
    held = 0
    for _ in range(400):
        spread = spread_of([1 - rng.expovariate(1.25) for _ in range(150)], range(150), float("-inf"))
        assert spread is not None
        found = spread_interval(spread)
        held += found.low <= 0.2 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_what_is_lost_is_bounded_by_0_and_all_points() -> None:
    found = summarise([record(0, 1.0), record(1, -3.0), record(2, None), record(3, None)])
    assert (found.worst, found.best) == (0.0, 0.0)
    found = summarise([record(0, 1.0), record(1, -0.5), record(2, None)])
    assert (found.worst, found.best) == pytest.approx((0.5 / 3, 0.5))


def test_records_keep_what_is_below_0_of_rubrics_only(tmp_path: Path) -> None:
    write_records(tmp_path / "r.jsonl", [record(0, -1.5), record(1, 1.0)])
    assert [item.value for item in read_records(tmp_path / "r.jsonl")] == [-1.5, 1.0]
    with pytest.raises(DataError, match="a value or vote is -0.5; accepted: 0 to 1, or null"):
        record(0, -0.5, answer_type="open")
    for value in (1.5, float("-inf"), float("nan")):
        with pytest.raises(DataError, match="accepted: at most 1, or null"):
            record(0, value)
    with pytest.raises(DataError, match="accepted: 0 to 1, or null"):
        record(0, -0.5, votes=(-0.5,))


def test_a_table_and_an_average_with_a_rubric(tmp_path: Path) -> None:
    rows = [record(n, value) for n, value in enumerate([1.0] * 60 + [-0.5] * 60)]
    write_records(tmp_path / "records" / "healthbench.jsonl", rows)
    one = [record(0, -1.0, task="one")]
    write_records(tmp_path / "records" / "one.jsonl", one)
    manifest = {
        **{"model": "m", "judge": {"model": ["j"], "kind": "openai"}, "protocol": {"name": "robust"}},
        **{"tasks": ["healthbench", "one"], "conditions": ["real"], "done": {}, "failed": {}, "finished": True},
    }
    write_summary(tmp_path, manifest)
    assert "| healthbench | 25.0% [" in (tmp_path / "table.md").read_text(encoding="utf-8")
    message = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert message["average"]["value"] == 0.125
    spread = summarise_task("healthbench", rows).overall.spread
    alone, own = macro_average([spread]), estimate([row.value or 0.0 for row in rows])
    assert alone is not None
    assert (alone.value, alone.low, alone.high) == pytest.approx((own.value, own.low, own.high))


def test_two_models_are_compared_by_their_points() -> None:
    sides = [
        Evaluation(
            Path(), {"model": name}, {("healthbench", "real"): [record(n, value) for n, value in enumerate(values)]}
        )
        for name, values in (("a", [-2.0, 0.5] * 50), ("b", [0.5, 1.0] * 50))
    ]
    found = compare(*sides, rounds=500)
    item = found.tasks["healthbench"]
    assert (item.mean_a, item.mean_b) == (0.0, 0.75)  # a's mean is -0.75
    assert item.difference is not None and item.difference.value == 1.0 and item.p_value is not None
    assert found.macro is not None and found.macro.difference.value == 1.0 and item.p_value < 0.05
