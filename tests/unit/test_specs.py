# SPDX-License-Identifier: Apache-2.0
"""Specs that pydantic checks: one message for each thing that can be wrong, and nothing is converted."""

import math
import pickle
import subprocess
import sys
from copy import deepcopy
from dataclasses import FrozenInstanceError, asdict, field, fields, replace
from typing import Annotated, Any

import pytest

from medix_verl.errors import ConfigError, DataError
from medix_verl.specs import (
    Amount,
    Choice,
    Count,
    Integer,
    Natural,
    Number,
    Positive,
    Section,
    Share,
    Text,
    Words,
    check,
    read_mapping,
    spec,
)


@spec("part")
class PartSpec(Section):
    size: Natural = 0
    names: tuple[str, ...] = ()


@spec("whole of {title!r}", label="whole {title}: {key}")
class WholeSpec(Section):
    title: Text
    share: Share = 0.5
    amount: Amount = 1.0
    seconds: Positive | None = None
    count: Count = 1
    some: Annotated[int, Integer(0, 8)] = 3
    kind: Annotated[str, Choice(("rule", "openai"))] = "rule"
    words: Annotated[tuple[str, ...], Words(("a", "b"))] = ()
    on: bool = False
    note: str = ""
    part: PartSpec = field(default_factory=PartSpec)
    parts: tuple[PartSpec, ...] = ()
    extra: Annotated[float, Number(-1.0)] = field(default=0.0, metadata={"label": "other.{key}"})

    def __post_init__(self) -> None:
        if self.on and not self.count > 1:
            raise ConfigError("on needs count above 1; set count=2")
        if self.note == "data":
            raise DataError("a row is wrong")


@pytest.mark.parametrize("value", [True, "0.5", None, math.nan, math.inf, -0.1, 1.1])
def test_numbers(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"x is .*; set it to a finite number of at least 0 and at most 1"):
        check("x", value, Number(high=1.0))
    with pytest.raises(
        ConfigError, match=r"whole t: share is .*; set it to a finite number of at least 0 and at most 1$"
    ):
        WholeSpec("t", share=value)


def test_numbers_that_are_accepted() -> None:
    check("x", 1, Number(high=1.0))
    assert WholeSpec("t", seconds=None).seconds is None
    with pytest.raises(ConfigError, match="above 0"):
        check("x", 0, Number(above=True))
    with pytest.raises(ConfigError, match="seconds is 0; set it to a finite number above 0 or to null$"):
        WholeSpec("t", seconds=0)


def test_an_integer_stays_one_where_a_number_is_asked() -> None:
    assert repr(WholeSpec("t", amount=5).amount) == "5"


@pytest.mark.parametrize("value", [True, 1.0, "1", 0, None])
def test_integers(value: Any) -> None:
    with pytest.raises(ConfigError, match="set it to an integer of at least 1"):
        check("x", value, Integer(1))
    with pytest.raises(ConfigError, match="count is .*; set it to an integer of at least 1$"):
        WholeSpec("t", count=value)
    with pytest.raises(ConfigError, match="some is 9; set it to an integer of at least 0 and at most 8$"):
        WholeSpec("t", some=9)


@pytest.mark.parametrize("value", ["", "  ", 3, None])
def test_texts(value: Any) -> None:
    with pytest.raises(ConfigError, match="title is .*; set it to a non-empty text$"):
        WholeSpec(value)


@pytest.mark.parametrize("value", ["true", 1, None])
def test_flags(value: Any) -> None:
    with pytest.raises(ConfigError, match="on is .*; set it to true or false$"):
        WholeSpec("t", on=value)


def test_choices() -> None:
    with pytest.raises(ConfigError, match="x is 'rules'; accepted: rule, openai; did you mean 'rule'"):
        check("x", "rules", Choice(("rule", "openai")))
    with pytest.raises(ConfigError, match="x is 3; accepted: rule, openai$"):
        check("x", 3, Choice(lambda: ("rule", "openai")))
    with pytest.raises(ConfigError, match="kind is 'rules'; accepted: rule, openai; did you mean 'rule'"):
        WholeSpec("t", kind="rules")


def test_lists() -> None:
    assert WholeSpec("t", words=["b", "a", "b"]).words == ("b", "a")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="words is 'a'; give a list out of a, b$"):
        WholeSpec("t", words="a")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="words is 'c'; accepted: a, b"):
        WholeSpec("t", words=("a", "c"))
    with pytest.raises(ConfigError, match="part.names is 'a'; set it to a list of one or more texts$"):
        PartSpec(names="a")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="part.names is 3; set it to a text$"):
        PartSpec(names=("a", 3))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tilte": "x"}, "whole of None has an unknown key 'tilte'; accepted: title, .*; did you mean 'title'"),
        ({"title": "t", "zzzzz": 1}, "whole of 't' has an unknown key 'zzzzz'.*; remove it$"),
        ({"title": "t", 3: 1}, "unknown key 3"),
        ({"share": 0.1}, "whole of None lacks title; write it there"),
        ({"title": "t", "note": 3}, "whole t: note is 3; set it to a text$"),
        ({"title": "t", "part": {"size": -1}}, "^part.size is -1; set it to an integer of at least 0$"),
        ({"title": "t", "part": {"sise": 1}}, "part has an unknown key 'sise'"),
        ({"title": "t", "part": None}, r"part is None; it must be a mapping with keys of \['size', 'names'\]"),
        ({"title": "t", "parts": [{"size": 1}, {"size": "1"}]}, "part.size is '1'"),
        ({"title": "t", "extra": -2}, "^other.extra is -2; set it to a finite number of at least -1$"),
        ("rule", "whole of None is 'rule'; it must be a mapping"),
    ],
)
def test_what_a_mapping_may_not_hold(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WholeSpec.from_mapping(given)


def test_sections_are_read_with_what_is_in_them() -> None:
    made = read_mapping(WholeSpec, {"title": "t", "part": {"names": ["a", "b"]}, "parts": [{"size": 1}, {}]})
    assert (made.part, made.parts) == (PartSpec(names=("a", "b")), (PartSpec(1), PartSpec()))
    with pytest.raises(ConfigError, match="part is {}; it must be a PartSpec$"):
        WholeSpec("t", part={})  # type: ignore[arg-type]


def test_an_unknown_key_is_refused_however_a_spec_is_made() -> None:
    with pytest.raises(ConfigError, match="part has an unknown key 'sise'; accepted: size, names; did you mean 'size'"):
        PartSpec(sise=1)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="part.size is -1"):
        replace(PartSpec(), size=-1)


def test_a_rule_between_fields_comes_out_as_it_was_raised() -> None:
    with pytest.raises(ConfigError, match="^on needs count above 1; set count=2$") as caught:
        WholeSpec("t", on=True)
    assert caught.value.__context__ is None
    with pytest.raises(DataError, match="^a row is wrong$"):
        WholeSpec("t", note="data")


def test_a_refusal_does_not_carry_the_other_values() -> None:
    with pytest.raises(ConfigError) as caught:
        WholeSpec("t", count=0, note="http://user:password@host")
    assert caught.value.__context__ is None and caught.value.__cause__ is None


def test_a_spec_is_a_frozen_dataclass() -> None:
    made = WholeSpec("t", parts=(PartSpec(1),))
    assert pickle.loads(pickle.dumps(made)) == deepcopy(made) == made == replace(made)
    assert hash(made) == hash(replace(made, share=0.5)) and made != replace(made, share=0.6)
    assert [item.name for item in fields(made)][:2] == ["title", "share"]
    assert asdict(made)["parts"] == ({"size": 1, "names": ()},)
    assert not hasattr(made, "__dict__")
    with pytest.raises(FrozenInstanceError):
        made.share = 1.0  # type: ignore[misc]


def test_the_front_door_does_not_load_pydantic() -> None:
    code = "import sys, medix_verl, medix_verl.types, medix_verl.response; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
