# SPDX-License-Identifier: Apache-2.0
"""What a converter declares, the ids it gives, and the options that reach it."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.data.converters.base import Ids, Option, SetSpec, resolve_options
from medix_verl.errors import ConfigError

GOOD: Mapping[str, Any] = {
    "name": "x",
    "title": "X",
    "licence": "MIT",
    "task": "open",
    "pictures": True,
    "about": "a set",
    "splits": {"train": "train"},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "opne"}, "x: task is 'opne'; accepted: open, closed, mixed, report, rubric"),
        ({"splits": {"dev": "dev"}}, r"x: split \['dev'\]; accepted: train, val, test"),
        ({"splits": {}}, "x: split missing; accepted: train, val, test"),
        ({"rows": {"valid": 3}}, r"x: split \['valid'\]; accepted"),
    ],
)
def test_a_wrong_spec_is_refused(change: Mapping[str, Any], message: str) -> None:
    SetSpec(**GOOD)
    with pytest.raises(ConfigError, match=message):
        SetSpec(**{**GOOD, **change})


@given(st.lists(st.lists(st.one_of(st.text(), st.binary(), st.none()), max_size=3), max_size=20))
def test_ids_are_unique_and_stable(rows: list[list[Any]]) -> None:
    ids = Ids("set")
    names = [ids.of(*row) for row in rows]
    again = Ids("set")
    assert len(set(names)) == len(rows)
    assert names == [again.of(*row) for row in rows]


def test_a_row_that_is_there_twice_gets_a_number() -> None:
    ids = Ids("set")
    first, second, third = ids.of("a", b"b"), ids.of("a", b"b"), ids.of("a", b"b")
    assert (second, third) == (f"{first}-2", f"{first}-3")
    assert first.startswith("set-") and Ids("set").of("ab") != Ids("set").of("a", "b")


OFFERED = {"language": Option("en", "whose questions", ("en", "zh", "all")), "table": Option("", "the file")}


def test_options_have_their_defaults() -> None:
    assert resolve_options("x", OFFERED, {"table": "a.csv"}) == {"language": "en", "table": "a.csv"}


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"langage": "en"}, "x has no option 'langage'; accepted: language, table; did you mean 'language'"),
        ({"q": "1"}, "x has no option 'q'; accepted: language, table; leave it out"),
        ({"language": "fr"}, "x: option language is 'fr'; accepted: en, zh, all"),
    ],
)
def test_a_wrong_option_is_refused(given_: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_options("x", OFFERED, given_)
