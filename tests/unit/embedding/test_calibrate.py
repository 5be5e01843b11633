# SPDX-License-Identifier: Apache-2.0
"""The fitted curve: it finds the curve that made the labels, and refuses what is no data."""

import asyncio
import math
import random

import pytest

from medix_verl.embedding.curve import Labelled, cosines_of, fit, worth
from medix_verl.embedding.hashing import HashingEncoder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import DataError
from medix_verl.types import Similarity


def drawn(low: float, high: float, count: int = 20_000) -> tuple[list[float], list[int]]:
    """Cosines and labels made by a known curve."""
    rng = random.Random(0)
    curve = SemanticSpec(mode="soft", curve="logistic", low=low, high=high)
    cosines = [rng.uniform(0, 1) for _ in range(count)]
    return cosines, [int(rng.random() < worth(curve, value)) for value in cosines]


def test_the_curve_that_made_the_labels_is_found() -> None:
    found = fit(*drawn(0.55, 0.85))
    assert found.low == pytest.approx(0.55, abs=0.02)
    assert found.high == pytest.approx(0.85, abs=0.02)
    assert found.brier < 0.7 * found.brier_of_share
    spec = found.apply(SemanticSpec())
    assert (spec.mode, spec.curve, spec.low, spec.high) == ("soft", "logistic", found.low, found.high)


def test_the_fit_is_where_the_likelihood_is_flat() -> None:
    """At a maximum the probabilities add up to the number of right pairs, whatever the ridge on the slope."""
    cosines, labels = drawn(0.4, 0.9, 500)
    curve = fit(cosines, labels).apply(SemanticSpec())
    assert math.fsum(worth(curve, value) for value in cosines) == pytest.approx(sum(labels), abs=0.01)


def test_labels_that_a_threshold_splits_have_a_fit() -> None:
    cosines = [number / 100 for number in range(100)]
    found = fit(cosines, [int(value >= 0.6) for value in cosines])
    assert found.low < 0.6 < found.high
    assert found.brier < 0.05


@pytest.mark.parametrize(
    ("cosines", "labels", "message"),
    [
        ([0.5] * 5, [1] * 5, "5 pairs with 5 labels; give at least 20"),
        ([0.5] * 30, [1] * 29, "30 pairs with 29 labels"),
        ([n / 30 for n in range(30)], [1] * 30, "labels are all alike"),
        ([n / 30 for n in range(30)], [0, 2] * 15, "not 0 and 1"),
        ([0.5] * 30, [0, 1] * 15, "every cosine is 0.5"),
        ([n / 30 for n in range(30)], [int(n < 15) for n in range(30)], "similar pairs are not the right ones"),
    ],
)
def test_refusals(cosines: list[float], labels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit(cosines, labels)


def test_from_texts() -> None:
    pairs = [Labelled(f"left lower lobe pneumonia {n}", f"left lower lobe pneumonia {n + 1}", 1) for n in range(15)]
    pairs += [Labelled("fracture", f"pleural effusion {n}", 0) for n in range(15)]
    found = fit(asyncio.run(cosines_of(pairs, HashingEncoder())), [pair.label for pair in pairs])
    assert found.pairs == 30
    assert 0 < found.low < found.high < 1


def test_a_pair_that_cannot_be_compared_is_refused() -> None:
    class Broken(HashingEncoder):
        async def compare(self, candidate: str, reference: str, restricted: bool = False) -> Similarity:
            return Similarity(None, "model gone")

    with pytest.raises(DataError, match="pair 1 could not be compared: model gone"):
        asyncio.run(cosines_of([Labelled("a", "b", 1)], Broken()))
