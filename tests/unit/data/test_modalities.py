# SPDX-License-Identifier: Apache-2.0
"""The table of modality words: what the sets use, that nothing unknown is guessed, and that a bad table is refused."""

from __future__ import annotations

import unicodedata

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


FOREIGN = {
    "X_RAY": "R\u00f6ntgenbild|radiographie|radiograf\u00eda de t\u00f3rax|X\u7ebf|\u80f8\u7247",
    "MICROSCOPY": "Histologie|anatomopathologie|microscop\u00eda|\u75c5\u7406\u5207\u7247",
    "CLINICAL_PHOTOGRAPHY": "Fotografie|dermatoscopie|fotograf\u00eda cl\u00ednica|\u76ae\u80a4\u955c",
    "CT_SCAN": "Computertomographie|tomodensitom\u00e9trie|TAC|CT\u626b\u63cf",
    "ANGIOGRAPHY": "Angiographie|art\u00e9riographie|angiograf\u00eda|\u8840\u7ba1\u9020\u5f71",
    "PET_SCAN": "Positronenemissionstomographie|TEP|tomograf\u00eda por emisi\u00f3n de positrones",
    "ULTRASOUND": "Ultraschall|ULTRASCHALL|\u00e9chographie|Echographie|ecograf\u00eda|ecografia|\u8d85\u58f0",
    "MRI_SCAN": "MRT|Kernspintomographie|IRM|resonancia magn\u00e9tica|\u78c1\u5171\u632f|\u6838\u78c1\u5171\u632f",
    "FUNDUS_PHOTOGRAPHY": "Augenhintergrund|fond d'\u0153il|fond d\u2019\u0153il|fondo de ojo|\u773c\u5e95\u7167\u7247",
    "OCT_SCAN": "optische Koh\u00e4renztomographie|tomograf\u00eda de coherencia \u00f3ptica",
    "ENDOSCOPY": "Endoskopie|Koloskopie|coloscopie|endoscopia|\u80c3\u955c|\u5185\u7aa5\u955c",
    "MAMMOGRAPHY": "Mammografie|mammographie|mamograf\u00eda|\u94bc\u9776",
    "FLUOROSCOPY": "Durchleuchtung|radioscopie|fluoroscopia|\u900f\u89c6",
    "GRAPHICS": "EKG|\u00e9lectrocardiogramme|electrocardiograma|\u5fc3\u7535\u56fe",
    "OTHER": "Szintigraphie|scintigraphie|gammagraf\u00eda|\u5176\u4ed6",
}


@pytest.mark.parametrize(("tag", "words"), FOREIGN.items())
def test_words_of_german_french_spanish_and_chinese(tag: str, words: str) -> None:
    for word in words.split("|"):
        assert (word, to_tag(word)) == (word, tag)
        assert to_tag(unicodedata.normalize("NFD", word)) == tag, "as a Mac writes it"
        assert to_tag(f"\ufeff{word}") == tag


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
    with pytest.raises(DataError, match=r"modalities\.json: 'XRAY' is not a tag; use one of X_RAY"):
        build_table({"XRAY": ["film"]})
