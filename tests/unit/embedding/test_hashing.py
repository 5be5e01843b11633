# SPDX-License-Identifier: Apache-2.0
"""The encoder without a model."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.embedding.hashing import HashingEncoder, counts


def compare(left: str, right: str) -> float:
    encoder = HashingEncoder()
    value = asyncio.run(encoder.compare(left, right)).value
    asyncio.run(encoder.close())
    assert value is not None
    return value


def test_spelling_decides() -> None:
    assert compare("Pleural  effusion", "pleural effusion") == pytest.approx(1.0)
    assert 0.5 < compare("pleural effusions", "pleural effusion") < 1
    assert compare("fracture", "oedema") < 0.2
    assert compare("lung mass", "lung cyst") == pytest.approx(4 / 9)  # four of nine trigrams in common
    assert compare("", "") == 0.0


def test_the_same_in_every_process() -> None:
    assert counts("AB") == {1376: 1, 488: 1}


@given(st.text(st.characters(blacklist_categories=()), max_size=60), st.text(max_size=60))
def test_symmetric_and_bounded(left: str, right: str) -> None:
    assert 0 <= compare(left, right) <= 1
    assert compare(left, right) == pytest.approx(compare(right, left))
