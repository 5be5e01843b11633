# SPDX-License-Identifier: Apache-2.0
"""What a cosine is worth: the published step, and curves that never fall and never leave [0, 1]."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.embedding.curve import worth
from medix_verl.embedding.spec import CURVES, SemanticSpec

cosine = st.floats(-1, 1)


@pytest.mark.parametrize(("value", "expected"), [(0.79, 0.0), (0.8, 1.0), (1.0, 1.0), (-1.0, 0.0)])
def test_the_published_step(value: float, expected: float) -> None:
    assert worth(SemanticSpec(), value) == expected


@pytest.mark.parametrize(
    ("curve", "value", "expected"),
    [
        ("linear", 0.5, 0.0),
        ("linear", 0.4, 0.0),
        ("linear", 0.8, 0.75),
        ("linear", 0.95, 1.0),
        ("logistic", 0.5, 0.1),
        ("logistic", 0.7, 0.5),
        ("logistic", 0.8, 0.75),
        ("logistic", 0.9, 0.9),
    ],
)
def test_the_curves(curve: str, value: float, expected: float) -> None:
    assert worth(SemanticSpec(mode="soft", curve=curve, low=0.5, high=0.9), value) == pytest.approx(expected)


@given(st.sampled_from(CURVES), cosine, cosine, st.floats(-1, 0.99), st.floats(1e-6, 1))
def test_more_similar_is_never_worth_less(curve: str, left: float, right: float, low: float, width: float) -> None:
    spec = SemanticSpec(mode="soft", curve=curve, low=low, high=low + width)
    values = [worth(spec, value) for value in sorted((left, right))]
    assert 0 <= values[0] <= values[1] <= 1
