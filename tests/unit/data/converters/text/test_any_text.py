# SPDX-License-Identifier: Apache-2.0
"""Whatever texts a set's rows hold: one item for each row, ids unique, and every sample a valid row of the schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import set_layouts as made
from medix_verl.data.converters.base import resolve_options
from medix_verl.data.converters.registry import find, options_of
from medix_verl.data.schema import from_row, to_row
from medix_verl.types import Sample

FROM_ROWS = sorted(set(made.ROWS) - {"mimic-cxr", "iu-xray"})  # these two read files of their own

HUGE, DEEP = f"&#{'1' * 5000};", "[" * 100_000
odd = st.sampled_from(
    [
        "",
        " ",
        "yes",
        "A",
        "B:",
        "<image>",
        "&lt;b&gt;",
        "&#0;",
        "\ud800",
        "\x00",
        "2",
        "Focal uptake",
        HUGE,
        "[{[]: 1}]",
        DEEP,
    ]
)
texts = st.text(max_size=8) | odd


def disturbed(value: Any, draw: st.DrawFn) -> Any:
    """The same value with some of its texts and numbers replaced; bytes and keys stay."""
    if isinstance(value, dict):
        return {key: disturbed(item, draw) for key, item in value.items()}
    if isinstance(value, list):
        return [disturbed(item, draw) for item in value][: draw(st.integers(0, len(value)))]
    if isinstance(value, bytes) or not draw(st.booleans()):
        return value
    if isinstance(value, str):
        return draw(texts)
    return draw(st.none() | st.integers(-1, 3))


@st.composite
def rows_of(draw: st.DrawFn, name: str) -> list[dict[str, Any]]:
    rows = draw(st.lists(st.sampled_from(made.ROWS[name]), min_size=1, max_size=5))
    return [disturbed(row, draw) for row in rows]


@pytest.mark.parametrize("name", FROM_ROWS)
@given(data=st.data())
def test_every_row_gives_one_item_that_is_valid(name: str, data: st.DataObject) -> None:
    rows = data.draw(rows_of(name))
    converter = find(name)
    source = made.FakeSource(rows, resolve_options(name, options_of(converter), {}))
    items = list(converter.read(source, made.SPLITS.get(name, "train")))
    assert len(items) == len(rows) * (6 if name == "mmlu-medical" else 1)
    assert len({item.id for item in items}) == len(items)
    for item in items:
        if isinstance(item, Sample):
            assert from_row(to_row(item)) == item
            to_row(item)["meta"].encode("utf-8")
        else:
            assert item.id and item.reason
