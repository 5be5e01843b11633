# SPDX-License-Identifier: Apache-2.0
"""avg@k, pass@k and maj@k: against every subset, by golden cases, with clusters, and between two evaluations."""

import random
from dataclasses import replace
from itertools import combinations
from math import fsum
from pathlib import Path
from typing import Any

import pytest

from medix_verl.evaluation.stats.generations import (
    by_question,
    generations_of,
    majority_of,
    pass_at,
    steps_to,
)
from medix_verl.evaluation.stats.missing import Counting, cause_of, summary_of
from medix_verl.evaluation.stats.paired import compare, match
from medix_verl.evaluation.stats.summary import mean_of
from medix_verl.evaluation.store.read import Evaluation
from medix_verl.evaluation.store.records import Record, most_generations


def answers(
    values: list[float | None], texts: list[str | None] | None = None, name: str = "q", **more: Any
) -> list[Record]:
    """The generations of one question."""
    said = texts or [None if value is None else ("right" if value else f"wrong {n}") for n, value in enumerate(values)]
    fields: dict[str, Any] = {"cluster": name, "question": "Which?", "reference": "right", "response": "r", **more}
    return [
        Record("medqa", name, answer=text, value=value, status="scored", repeat=number, **fields)
        if value is not None
        else Record("medqa", name, answer=text, value=None, status="unscored", reason="?", repeat=number, **fields)
        for number, (value, text) in enumerate(zip(values, said, strict=True), start=1)
    ]


def test_pass_at_is_the_share_of_subsets_with_a_right_answer() -> None:
    rng = random.Random(0)
    for _ in range(40):
        count = rng.randrange(2, 9)
        values = [float(rng.random() < 0.3) for _ in range(count)]
        records = answers(list(values))
        for step in range(1, count + 1):
            subsets = list(combinations(values, step))
            (found,) = pass_at(records, step, count)
            assert found.value == pytest.approx(fsum(any(it) for it in subsets) / len(subsets))


@pytest.mark.parametrize(
    ("texts", "values", "options", "expected"),
    [
        (["A", "a.", "B", "C"], [1, 1, 0, 0], ("x", "y", "z"), 1.0),  # the same option in two spellings has two votes
        (["x", "A. x", "B", "B"], [1, 1, 0, 0], ("x", "y", "z"), 0.5),  # two to two: the mean of both
        (["B", "B", "A", "C"], [0, 0, 1, 0], ("x", "y", "z"), 0.0),  # most are wrong
        (["Left lung.", "left lung", "liver", "spleen"], [1, 1, 0, 0], None, 1.0),  # texts equal when normalised
        ([None, None, None, "liver"], [0, 0, 0, 1], None, 1.0),  # an answer that cannot be read has no vote
        ([None, None], [0, 0], None, 0.0),  # nobody votes, and nothing is right
        (["liver", "liver", "lung"], [1, 0, 0], None, 0.5),  # the judge passed one of two equal answers
    ],
)
def test_majority(texts: list[str | None], values: list[float], options: Any, expected: float) -> None:
    records = answers([float(value) for value in values], texts, options=options)
    (found,) = majority_of(records, len(values))
    assert found.value == expected


def test_the_average_is_one_value_a_question_and_one_answer_stays_as_it_is() -> None:
    records = [*answers([1.0, 0.0, 0.0, 1.0], name="a"), *answers([1.0, None, 0.0, 0.0], name="b")]
    assert [record.value for record in by_question(records)] == [0.5, pytest.approx(1 / 3)]
    single = [*answers([1.0], name="a"), *answers([None], name="b")]
    assert by_question(single) == single and generations_of(single, Counting()) is None
    assert most_generations(single) == 1 and steps_to(6) == [1, 2, 4, 6] and steps_to(8) == [1, 2, 4, 8]


def test_generations_of_a_question_are_no_independent_answers() -> None:
    rng = random.Random(1)
    single = [record for n in range(100) for record in answers([float(rng.random() < 0.5)], name=f"q{n}")]
    # The same answer eight times tells nothing more.
    many = [replace(record, repeat=n) for record in single for n in range(1, 9)]
    figures = generations_of(many, Counting())
    assert figures is not None and figures.average is not None and figures.questions == 100
    alone, summary = mean_of(single), summary_of("medqa", many, Counting()).overall.estimate
    assert alone is not None and summary is not None
    for found in (figures.average, figures.passes[1], figures.passes[8], figures.majority, summary):
        assert found is not None and found.value == alone.value
        assert found.high - found.low == pytest.approx(alone.high - alone.low, rel=0.05)


def test_pictures_hold_questions_together() -> None:
    records = [
        record
        for picture in range(30)
        for n in range(3)
        for record in answers([float(picture % 2)] * 4, name=f"p{picture}q{n}", cluster=f"p{picture}")
    ]
    figures = generations_of(records, Counting())
    assert figures is not None and figures.passes[4] is not None
    # 30 independent pictures, not 90 questions and not 360 answers.
    assert figures.passes[4].high - figures.passes[4].low > 0.3


def test_questions_without_all_their_scores_are_left_out_and_too_many_withhold_the_figure() -> None:
    whole = [record for n in range(99) for record in answers([1.0, 0.0], name=f"q{n}")]
    figures = generations_of([*whole, *answers([1.0, None], name="lost")], Counting())
    assert figures is not None and figures.left_out == 1 and figures.passes[2] is not None
    assert figures.passes[2].value == 1.0 and figures.passes[2].count == 99
    lost = [*whole[:20], *answers([1.0, None], name="lost")]
    figures = generations_of(lost, Counting())
    assert figures is not None and figures.passes == {1: None, 2: None} and figures.average is None
    wrong = generations_of(lost, Counting(errors="wrong"))
    assert wrong is not None and wrong.left_out == 0 and wrong.passes[2] is not None and wrong.passes[2].value == 1.0
    assert "1 of 22 answers have no score" in cause_of(lost, Counting(max_unscored=0.01))


def test_graded_tasks_have_an_average_only() -> None:
    figures = generations_of(answers([0.4, 0.8], answer_type="report"), Counting())
    assert figures is not None and figures.average is not None
    assert figures.average.value == pytest.approx(0.6) and figures.passes == {} and figures.majority is None


def test_one_answer_of_several_is_no_pair_of_its_own() -> None:
    (pair,) = match("medqa", answers([1.0, 0.0, 0.0, 0.0]), answers([0.0])).both
    assert (pair[0].value, pair[1].value) == (0.25, 0.0)


def evaluation(shares: dict[str, list[float]], folder: str = "a") -> Evaluation:
    records = tuple(record for name, values in shares.items() for record in answers(list(values), name=name))
    return Evaluation(Path(folder), {"model": folder}, {("medqa", "real"): records})


def test_training_can_raise_one_answer_and_not_what_k_reach() -> None:
    # Before: each question right once in four. After: half of them always, the other half never.
    before = evaluation({f"q{n}": [1.0, 0.0, 0.0, 0.0] for n in range(60)})
    after = evaluation({f"q{n}": [float(n % 2)] * 4 for n in range(60)}, "b")
    found = compare(before, after)
    item = found.generations["medqa"]
    assert list(item) == ["pass@1", "pass@2", "pass@4", "maj@4"]
    assert found.tasks["medqa"].difference == item["pass@1"].difference
    one, four = item["pass@1"].difference, item["pass@4"].difference
    assert one is not None and one.value == pytest.approx(0.25) and one.low > 0
    assert four is not None and four.value == pytest.approx(-0.5) and four.high < 0


def test_other_numbers_of_generations_are_compared_at_the_smaller_one_and_one_at_its_mean() -> None:
    four = evaluation({f"q{n}": [1.0, 0.0, 0.0, 0.0] for n in range(20)})
    two = evaluation({f"q{n}": [1.0, 0.0] for n in range(20)}, "b")
    figures = compare(four, two).generations["medqa"]
    assert list(figures) == ["pass@1", "pass@2"]
    assert (figures["pass@2"].mean_a, figures["pass@2"].mean_b) == (pytest.approx(0.5), 1.0)
    single = evaluation({f"q{n}": [1.0] for n in range(20)}, "c")
    found = compare(four, single)
    assert found.generations == {} and found.tasks["medqa"].mean_a == pytest.approx(0.25)
