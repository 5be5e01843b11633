# SPDX-License-Identifier: Apache-2.0
"""Tokens and their cost, and what is said where some were not counted."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from medix_verl.errors import ConfigError
from medix_verl.evaluation.stats.costs import Prices, costs_of, judge_tokens, model_tokens
from medix_verl.evaluation.store.records import Record

RECORD = Record("t", "1", "1", "q", "r", "text", "text", 1.0, "scored", tokens=(1000, 200))


def test_tokens_of_answers_are_added_up() -> None:
    lost = replace(RECORD, response="", value=None, status="error", reason="down", tokens=None)
    silent = replace(RECORD, tokens=None)
    assert model_tokens([RECORD, RECORD, silent, lost]) == {"given": 2000, "said": 400, "uncounted": 1}


def test_a_cost_is_that_of_a_million_tokens() -> None:
    tokens = {"model": model_tokens([RECORD] * 500), "judge": judge_tokens((300_000, 1000, 7))}
    manifest = {"done": {"a": {"tokens": tokens}, "b": {}}, "prices": asdict(Prices((2.0, 10.0), (1.0, 0.0)))}
    found = costs_of(manifest)
    assert found.cost == {"model": pytest.approx(0.5 * 2 + 0.1 * 10), "judge": pytest.approx(0.3)}
    assert found.line == (
        "Tokens: model 500,000 in and 100,000 out, cost 2; "
        "judge 300,000 in and 1,000 out (not counted: 7 answers), cost at least 0.3."
    )


def test_without_prices_and_counts() -> None:
    assert (
        "cost"
        not in costs_of(
            {"done": {"a": {"tokens": {"model": model_tokens([RECORD]), "judge": judge_tokens((0, 0, 0))}}}}
        ).line
    )
    assert costs_of({"done": {}}).line == "", "an evaluation of before says nothing of tokens"


@pytest.mark.parametrize(
    ("model", "judge", "message"),
    [
        ((1.0, None), (None, None), "--price-in and --price-out belong together"),
        ((None, None), (None, 1.0), "--judge-price-in and --judge-price-out belong together"),
        ((-1.0, 1.0), (None, None), "--price-in -1.0 --price-out 1.0"),
        ((float("nan"), 1.0), (None, None), "--price-in nan"),
    ],
)
def test_prices_that_are_none(model: tuple, judge: tuple, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Prices.of(model, judge)
