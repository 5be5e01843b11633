# SPDX-License-Identifier: Apache-2.0
"""Reading a judge's reply: the closed set and nothing that merely contains a verdict; P(YES) of log-probabilities."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.errors import JudgeError
from medix_verl.judge.reply import probability_of_yes, read_verdict

READ = [
    ("@", "the word"),
    (" @.\n", "white space, one full stop"),
    ("@,", "the beginning of a sentence that was cut"),
    ("@!", "another mark"),
    ("**@**", "bold"),
    ("**@.**", "a full stop within"),
    ("**@**.", "and behind"),
    ('"@"', "quotes"),
    ("\u201c@\u201d", "typographic quotes"),
    ("`@`", "code"),
    ("[@]", "brackets"),
    ("(@)", "parentheses"),
    ("@<|im_end|>", "a special token that the server left there"),
    ("@.<|eot_id|>", "with a full stop"),
    ("@</s>", "of another tokenizer"),
    ("\\boxed{@}", "a model that was trained on mathematics"),
    ("$\\boxed{\\text{@}}$", "the same, in full"),
    ("Verdict: @", "a label is no sentence"),
    ("**Verdict:** @", "a bold label"),
    ("**Final answer: @**", "all of it bold"),
    ("<answer>@</answer>", "the tag of reasoning models"),
    ("```\n@\n```", "a fence"),
    ('{"verdict": "@"}', "JSON"),
    (' {"verdict":"@"}\n', "without spaces"),
    ('{"Verdict": "@"}', "its key too"),
    ('```json\n{"verdict": "@"}\n```', "in a fence"),
    ('{"verdict": "@", "reason": "No finding differs"}', "a further key says what it will"),
    ('{"reason": "' + "x" * 1000 + '", "verdict": "@"}', "and as long as it will"),
]
"""A reply whose verdict stands at the @, and why it is read."""


@pytest.mark.parametrize(("word", "right"), [("YES", True), ("NO", False), ("yes", True), ("No", False)])
@pytest.mark.parametrize(("form", "why"), READ, ids=[why for _, why in READ])
def test_what_is_read(form: str, why: str, word: str, right: bool) -> None:
    assert read_verdict(form.replace("@", word)) is right, why


UNREAD = [
    ("", "nothing"),
    ("NOT YES", "a negation"),
    ("EYES", "another word"),
    ("YES NO", "both"),
    ("YES\nNO", "both, in lines"),
    ("YES/NO", "both, repeated from the prompt"),
    ("YES or NO", "the same"),
    ("[YES] [NO]", "both in brackets, which are no pair"),
    ("**YES** **NO**", "the same, bold"),
    ('"YES" and "NO"', "the same, in quotes"),
    ("Verdict: YES Verdict: NO", "two labels"),
    ("YES, because", "a sentence"),
    ("Yes it is", "a sentence"),
    ("The answer is YES", "a sentence"),
    ("I would say: YES", "a label that is a sentence"),
    ("Y", "a letter"),
    ("1", "a number"),
    ("YES?", "a question"),
    ("NO..", "two marks"),
    ("**YES", "half a pair"),
    ("YES**", "the other half"),
    ("YE\u017f", "a letter that becomes an S in capitals"),
    ("YES" * 500, "many words"),
    ("{}", "an object without a verdict"),
    ('{"verdict": true}', "no word"),
    ('{"verdict": ["YES"]}', "a list"),
    ('{"answer": "YES"}', "another key"),
    ('{"verdict": "NO", "verdict": "YES"}', "two verdicts"),
    ('{"verdict": "YES", "verdict": "YES"}', "two verdicts, though equal"),
    ('{"verdict": "YES", "final_verdict": "NO"}', "two verdicts under two names"),
    ('{"verdict": "YES", "same": "NO"}', "a further key that contradicts"),
    ('{"verdict": {"verdict": "YES"}}', "nested"),
    ('{"result": {"verdict": "YES"}}', "nested in another"),
    ('{"verdict": "YES", "then": {"verdict": "NO"}}', "nested, and another one"),
    ('[{"verdict": "YES"}]', "a list of verdicts"),
    ('{"verdict": "YES"} {"verdict": "NO"}', "two objects"),
    ('{"verdict": "MAYBE"}', "another word"),
    ('[["verdict", "YES"]]', "no object"),
    ('{"verdict": "YES"', "cut"),
    ("[" * 190, "deep"),
    ('{"a":' + "[" * 1900 + "]" * 1900 + "}", "deep, and whole"),
    ('Sure! ```json\n{"verdict": "YES"}\n```', "a sentence before the fence"),
]
"""A reply that is not a verdict, and why."""


@pytest.mark.parametrize(("reply", "why"), UNREAD, ids=[why for _, why in UNREAD])
def test_anything_else_is_no_verdict(reply: str, why: str) -> None:
    with pytest.raises(JudgeError, match="is not a verdict: .*; accepted: exactly YES or NO"):
        read_verdict(reply)


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
