# SPDX-License-Identifier: Apache-2.0
"""Collisions: each kind inside a file and between files, what the spec drops, and the order of what is found."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from helpers.wheels import scikit_image
from medix_verl.data.duplicates import fingerprint_index as marks_module
from medix_verl.data.duplicates.collisions import Finding, find_duplicates
from medix_verl.data.duplicates.fingerprints import Fingerprint, PictureMarks, fingerprint, mark_picture
from medix_verl.data.prepare.checks import QualitySpec
from medix_verl.types import ImageRef, Sample

pictures = scikit_image()

SPEC = QualitySpec()
FUNDUS = Image.fromarray(pictures.retina()).resize((300, 300))
CELLS = Image.fromarray(pictures.immunohistochemistry()).resize((300, 300))
BLACK = Image.new("RGB", (64, 64))

VIGNETTE = (
    "A 54-year-old man comes to the emergency department because of crushing chest pain radiating to the left arm "
    "for two hours; he has smoked one pack of cigarettes daily for thirty years. What is the next step in management?"
)


def jpeg(picture: Image.Image, quality: int = 75) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def item(
    row_id: str, question: str, answer: str, *shown: Image.Image, options: Sequence[str] | None = None
) -> tuple[str, Fingerprint]:
    refs = tuple(ImageRef(bytes=b"x") for _ in shown)
    sample = Sample(row_id, "s", question, answer, images=refs, options=tuple(options) if options else None)
    return row_id, fingerprint(sample, [mark_picture(picture) for picture in shown])


def kinds(found: list[Finding]) -> list[tuple[str, str, str | None, str]]:
    return [(one.id, one.kind, one.other_file, one.other_id) for one in found]


def test_the_first_of_equal_rows_stays() -> None:
    rows = [
        item("a", "What is shown?", "retina", FUNDUS),
        item("b", "What is shown?", "cells", CELLS),
        item("c", " what is  SHOWN ?", "Retina.", FUNDUS),
        item("d", "What is shown?", "retina", FUNDUS),
    ]
    found = find_duplicates(rows, {}, SPEC)
    assert kinds(found) == [("c", "exact", None, "a"), ("d", "exact", None, "a")]
    assert all(one.drop for one in found) and [one.row for one in found] == [2, 3]


def test_a_picture_saved_as_jpeg_is_a_near_copy() -> None:
    rows = [
        item("a", "Which eye?", "left", FUNDUS),
        item("b", "Which eye?", "left", jpeg(FUNDUS)),
        item("c", "Which eye?", "left", jpeg(FUNDUS.resize((150, 150)))),
        item("d", "Which eye?", "left", CELLS),
        item("e", "Which eye?", "right", jpeg(FUNDUS)),
    ]
    found = find_duplicates(rows, {}, SPEC)
    assert kinds(found) == [("b", "near-exact", None, "a"), ("c", "near-exact", None, "a")]
    assert all(one.drop for one in found)


def test_a_row_that_is_near_a_dropped_row_only_stays() -> None:
    steps = [1 << 63, 1 << 63 | 0b1111, 1 << 63 | 0b111111111]
    shown = [PictureMarks(bytes([step % 251] * 16), step, bytes(32)) for step in steps]
    row = Sample("", "s", "Which eye?", "left", images=(ImageRef(path="p"),))
    rows = [(name, fingerprint(row, [one])) for name, one in zip("abc", shown, strict=True)]
    assert kinds(find_duplicates(rows, {}, SPEC)) == [("b", "near-exact", None, "a")]


@pytest.mark.parametrize(("bits", "near"), [(24, True), (25, False)])
def test_a_near_picture_must_be_confirmed(bits: int, near: bool) -> None:
    row = Sample("", "s", "Which eye?", "left", images=(ImageRef(path="p"),))
    first = PictureMarks(b"a" * 16, 1 << 63, bytes(32))
    second = PictureMarks(b"b" * 16, 1 << 63 | 1, ((1 << bits) - 1).to_bytes(32, "big"))
    (one, other) = (("a", fingerprint(row, [first])), ("b", fingerprint(row, [second])))
    assert [item.kind for item in find_duplicates([one, other], {}, SPEC)] == ["near-exact"] * near
    assert [item.kind for item in find_duplicates([one], {"e": [other]}, SPEC)] == (["near-image"] if near else [])


def test_every_picture_of_a_row_counts_and_so_does_their_order() -> None:
    rows = [
        item("a", "Compare them", "older", FUNDUS, CELLS),
        item("b", "Compare them", "older", CELLS, FUNDUS),
        item("c", "Compare them", "older", FUNDUS),
        item("d", "Compare them", "older", FUNDUS, CELLS, CELLS),
        item("e", "Compare them", "older", FUNDUS, jpeg(CELLS)),
        item("f", "Compare them", "older", FUNDUS, FUNDUS),
    ]
    assert kinds(find_duplicates(rows, {}, SPEC)) == [("e", "near-exact", None, "a")]


def test_another_answer_to_the_same_question_is_reported_and_stays() -> None:
    rows = [
        item("a", "Is it enlarged?", "yes", FUNDUS),
        item("b", "Is it enlarged?", "no", FUNDUS),
        item("c", "Is it enlarged?", "no", CELLS),
        item("d", VIGNETTE, "aspirin"),
        item("e", VIGNETTE, "ECG"),
    ]
    found = find_duplicates(rows, {}, SPEC)
    assert kinds(found) == [("b", "same-question", None, "a"), ("e", "same-question", None, "d")]
    assert not any(one.drop for one in found)
    strict = replace(SPEC, drop_within=("exact", "same-question"))
    assert all(one.drop for one in find_duplicates(rows, {}, strict))


def test_short_exam_questions_need_the_same_options() -> None:
    rows = [
        item("a", "Which is true?", "none", options=("it is red", "none")),
        item("b", "Which is true?", "none", options=("it is blue", "none")),
        item("c", "Which is true?", "it is red", options=("none", "it is red")),
        item("d", "Which is true?", "none", options=("none", "it is red")),
    ]
    assert kinds(find_duplicates(rows, {}, SPEC)) == [("c", "same-question", None, "a"), ("d", "exact", None, "a")]


def test_each_kind_of_leak_is_named_and_the_strongest_counts() -> None:
    against = {
        "vqa.parquet": [
            item("t1", "What is shown?", "retina", FUNDUS),
            item("t2", "Which stain?", "DAB", CELLS),
            item("t3", VIGNETTE, "ECG"),
        ]
    }
    rows = [
        item("exact", "What is shown?", "retina", FUNDUS),
        item("asked", "What is shown?", "an eye", FUNDUS),
        item("image", "Is the disc swollen?", "no", FUNDUS),
        item("near", "Is the disc swollen?", "no", jpeg(FUNDUS)),
        item("second", "Same patient?", "no", BLACK, jpeg(CELLS)),
        item("vignette", VIGNETTE, "aspirin"),
        item("text", "Read this case. " + VIGNETTE.replace("54", "61") + " Answer in one word.", "ECG"),
        item("clean", "Is the disc swollen?", "no", Image.fromarray(pictures.cell()).convert("RGB")),
        item("other text", VIGNETTE[:60] + " and nothing else was found in him or in anyone else at all", "ECG"),
    ]
    found = find_duplicates(rows, against, SPEC)
    assert kinds(found) == [
        ("exact", "exact", "vqa.parquet", "t1"),
        ("asked", "same-question", "vqa.parquet", "t1"),
        ("image", "same-image", "vqa.parquet", "t1"),
        ("near", "near-image", "vqa.parquet", "t1"),
        ("second", "near-image", "vqa.parquet", "t2"),
        ("vignette", "same-question", "vqa.parquet", "t3"),
        ("text", "near-text", "vqa.parquet", "t3"),
    ]
    assert all(one.drop for one in found)


def test_the_spec_decides_what_a_leak_drops() -> None:
    against = {"e": [item("t", "What is shown?", "retina", FUNDUS)]}
    rows = [item("a", "Old?", "no", FUNDUS), item("b", "Old?", "no", FUNDUS)]
    assert [one.drop for one in find_duplicates(rows, against, SPEC)] == [True, True]
    lenient = replace(SPEC, drop_between=("exact",))
    assert [(one.id, one.kind, one.drop) for one in find_duplicates(rows, against, lenient)] == [
        ("a", "same-image", False),
        ("b", "same-image", False),
        ("b", "exact", True),
    ]


@pytest.mark.parametrize(
    ("drop", "kind"),
    [(("same-image",), "same-image"), (("same-question",), "same-question"), (("near-text",), "exact")],
)
def test_an_exact_copy_goes_where_a_weaker_kind_of_leak_does(drop: tuple[str, ...], kind: str) -> None:
    row = item("a", "What is shown?", "retina", FUNDUS)
    against = {"e": [item("t", "What is shown?", "retina", FUNDUS)]}
    found = find_duplicates([row], against, replace(SPEC, drop_between=drop))
    leaks = [(one.kind, one.drop) for one in found if one.other_file]
    assert leaks == [(kind, kind in drop)]


@pytest.mark.parametrize("drop", ["near-exact", "same-question"])
def test_an_exact_copy_goes_where_a_weaker_kind_does(drop: str) -> None:
    rows = [item(name, "What is shown?", "retina", FUNDUS) for name in "ab"]
    found = find_duplicates(rows, {}, replace(SPEC, drop_within=(drop,)))
    assert [(one.id, one.kind, one.drop) for one in found] == [("b", drop, True)]


def test_a_leaked_row_is_no_rows_first_copy() -> None:
    against = {"e": [item("t", "What is shown?", "an eye", jpeg(FUNDUS, 95))]}
    rows = [
        item("a", "Old?", "no", jpeg(FUNDUS, 95)),
        item("b", "Old?", "no", jpeg(FUNDUS, 94)),
    ]
    assert kinds(find_duplicates(rows, against, replace(SPEC, distance=0, detail_distance=0)))[0][1] == "same-image"
    assert {one.other_file for one in find_duplicates(rows, against, SPEC)} == {"e"}


def test_black_pictures_are_no_leak_and_no_near_copies() -> None:
    against = {"e": [item("t", "What is shown?", "nothing", BLACK)]}
    rows = [item("a", "Which organ?", "lung", BLACK), item("b", "Which organ?", "lung", BLACK.resize((32, 32)))]
    assert find_duplicates(rows, against, SPEC) == []
    again = item("c", "What is shown?", "nothing", BLACK)
    assert kinds(find_duplicates([again], against, SPEC)) == [("c", "exact", "e", "t")]


def test_of_equal_kinds_the_first_file_counts() -> None:
    row = item("a", "Old?", "no", FUNDUS)
    weak = item("w", "New?", "no", FUNDUS)
    assert kinds(find_duplicates([row], {"one": [weak], "two": [weak]}, SPEC)) == [("a", "same-image", "one", "w")]
    assert kinds(find_duplicates([row], {"one": [weak], "two": [row]}, SPEC)) == [("a", "exact", "two", "a")]


def test_near_text_takes_a_share_of_the_shorter_question() -> None:
    words = [f"word{number}" for number in range(40)]
    whole, half, third = (" ".join(words[:count]) for count in (40, 26, 20))
    filler = " ".join(f"other{number}" for number in range(30))
    against = {"e": [item("t", whole, "x")]}
    rows = [item("half", half, "x"), item("third", f"{third} {filler}", "x"), item("none", filler, "x")]
    assert [one.id for one in find_duplicates(rows, against, SPEC)] == ["half"]
    assert [one.id for one in find_duplicates(rows, against, replace(SPEC, gram_share=0.2))] == ["half", "third"]
    with_picture = [item("picture", half, "x", FUNDUS)]
    assert find_duplicates(with_picture, against, SPEC) == []


def test_an_empty_file_collides_with_nothing() -> None:
    assert find_duplicates([], {"e": []}, SPEC) == []
    assert find_duplicates([item("a", "What?", "this", FUNDUS)], {"e": []}, SPEC) == []


def test_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    rows = [random_row(rng, number) for number in range(200)]
    against = {"e": [random_row(rng, number) for number in range(60)]}
    whole = find_duplicates(rows, against, SPEC)
    assert {one.kind for one in whole} >= {"exact", "same-question", "same-image", "near-image"}
    monkeypatch.setattr(marks_module, "PART_ROWS", 7)
    assert find_duplicates(rows, against, SPEC) == whole


def random_row(rng: np.random.Generator, number: int) -> tuple[str, Fingerprint]:
    """A row out of so few texts and pictures that collisions of every kind are common."""
    shown = []
    for _ in range(int(rng.integers(0, 3))):
        seed, bit = int(rng.integers(1, 9)), int(rng.integers(0, 4))
        shown.append(PictureMarks(bytes([seed, bit] * 8), seed * 0x9E3779B97F4A7C15 % 2**64 ^ 1 << bit, bytes(32)))
    sample = Sample(
        str(number), "s", f"q{rng.integers(6)}", f"a{rng.integers(2)}", images=(ImageRef(path="p"),) * len(shown)
    )
    return str(number), fingerprint(sample, shown)


def test_against_brute_force() -> None:
    rng = np.random.default_rng(2)
    rows = [random_row(rng, number) for number in range(300)]
    other = [random_row(rng, number) for number in range(40)]
    got = {one.row: one.kind for one in find_duplicates(rows, {"e": other}, SPEC) if one.other_file == "e"}
    expected = {row: kind for row, (_, mine) in enumerate(rows) if (kind := strongest(mine, [one for _, one in other]))}
    assert got == expected


def strongest(mine: Fingerprint, others: list[Fingerprint]) -> str | None:
    if any((mine.text, mine.images) == (one.text, one.images) for one in others):
        return "exact"
    if any((mine.question, mine.images) == (one.question, one.images) for one in others):
        return "same-question"
    if any(set(mine.images) & set(one.images) for one in others):
        return "same-image"
    near = any(
        (left ^ right).bit_count() <= SPEC.distance
        for one in others
        for left in mine.perceptual
        for right in one.perceptual
    )
    return "near-image" if near else None
