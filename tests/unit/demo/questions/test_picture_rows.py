# SPDX-License-Identifier: Apache-2.0
"""The demo's samples: deterministic, valid, mixed as promised, and right by construction."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from helpers.wheels import scikit_image
from medix_verl.data.schema import from_row, to_row
from medix_verl.demo.questions import picture_rows as rows
from medix_verl.demo.questions.draw import CYAN, PLACES
from medix_verl.demo.questions.picture_questions import FACTS, MODALITY_NAMES, SIDES
from medix_verl.demo.questions.picture_rows import TAGS, demo_samples
from medix_verl.demo.questions.pictures import SOURCES, SourcePicture
from medix_verl.errors import ConfigError
from medix_verl.types import Sample

scikit_image()
TRAIN = list(demo_samples("train", 200, seed=0))
VAL = list(demo_samples("val", 60, seed=0))


def picture(sample: Sample, number: int = 0) -> np.ndarray:
    with Image.open(io.BytesIO(sample.images[number].bytes or b"")) as image:
        return np.asarray(image.convert("RGB"))


def of_kind(kind: str) -> list[Sample]:
    chosen = [sample for sample in TRAIN if sample.meta["kind"] == kind]
    assert chosen
    return chosen


def test_the_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    assert list(demo_samples("train", 20, seed=0)) == TRAIN[:20]
    assert list(demo_samples("train", 20, seed=1)) != TRAIN[:20]


def test_every_row_is_valid_and_ids_are_unique() -> None:
    both = TRAIN + VAL
    assert [from_row(to_row(sample)) for sample in both] == both
    assert len({sample.id for sample in both}) == len(both)
    assert {sample.split for sample in TRAIN} == {"train"} and {sample.split for sample in VAL} == {"val"}


def test_the_mix_is_as_promised() -> None:
    pictures = Counter(len(sample.images) for sample in TRAIN)
    assert pictures == {0: 30, 1: 160, 2: 10}
    assert all((sample.modality is None) == (not sample.images) for sample in TRAIN)
    seen = Counter(sample.modality for sample in TRAIN if sample.modality)
    assert set(seen) == set(TAGS) == set(MODALITY_NAMES) and len(TAGS) >= 6
    assert max(seen.values()) < 3 * min(seen.values())
    assert {sample.meta["kind"] for sample in TRAIN} == {
        "modality", "shows", "where", "count", "size", "organ", "yesno",
    }  # fmt: skip


def test_pictures_are_small_and_their_sizes_differ() -> None:
    sizes = {picture(sample).shape for sample in TRAIN if sample.images}
    assert sizes == {(96, 96, 3), (64, 96, 3), (96, 64, 3)}


def test_pictures_are_varied() -> None:
    encoded = [ref.bytes for sample in TRAIN for ref in sample.images]
    assert len(set(encoded)) == len(encoded)


def test_no_picture_of_validation_is_one_of_training() -> None:
    seen = {ref.bytes for sample in TRAIN for ref in sample.images}
    assert not any(ref.bytes in seen for sample in VAL for ref in sample.images)


def test_every_row_names_its_source_and_licence() -> None:
    assert all(sample.meta["source"] and sample.meta["licence"] for sample in TRAIN)
    assert all(sample.data_source == "medix_demo" for sample in TRAIN)


def test_modality_answers_are_those_of_the_tag() -> None:
    for sample in of_kind("modality"):
        assert sample.modality is not None
        assert sample.answer == MODALITY_NAMES[sample.modality][0]
        assert sample.answer not in sample.meta["synonyms"]


def cyan(sample: Sample) -> np.ndarray:
    return (picture(sample) == CYAN).all(axis=2)


def test_the_mark_lies_where_the_answer_says() -> None:
    for sample in of_kind("where"):
        mark = cyan(sample)
        down_pixels, columns = np.nonzero(mark)
        down = "upper" if down_pixels.mean() < mark.shape[0] / 2 else "lower"
        across = "left" if columns.mean() < mark.shape[1] / 2 else "right"
        assert sample.answer == f"{down} {across}" and sample.answer in PLACES


def test_there_are_as_many_marks_as_the_answer_says() -> None:
    for sample in of_kind("count"):
        mark = cyan(sample)
        quarters = [part for half in np.array_split(mark, 2, axis=0) for part in np.array_split(half, 2, axis=1)]
        assert sum(bool(part.any()) for part in quarters) == int(sample.answer)


def test_the_square_is_as_wide_as_the_answer_says() -> None:
    for sample in of_kind("size"):
        down, across = np.nonzero(cyan(sample))
        side = int(across.max() - across.min()) + 1
        assert side == int(down.max() - down.min()) + 1 and side in SIDES
        value, unit = sample.answer.split()
        assert int(value) == (2 * side if unit == "mm" else side)
        assert ("2 mm" in sample.question) == (unit == "mm")


def test_only_one_size_is_within_the_tolerance() -> None:
    tolerance = of_kind("size")[0].meta["tolerance"]
    assert all(abs(a - b) > tolerance * b for a in SIDES for b in SIDES if a != b)


def test_facts_are_unambiguous_and_yes_is_as_frequent_as_no() -> None:
    answers = Counter(answer for _, answer, _ in FACTS)
    assert answers["yes"] == answers["no"] == 2
    words = [text for texts, _, _ in FACTS for text in texts]
    assert len(words) == len(set(words))


def test_the_second_picture_is_the_one_that_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    colours = {source.name: (10 * number, 0, 0) for number, source in enumerate(SOURCES)}

    def flat(rng: np.random.Generator, source: SourcePicture, split: str) -> Image.Image:
        return Image.new("RGB", (64, 64), colours[source.name])

    monkeypatch.setattr(rows, "crop_picture", flat)
    pairs = [sample for sample in demo_samples("train", 200) if len(sample.images) == 2]
    assert len(pairs) == 10 and all("second" in sample.question for sample in pairs)
    assert all(tuple(picture(sample, 1)[0, 0]) == colours[sample.meta["source"]] for sample in pairs)
    assert any(tuple(picture(sample, 0)[0, 0]) != colours[sample.meta["source"]] for sample in pairs)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="demo split 'test' is not known; use one of train, val"):
        next(demo_samples("test", 1))
    with pytest.raises(ConfigError, match="demo row count is 0; give 1 or more"):
        next(demo_samples("train", 0))
