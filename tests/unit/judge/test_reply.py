# SPDX-License-Identifier: Apache-2.0
"""Reading a judge's reply: the closed set and nothing that merely contains a verdict; P(YES) of log-probabilities."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.errors import JudgeError
from medix_verl.judge.reply import probability_of_yes, read_verdict


@pytest.mark.parametrize(
    ("reply", "right"),
    [("YES", True), ("no", False), (" Yes.\n", True), ("**NO**", False), ("**Yes.**", True), ("**YES**.", True)],
)
@pytest.mark.parametrize("structured", ["choice", "none"])
def test_plain(reply: str, right: bool, structured: str) -> None:
    assert read_verdict(reply, structured) is right


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "NOT YES",
        "EYES",
        "YES NO",
        "YES\nNO",
        "YES, because",
        "Y",
        "NO..",
        "**YES",
        "YES**",
        "NO!",
        "1",
        "YES" * 500,
    ],
)
def test_anything_else_is_no_verdict(reply: str) -> None:
    with pytest.raises(JudgeError, match="is no verdict: .*; accepted: exactly YES or NO"):
        read_verdict(reply)


@pytest.mark.parametrize(("reply", "right"), [('{"verdict": "YES"}', True), (' {"verdict":"no"}\n', False)])
def test_json(reply: str, right: bool) -> None:
    assert read_verdict(reply, "json_schema") is right


@pytest.mark.parametrize(
    "reply",
    [
        "YES",
        '"YES"',
        "{}",
        '{"verdict": true}',
        '{"answer": "YES"}',
        '{"verdict": "NO", "verdict": "YES"}',
        '{"verdict": "MAYBE"}',
        '[["verdict", "YES"]]',
        '{"verdict": "YES"',
        "[" * 190,
    ],
)
def test_json_that_is_no_verdict(reply: str) -> None:
    with pytest.raises(JudgeError, match="is no verdict"):
        read_verdict(reply, "json_schema")


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
