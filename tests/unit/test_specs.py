# SPDX-License-Identifier: Apache-2.0
"""Strict reading of a recipe's sections: one message for each thing that can be wrong."""

import math

import pytest

from medix_verl.errors import ConfigError
from medix_verl.specs import check_choice, check_flag, check_integer, check_number, check_text


@pytest.mark.parametrize("value", [True, "0.5", None, math.nan, math.inf, -0.1, 1.1])
def test_numbers(value: object) -> None:
    with pytest.raises(ConfigError, match=r"x is .*; set it to a finite number of at least 0 and at most 1"):
        check_number("x", value, high=1.0)


def test_numbers_that_are_accepted() -> None:
    check_number("x", 1, high=1.0)
    check_number("x", None, optional=True)
    with pytest.raises(ConfigError, match="above 0"):
        check_number("x", 0, above=True)


@pytest.mark.parametrize("value", [True, 1.0, "1", 0, None])
def test_integers(value: object) -> None:
    with pytest.raises(ConfigError, match="set it to an integer of at least 1"):
        check_integer("x", value, low=1)


@pytest.mark.parametrize("value", ["", "  ", 3, None])
def test_texts(value: object) -> None:
    with pytest.raises(ConfigError, match="set it to a non-empty text"):
        check_text("x", value)


@pytest.mark.parametrize("value", ["true", 1, None])
def test_flags(value: object) -> None:
    with pytest.raises(ConfigError, match="set it to true or false"):
        check_flag("x", value)


def test_choices() -> None:
    with pytest.raises(ConfigError, match="x is 'rules'; accepted: rule, openai; did you mean 'rule'"):
        check_choice("x", "rules", ("rule", "openai"))
    with pytest.raises(ConfigError, match="x is 3; accepted: rule, openai$"):
        check_choice("x", 3, ("rule", "openai"))
