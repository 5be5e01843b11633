# SPDX-License-Identifier: Apache-2.0
"""Fingerprints: what counts as the same text and the same picture, and how near copies and others are."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from helpers.wheels import scikit_image
from medix_verl.data.duplicates.fingerprints import (
    FINGERPRINT_SCHEMA,
    GRAM_WORDS,
    PictureMarks,
    fingerprint,
    fold,
    from_record,
    mark_picture,
    to_record,
    words_of,
)
from medix_verl.data.duplicates.frame import unframed
from medix_verl.data.prepare.checks import QualitySpec
from medix_verl.types import ImageRef, Sample

pictures = scikit_image()

SPEC = QualitySpec()
PLAIN = Sample("a", "s", "What is shown?", "Retina")
EYE = Image.fromarray(pictures.retina()).resize((300, 300))


def encoded(picture: Image.Image, kind: str, **options: int) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return Image.open(buffer).convert("RGB")


def apart(one: PictureMarks, other: PictureMarks) -> tuple[int, int]:
    detail = int.from_bytes(one.detail, "big") ^ int.from_bytes(other.detail, "big")
    return (one.perceptual ^ other.perceptual).bit_count(), detail.bit_count()


@pytest.mark.parametrize(
    ("one", "other"),
    [("What is shown?", " what  IS\nshown ? "), ("X\u2019s sign", "x's sign."), ("５ mm", "5 mm"), ("肺癌？", "肺癌")],
)
def test_texts_that_are_the_same(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(
    ("one", "other"), [("10⁵", "105"), ("-5", "5"), ("< 3", "> 3"), ("HER2+", "HER2-"), ("a b", "ab")]
)
def test_texts_that_are_not(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@given(st.text(max_size=40))
def test_folding_twice_changes_nothing_more_than_once(text: str) -> None:
    assert fold(fold(text)).rstrip(" .,;:!?") == fold(text).rstrip(" .,;:!?")
    assert all(word for word in words_of(text))


def test_question_options_and_answer_do_not_run_into_each_other() -> None:
    two = [replace(PLAIN, question="ab", answer="c"), replace(PLAIN, question="a", answer="bc")]
    three = [replace(PLAIN, answer="a", options=("a", "b")), replace(PLAIN, answer="a", options=("b", "a"))]
    assert fingerprint(two[0], []).text != fingerprint(two[1], []).text
    assert (
        fingerprint(three[0], []).text
        == fingerprint(three[1], []).text
        != fingerprint(replace(PLAIN, answer="a"), []).text
    )


def test_the_question_alone_leaves_out_options_unless_it_is_short_and_without_a_picture() -> None:
    short = replace(PLAIN, answer="a", options=("a", "b"))
    other = replace(short, options=("a", "c"))
    assert fingerprint(short, []).question != fingerprint(other, []).question
    long = " ".join(f"w{n}" for n in range(GRAM_WORDS))
    assert (
        fingerprint(replace(short, question=long), []).question
        == fingerprint(replace(other, question=long), []).question
    )
    shown = {"images": (ImageRef(path="p"),)}
    marks = [mark_picture(EYE)]
    assert fingerprint(replace(short, **shown), marks).question == fingerprint(replace(other, **shown), marks).question


def test_runs_of_words_belong_to_long_text_questions_only() -> None:
    words = [f"w{n}" for n in range(GRAM_WORDS + 2)]
    long = replace(PLAIN, question=" ".join(words))
    grams = np.frombuffer(fingerprint(long, []).grams, "<u8")
    assert len(grams) == 3 and (np.diff(grams.astype(object)) > 0).all()
    swapped = replace(PLAIN, question=" ".join([words[1], words[0], *words[2:]]))
    assert len(np.intersect1d(grams, np.frombuffer(fingerprint(swapped, []).grams, "<u8"))) == 1
    assert fingerprint(replace(PLAIN, question=" ".join(words[: GRAM_WORDS - 1])), []).grams == b""
    assert fingerprint(replace(long, images=(ImageRef(path="p"),)), [mark_picture(EYE)]).grams == b""
    assert words_of("Brust-CT: 肺癌, T2?") == ["brust", "ct", "肺", "癌", "t2"]


def test_a_picture_saved_again_without_loss_is_the_same() -> None:
    first = mark_picture(EYE)
    for kind in ("PNG", "BMP", "TIFF"):
        assert mark_picture(encoded(EYE, kind)) == first
    assert mark_picture(encoded(EYE, "JPEG")).pixels != first.pixels
    assert mark_picture(EYE.resize((300, 299))).pixels != first.pixels
    tall, wide = Image.new("RGB", (2, 8), "red"), Image.new("RGB", (8, 2), "red")
    assert mark_picture(tall).pixels != mark_picture(wide).pixels


SOURCES = {
    "fundus": EYE,
    "histology": Image.fromarray(pictures.immunohistochemistry()).resize((256, 256)),
    "cell": Image.fromarray(pictures.cell()).convert("RGB"),
}
COPIES = {
    "jpeg 75": lambda one: encoded(one, "JPEG", quality=75),
    "half": lambda one: one.resize((one.width // 2, one.height // 2)),
    "400 x 400": lambda one: one.resize((400, 400)),
    "brighter": lambda one: ImageEnhance.Brightness(one).enhance(1.2),
    "darker": lambda one: ImageEnhance.Brightness(one).enhance(0.8),
    "contrast": lambda one: ImageEnhance.Contrast(one).enhance(1.2),
    "a white frame": lambda one: ImageOps.expand(one, 12, "white"),
    "a white frame, jpeg 75": lambda one: encoded(ImageOps.expand(one, 9, "white"), "JPEG", quality=75),
    "a grey frame, half": lambda one: (lambda it: it.resize((it.width // 2, it.height // 2)))(
        ImageOps.expand(one, 10, (90, 90, 90))
    ),
    "bars on two sides": lambda one: ImageOps.pad(one, (2 * one.width, 3 * one.height), color="white"),
}


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("source", SOURCES)
def test_a_changed_copy_is_near(source: str, copy: str) -> None:
    bits, detail = apart(mark_picture(SOURCES[source]), mark_picture(COPIES[copy](SOURCES[source])))
    assert bits <= SPEC.distance and detail <= SPEC.detail_distance


def test_other_pictures_are_far() -> None:
    rng = np.random.default_rng(0)
    crops = []
    for name in ("fundus", "histology"):
        pixels = np.asarray(SOURCES[name].resize((512, 512)))
        for _ in range(20):
            top, left = rng.integers(0, 384, 2)
            crops.append(mark_picture(Image.fromarray(pixels[top : top + 128, left : left + 128])))
    close = [
        (one, other)
        for number, one in enumerate(crops)
        for other in crops[:number]
        if apart(one, other)[0] <= SPEC.distance and apart(one, other)[1] <= SPEC.detail_distance
    ]
    assert close == []


def test_a_picture_without_structure_has_no_hash() -> None:
    assert mark_picture(Image.new("RGB", (50, 50), "black")).perceptual == 0
    speck = Image.new("L", (200, 200), 10)
    speck.putpixel((3, 3), 14)
    assert mark_picture(speck.convert("RGB")).perceptual == 0
    assert mark_picture(EYE).perceptual.bit_count() == 32


def test_a_table_gives_the_fingerprints_back() -> None:
    sample = replace(PLAIN, images=(ImageRef(path="p"), ImageRef(path="q")))
    rows = [("a", fingerprint(sample, [mark_picture(EYE)] * 2)), ("b", fingerprint(PLAIN, []))]
    table = pa.Table.from_pylist([to_record(*row) for row in rows], schema=FINGERPRINT_SCHEMA)
    assert [from_record(record) for record in table.to_pylist()] == rows


def test_what_is_no_frame_stays() -> None:
    disc = Image.new("L", (120, 100))
    ImageDraw.Draw(disc).ellipse((20, 10, 100, 90), fill=200)
    plain = np.asarray(disc)
    for grey in (plain, np.full((40, 30), 7, np.uint8), np.asarray(EYE.convert("L")), plain[:1], plain[:, :1]):
        assert np.array_equal(unframed(grey), grey)
    # A frame of the colour that the picture has at its edge cannot be told from it.
    assert np.array_equal(unframed(np.pad(plain, 5)), np.pad(plain, 5))
    assert np.array_equal(unframed(np.pad(plain, 5, constant_values=255)), plain)
    # Most of the picture is no bar.
    half = np.vstack([np.zeros((60, 50), np.uint8), np.full((50, 50), 90, np.uint8)])
    assert np.array_equal(unframed(half), half)
