# SPDX-License-Identifier: Apache-2.0
"""Passes over texts sorted by length: every text once, none too large, little padding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.embedding.local import cut, takes_passes


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([], []),
        ([5], [(0, 1)]),
        ([1, 1, 1, 1, 1], [(0, 4), (4, 5)]),
        ([3, 3, 3, 9], [(0, 3), (3, 4)]),
        ([20, 30], [(0, 1), (1, 2)]),
    ],
)
def test_cuts(lengths: list[int], expected: list[tuple[int, int]]) -> None:
    assert cut(lengths, 4, 12) == expected


@given(st.lists(st.integers(1, 600)).map(sorted), st.integers(1, 64), st.integers(1, 2000))
def test_every_text_is_in_one_pass_that_is_not_too_large(lengths: list[int], batch_size: int, tokens: int) -> None:
    passes = cut(lengths, batch_size, tokens)
    assert [row for begin, end in passes for row in range(begin, end)] == list(range(len(lengths)))
    for begin, end in passes:
        assert end - begin <= batch_size
        assert end - begin == 1 or (end - begin) * lengths[end - 1] <= tokens


def test_a_model_that_needs_its_own_encode_keeps_it() -> None:
    class Tokenizer:
        padding_side = "right"

    class Model:
        tokenizer = Tokenizer()
        default_prompt_name: str | None = None

        def preprocess(self) -> None: ...

        def __call__(self) -> None: ...

    assert takes_passes(Model())
    prompted = Model()
    prompted.default_prompt_name = "query"
    assert not takes_passes(prompted)
    assert not takes_passes(object())
