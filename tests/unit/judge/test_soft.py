# SPDX-License-Identifier: Apache-2.0
"""P(YES) from log-probabilities of any shape, and None from nonsense."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medix_verl.judge.soft import probability_of_yes


def at(token: str, top: dict[str, float]) -> dict[str, Any]:
    entries = [{"token": text, "logprob": math.log(share)} for text, share in top.items()]
    own = math.log(top.get(token, 1e-9))
    return {"token": token, "logprob": own, "top_logprobs": entries}


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (at("YES", {"YES": 0.6, "NO": 0.2}), 0.75),
        (at("NO", {"NO": 0.6, "YES": 0.2}), 0.25),
        (at("YES", {"YES": 0.3, " Yes": 0.2, "yes": 0.1, "NO": 0.1, "\u2581no": 0.1}), 0.75),
        (at("YES", {"YES": 0.9, "maybe": 0.1}), 1.0),
        (at("NO", {"NO": 0.9}), 0.0),
        (at("YES", {"YES": 0.6, "N": 0.3, "NO": 0.2}), 0.75),
        (at("Y", {"Y": 0.6, "N": 0.2}), 0.75),
        ({"token": "YES", "logprob": -0.5}, 1.0),
        ({"token": "YES", "logprob": -9999.0, "top_logprobs": [{"token": "NO", "logprob": 0.0}]}, 0.0),
        (at("maybe", {"maybe": 0.9}), None),
        ({"token": "YES", "logprob": float("nan"), "top_logprobs": None}, None),
        ({"token": "YES", "logprob": "high", "top_logprobs": [3, {"token": 1}]}, None),
        ({"token": 3}, None),
    ],
)
def test_one_position(position: dict[str, Any], expected: float | None) -> None:
    found = probability_of_yes({"content": [position]})
    assert found == (None if expected is None else pytest.approx(expected))


def test_white_space_and_marks_before_the_word_are_passed_over() -> None:
    content = [at("\n", {"\n": 0.9}), at("**", {"**": 0.9}), at("YES", {"YES": 0.6, "NO": 0.2})]
    assert probability_of_yes({"content": content}) == pytest.approx(0.75)


@pytest.mark.parametrize("logprobs", [None, {}, {"content": None}, {"content": []}, {"content": [None]}, [], "x", 3])
def test_none_from_nonsense(logprobs: Any) -> None:
    assert probability_of_yes(logprobs) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.sampled_from(["YES", "NO"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["content", "token", "logprob", "top_logprobs"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_shape_gives_a_probability_or_none(logprobs: Any) -> None:
    found = probability_of_yes(logprobs)
    assert found is None or 0 <= found <= 1
