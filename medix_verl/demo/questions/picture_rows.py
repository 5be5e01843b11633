# SPDX-License-Identifier: Apache-2.0
"""The demo's samples: a fixed mix of question kinds over all sources, deterministic for a seed.

Of every twenty rows, three are text-only, one has two pictures, and sixteen have one. Two thirds ask for the modality,
which a policy of this size can learn; the rest adds variety. Sources are drawn by modality, so that the modalities are
equally frequent and always answering the same one is no better than chance. A row with two pictures has the modality
tag of the second, which is the one that is asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from medix_verl.demo.questions.draw import crop_picture, encode_png
from medix_verl.demo.questions.picture_questions import (
    Question,
    ask_count,
    ask_fact,
    ask_modality,
    ask_second_modality,
    ask_shows,
    ask_size,
    ask_where,
)
from medix_verl.demo.questions.pictures import SOURCES, SourcePicture
from medix_verl.errors import ConfigError
from medix_verl.types import ImageRef, Sample

__all__ = ["DATA_SOURCE", "SPLITS", "check_request", "demo_samples"]

DATA_SOURCE = "medix_demo"
SPLITS = ("train", "val")
FACT, SECOND = "fact", "second"
PATTERN = (
    "modality", "shows", "modality", "fact", "modality", "where", "modality", "modality", "modality", "count",
    "fact", "modality", "modality", "size", "second", "modality", "modality", "modality", "fact", "modality",
)  # fmt: skip
"""The kinds of twenty consecutive rows, mixed so that every batch of sixteen has nearly all of them."""

ABOUT_ONE: dict[str, Callable[[np.random.Generator, SourcePicture, Image.Image], Question]] = {
    "modality": ask_modality,
    "shows": ask_shows,
    "where": ask_where,
    "count": ask_count,
    "size": ask_size,
}
TAGS = tuple(dict.fromkeys(source.modality for source in SOURCES))


def demo_samples(split: str, count: int, seed: int = 0) -> Iterator[Sample]:
    """Samples of a split; each depends only on the seed, the split and its index.

    Raises:
        ConfigError: The split is unknown or the count is not positive.
    """
    check_request(split, count)
    for number in range(count):
        yield demo_sample(split, number, np.random.default_rng([seed, SPLITS.index(split), number]))


def check_request(split: str, count: int) -> None:
    """Check the split and the number of rows.

    Raises:
        ConfigError: As demo_samples.
    """
    if split not in SPLITS:
        raise ConfigError(f"demo split {split!r} is not known; use one of {', '.join(SPLITS)}")
    if count < 1:
        raise ConfigError(f"demo row count is {count}; give 1 or more")


def demo_sample(split: str, number: int, rng: np.random.Generator) -> Sample:
    kind = PATTERN[number % len(PATTERN)]
    source: SourcePicture | None = None
    if kind == FACT:
        question, name, licence = ask_fact(rng), "text", "own wording"
    else:
        source = choose_source(rng)
        name, licence = source.name, source.licence
        image = crop_picture(rng, source, split)
        if kind == SECOND:
            first = crop_picture(rng, choose_source(rng), split)
            question = ask_second_modality(rng, source, first, image)
        else:
            question = ABOUT_ONE[kind](rng, source, image)
    return Sample(
        id=f"demo-{split}-{number:05d}",
        data_source=DATA_SOURCE,
        question=question.text,
        answer=question.answer,
        modality=source.modality if source else None,
        images=tuple(ImageRef(bytes=encode_png(image)) for image in question.images),
        split=split,
        meta=describe(question, name, licence),
    )


def choose_source(rng: np.random.Generator) -> SourcePicture:
    tag = TAGS[int(rng.integers(len(TAGS)))]
    candidates = [source for source in SOURCES if source.modality == tag]
    return candidates[int(rng.integers(len(candidates)))]


def describe(question: Question, source: str, licence: str) -> dict[str, object]:
    meta: dict[str, object] = {
        "kind": question.kind,
        "source": source,
        "licence": licence,
        "synonyms": list(question.synonyms),
    }
    if question.tolerance is not None:
        meta["tolerance"] = question.tolerance
    return meta
