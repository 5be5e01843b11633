# SPDX-License-Identifier: Apache-2.0
"""GDPO's arithmetic against numbers worked out by hand, and what holds for any rewards."""

import asyncio
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.judge.judge import Question
from medix_verl.rewards.composite import CompositeReward, shares_of
from medix_verl.rewards.gdpo import advantages, normalise
from medix_verl.rewards.keys import to_verl
from medix_verl.rewards.spec import RewardSpec
from medix_verl.types import Reference, Similarity, Verdict

ONES = [1.0] * 4
SHARES = shares_of(RewardSpec())
TERMS = ("judge", "semantic", "format", "modality")
UNIT = st.floats(0, 1)


def extra(
    judge: float, semantic: float, form: float, modality: float | None = 1.0, score: float = 0.0
) -> dict[str, float]:
    applies = modality is not None
    return {
        "score": score,
        "judge": judge,
        "semantic": semantic,
        "format": form,
        "modality": modality if modality is not None else 0.0,
        "judge_ok": 1.0,
        "semantic_ok": 1.0,
        "modality_applies": float(applies),
    }


def test_contributions_by_hand() -> None:
    """0.9 (0.575 * 1 + 0.375 * 0 + 0.05 * 1) + 0.1 * 1 = 0.6625."""
    found = SHARES.contributions(extra(1, 0, 1, 1, score=0.6625))
    assert dict(zip(TERMS, found, strict=True)) == pytest.approx(
        {"judge": 0.5175, "semantic": 0.0, "format": 0.1, "modality": 0.045}
    )


def test_a_term_that_does_not_apply_adds_nothing_and_gives_its_weight_away() -> None:
    found = SHARES.contributions(extra(1, 1, 0, None, score=0.9))
    assert found == pytest.approx([0.9 * 0.575 / 0.95, 0.9 * 0.375 / 0.95, 0.0, 0.0])
    alone = {**extra(0, 0, 1, None, score=1.0), "judge_ok": 0.0, "semantic_ok": 0.0}
    assert SHARES.contributions(alone) == [0.0, 0.0, 1.0, 0.0]


class Fixed:
    endpoints = ()

    def __init__(self, correct: bool, cosine: float) -> None:
        self.correct, self.cosine = correct, cosine

    async def ask(self, question: Question) -> Verdict:
        return Verdict(self.correct, "fake")

    async def compare(self, candidate: str, reference: str) -> Similarity:
        return Similarity(self.cosine)

    async def close(self) -> None: ...


@given(st.booleans(), UNIT, st.sampled_from(["<X_RAY>", "", "x"]), st.sampled_from([None, "X_RAY", "MRI_SCAN"]))
def test_the_contributions_of_a_real_breakdown_add_up_to_its_score(
    correct: bool, cosine: float, head: str, modality: str | None
) -> None:
    both = Fixed(correct, cosine)
    text = f"{head}<think>t</think><answer>lung</answer>"
    found = to_verl(asyncio.run(CompositeReward(None, both, both).score(text, Reference("heart", modality))))
    parts = dict(zip(TERMS, SHARES.contributions(found), strict=True))
    assert math.fsum(parts.values()) == pytest.approx(found["score"], abs=1e-12)
    assert parts["format"] == pytest.approx(0.1 * found["format"], abs=1e-12)


def test_advantages_by_hand() -> None:
    """Two groups of two, one token each: z-scores of a pair are +-1/sqrt(2) (less the epsilon), 0 without spread."""
    parts = np.array([[0.5, 0.0], [0.0, 0.0], [0.5, 0.0], [0.5, 0.01]])
    z = 1 / math.sqrt(2)
    scores = normalise(parts, ["a", "a", "b", "b"], np.ones(4, dtype=bool))
    assert scores == pytest.approx(np.array([[z, 0], [-z, 0], [0, -z], [0, z]]), abs=1e-3)
    found = advantages(parts, ["a", "a", "b", "b"], [3.0, 1.0], [1, 1, 1, 1])
    # Weighed: 3z, -3z, -z, z; mean 0, variance (9 + 9 + 1 + 1) z^2 / 4 = 2.5.
    assert found == pytest.approx(np.array([3, -3, -1, 1]) * z / math.sqrt(2.5), abs=1e-3)


def test_a_narrow_term_counts_as_much_as_a_wide_one() -> None:
    """What GDPO is for: in the plain sum the second pair would have a tenth of the first pair's signal."""
    parts = np.array([[0.5, 0.0], [0.0, 0.0], [0.5, 0.05], [0.5, 0.0]])
    found = advantages(parts, ["a", "a", "b", "b"], [1.0, 1.0], [1, 1, 1, 1])
    assert found == pytest.approx([1, -1, 1, -1], abs=1e-3)


def test_whitening_is_over_tokens() -> None:
    found = advantages(np.array([[1.0], [0.0]]), ["a", "a"], [1.0], [3, 1])
    assert (found * [3, 1]).sum() == pytest.approx(0.0, abs=1e-6)
    assert (found**2 * [3, 1]).sum() / 4 == pytest.approx(1.0, abs=1e-5)
    assert found[1] == pytest.approx(-3 * found[0])


def test_rounding_of_equal_rewards_is_no_signal() -> None:
    parts = np.array([[0.5175, 0.1], [0.5175 + 3e-8, 0.1], [0.5175, 0.1]])
    assert advantages(parts, ["a"] * 3, [1.0, 1.0], [2, 2, 2]).tolist() == [0.0, 0.0, 0.0]


def test_padding_and_lone_answers_count_nowhere() -> None:
    parts = np.array([[0.5], [0.0], [9.0], [0.3]])
    found = advantages(parts, ["a", "a", "a", "b"], [1.0], [1, 1, 0, 1])
    assert found == pytest.approx([math.sqrt(1.5), -math.sqrt(1.5), 0.0, 0.0], abs=1e-4)
    assert advantages(parts, ["a"] * 4, [1.0], [0, 0, 0, 0]).tolist() == [0.0] * 4


@given(
    st.lists(st.tuples(st.lists(UNIT, min_size=4, max_size=4), st.integers(0, 2), st.integers(0, 5)), min_size=1),
    st.lists(UNIT, min_size=4, max_size=4),
)
def test_always_finite_and_centred(rows: list, weights: list[float]) -> None:
    parts = np.array([row[0] for row in rows])
    tokens = [row[2] for row in rows]
    found = advantages(parts, [row[1] for row in rows], weights, tokens)
    assert np.isfinite(found).all()
    assert (found * tokens).sum() == pytest.approx(0.0, abs=1e-6 * (1 + sum(tokens)))
