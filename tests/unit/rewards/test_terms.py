# SPDX-License-Identifier: Apache-2.0
"""The arithmetic: the published levels, and what holds for any weights."""

import asyncio

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from helpers.places import golden
from medix_verl.response import parse_response
from medix_verl.rewards import composite
from medix_verl.rewards.spec import RewardSpec, WeightsSpec
from medix_verl.rewards.term import Answer
from medix_verl.rewards.terms import FormatTerm, ModalityTerm
from medix_verl.types import Reference, Response

CASES = golden("composite")
WEIGHT = st.floats(0, 1e308) | st.sampled_from([0.0, 5e-324, 0.05, 1.0])
UNIT = st.floats(0, 1)


def combine(
    spec: RewardSpec, form: float, judge: float | None, semantic: float | None, modality: float | None
) -> float:
    values = {"judge": judge, "semantic": semantic, "modality": modality}
    weighed = [(float(entry.weight or 0.0), values[name]) for name, entry in spec.content.items()]
    return composite.combine(weighed, form, spec.format_weight)


def format_term(response: Response) -> float | None:
    return asyncio.run(FormatTerm().score(Answer(response, Reference("a"))))


def modality_term(response: Response, reference: Reference) -> float | None:
    return asyncio.run(ModalityTerm().score(Answer(response, reference)))


@st.composite
def specs(draw: st.DrawFn) -> RewardSpec:
    weights = [draw(WEIGHT) for _ in range(3)]
    assume(0 < sum(weights) < float("inf"))
    return RewardSpec(WeightsSpec(*weights), format_weight=draw(UNIT))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["reason"])
def test_golden(case: dict) -> None:
    spec = RewardSpec.from_mapping({"weights": case["weights"]})
    score = combine(spec, case["format"], case["judge"], case["semantic"], case["modality"])
    assert score == pytest.approx(case["score"], abs=1e-12)


@given(specs(), UNIT, st.tuples(*[st.none() | UNIT] * 3))
def test_the_score_stays_in_its_bounds(spec: RewardSpec, form: float, terms: tuple) -> None:
    assert 0 <= combine(spec, form, *terms) <= 1


@given(specs(), st.tuples(*[st.none() | st.just(1.0)] * 3))
def test_a_perfect_answer_scores_one_whatever_applies(spec: RewardSpec, terms: tuple) -> None:
    assert combine(spec, 1.0, *terms) == 1.0


@given(specs(), UNIT, st.lists(st.none() | UNIT, min_size=3, max_size=3), st.integers(0, 3), UNIT)
def test_a_better_term_is_never_worse(
    spec: RewardSpec, form: float, terms: list[float | None], place: int, better: float
) -> None:
    values: list[float | None] = [form, *terms]
    old = values[place]
    assume(old is not None and better >= old)
    raised = [better if index == place else value for index, value in enumerate(values)]
    assert combine(spec, *raised) >= combine(spec, *values) - 1e-12  # type: ignore[arg-type]


def test_terms() -> None:
    good = parse_response("<X_RAY><think>t</think><answer>a</answer>")
    assert format_term(good) == 1.0
    assert format_term(parse_response("a")) == 0.0
    assert modality_term(good, Reference("a", modality="X_RAY")) == 1.0
    assert modality_term(good, Reference("a", modality="CT_SCAN")) == 0.0
    assert modality_term(parse_response("a"), Reference("a", modality="X_RAY")) == 0.0
    assert modality_term(good, Reference("a")) is None
