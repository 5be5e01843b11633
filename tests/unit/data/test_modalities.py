# SPDX-License-Identifier: Apache-2.0
"""The table of modality words: what the sets use, that nothing unknown is guessed, and that a bad table is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.data.modalities import build_table, known_words, read_modality, to_tag
from medix_verl.errors import DataError
from medix_verl.types import MODALITIES

# The words that OmniMedVQA, SLAKE and PubMedVision publish, with their own spelling mistakes.
PUBLISHED = {
    "CT(Computed Tomography)": "CT_SCAN",
    "MR (Mag-netic Resonance Imaging)": "MRI_SCAN",
    "OCT (Optical Coherence Tomography": "OCT_SCAN",
    "ultrasound": "ULTRASOUND",
    "X-Ray": "X_RAY",
    "Dermoscopy": "CLINICAL_PHOTOGRAPHY",
    "Microscopy Images": "MICROSCOPY",
    "Fundus Photography": "FUNDUS_PHOTOGRAPHY",
    "Infrared Reflectance Imaging": "FUNDUS_PHOTOGRAPHY",
    "Endoscopy": "ENDOSCOPY",
    "Colposcopy": "CLINICAL_PHOTOGRAPHY",
    "Digital Photography": "CLINICAL_PHOTOGRAPHY",
    "CT": "CT_SCAN",
    "MRI": "MRI_SCAN",
    "Computed Tomography": "CT_SCAN",
    "Magnetic Resonance Imaging": "MRI_SCAN",
    "Positron Emission Tomography": "PET_SCAN",
    "Others": "OTHER",
    "MG": "MAMMOGRAPHY",
    "RF": "FLUOROSCOPY",
    "Angiography": "ANGIOGRAPHY",
    "SPECT": "SPECT",
    "Flowchart": "GRAPHICS",
}


@pytest.mark.parametrize(("word", "tag"), PUBLISHED.items())
def test_the_words_of_the_public_sets_have_a_tag(word: str, tag: str) -> None:
    assert to_tag(word) == tag
    assert read_modality(word).known


@pytest.mark.parametrize("tag", MODALITIES)
def test_every_tag_is_a_word_of_itself_and_has_words(tag: str) -> None:
    assert to_tag(tag) == tag
    assert sum(found == tag for found in known_words().values()) > 3


@pytest.mark.parametrize("word", [None, "", "  ", float("nan")])
def test_no_word_is_no_tag(word: object) -> None:
    found = read_modality(word)
    assert (found.tag, found.word, found.known) == (None, "", True)


@pytest.mark.parametrize("word", ["hologram", "not a CT", "CT or MRI", 7])
def test_an_unknown_word_is_other_and_says_so(word: object) -> None:
    found = read_modality(word)
    assert (found.tag, found.word, found.known) == ("OTHER", str(word), False)


@given(st.text())
def test_any_word_gets_one_of_the_tags_or_none(word: str) -> None:
    assert read_modality(word).tag in (None, *MODALITIES)


def test_a_word_under_two_tags_is_refused() -> None:
    with pytest.raises(DataError, match=r"modalities\.json: 'x ray' stands under X_RAY and CT_SCAN; keep one"):
        build_table({"X_RAY": ["X-ray"], "CT_SCAN": ["x ray"]})


def test_a_tag_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match=r"modalities\.json: 'XRAY' is no tag; use one of X_RAY"):
        build_table({"XRAY": ["film"]})
