# SPDX-License-Identifier: Apache-2.0
"""Reading a ground truth: a tag only where there is one, and the explicit modality wins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.errors import DataError
from medix_verl.rewards.reading import parse_ground_truth
from medix_verl.types import MODALITIES, Reference


@pytest.mark.parametrize(
    ("text", "modality", "answer"),
    [
        ("<X_RAY>\npneumonia", "X_RAY", "pneumonia"),
        (" <ct scan> mass ", "CT_SCAN", "mass"),
        ("pneumonia", None, "pneumonia"),
        ("lesion > 3 cm", None, "lesion > 3 cm"),
        ("<5 mm", None, "<5 mm"),
        ("<5 mm> to <7 mm>", None, "<5 mm> to <7 mm>"),
        ("<XRAY> pneumonia", None, "<XRAY> pneumonia"),
        ("<MRI_SCAN> < 5 mm", "MRI_SCAN", "< 5 mm"),
    ],
)
def test_tags(text: str, modality: str | None, answer: str) -> None:
    assert parse_ground_truth(text) == Reference(answer, modality=modality)


@pytest.mark.parametrize("name", ["CT_SCAN", "<CT_SCAN>", "ct-scan", " CT scan "])
def test_an_explicit_modality_wins(name: str) -> None:
    assert parse_ground_truth("<X_RAY> mass", modality=name) == Reference("mass", modality="CT_SCAN")


def test_the_rest_is_kept() -> None:
    found = parse_ground_truth("B", question="q", options=["x", "y"], synonyms=["z"], tolerance=0.1)
    assert found == Reference("B", question="q", options=("x", "y"), synonyms=("z",), tolerance=0.1)
    assert parse_ground_truth("B", modality="", options=[]) == Reference("B")


@pytest.mark.parametrize("text", ["", "  ", "<X_RAY>", "<X_RAY>\n"])
def test_no_answer(text: str) -> None:
    with pytest.raises(DataError, match="has no answer; write the right answer behind the tag"):
        parse_ground_truth(text)


@pytest.mark.parametrize(("name", "hint"), [("X_RAYS", "did you mean X_RAY"), ("zzz", "SPECT$"), ("<>", "SPECT$")])
def test_an_unknown_modality(name: str, hint: str) -> None:
    with pytest.raises(DataError, match=f"modality is '{name}'; accepted: X_RAY, .*{hint}"):
        parse_ground_truth("mass", modality=name)


@given(st.sampled_from(MODALITIES), st.text(min_size=1, max_size=40).filter(lambda text: text.strip()))
def test_round_trip(modality: str, answer: str) -> None:
    assert parse_ground_truth(f"<{modality}>\n{answer}") == Reference(answer.strip(), modality=modality)
