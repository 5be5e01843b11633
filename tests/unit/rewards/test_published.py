# SPDX-License-Identifier: Apache-2.0
"""The published rule: where it differs from ours, and that it refuses no right answer."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError
from medix_verl.response import parse_response
from medix_verl.rewards.composite import CompositeReward
from medix_verl.rewards.reading import parse_published
from medix_verl.rewards.spec import RewardSpec
from medix_verl.types import Reference

GOOD = "<X_RAY><thinking>opacity</thinking><answer>pneumonia</answer>"


@pytest.mark.parametrize(
    ("text", "answer", "modality", "well_formed"),
    [
        (GOOD, "pneumonia", "X_RAY", True),
        ("< X_RAY >\n<thinking>a</ thinking> <answer> pneumonia. </answer>", "pneumonia", "X_RAY", True),
        (GOOD.replace("thinking", "think"), "pneumonia", "X_RAY", True),
        (GOOD.replace("pneumonia", "B"), "B", "X_RAY", True),
        (GOOD.replace("pneumonia", "ratio 1:2?"), "ratio 1:2?", "X_RAY", True),
        ("It is pneumonia.", "It is pneumonia", None, False),
        ("I see <X_RAY><thinking>a</thinking><answer>b c</answer>", "b c", None, True),
        ("<thinking>a</thinking><answer>first</answer><answer>last</answer>", "first", None, True),
        (GOOD + " and so on", "pneumonia", "X_RAY", False),
        ("<answer>b</answer><thinking>a</thinking>", "b", None, False),
        ("<answer></answer>", None, None, False),
        ("", None, None, False),
    ],
)
def test_parts(text: str, answer: str | None, modality: str | None, well_formed: bool) -> None:
    found = parse_published(text)
    assert (found.answer, found.modality, found.well_formed) == (answer, modality, well_formed)


def test_it_differs_from_our_parser_where_it_says() -> None:
    twice = "<thinking>a</thinking><answer>first</answer><answer>last</answer>"
    assert (parse_response(twice).answer, parse_response(twice).well_formed) == ("last", False)
    assert parse_response("It is pneumonia.").answer is None


@given(st.text(alphabet="<>/ thinkgaswer\n.", max_size=200))
def test_no_text_raises(text: str) -> None:
    parse_published(text)


def score(rule: str, text: str) -> float | None:
    spec = RewardSpec(rule=rule, semantic=SemanticSpec(enable=False))
    return CompositeReward(spec).score_sync(text, Reference("pneumonia", modality="X_RAY")).score


def test_the_rule_decides_the_score() -> None:
    assert score("published", GOOD) == score("medix", GOOD) == 1.0
    assert score("medix", "pneumonia") == 0.0
    assert score("published", "pneumonia") == pytest.approx(0.9 * 0.575 / 0.625)


def test_a_parsed_response_is_refused() -> None:
    reward = CompositeReward(RewardSpec(rule="published"))
    with pytest.raises(ConfigError, match="reads the whole text.*pass the model's text"):
        asyncio.run(reward.score(parse_response(GOOD), Reference("pneumonia")))


def test_an_unknown_rule() -> None:
    with pytest.raises(ConfigError, match="rule is 'publised'; accepted: medix, published; did you mean 'published'"):
        RewardSpec(rule="publised")
