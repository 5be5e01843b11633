# SPDX-License-Identifier: Apache-2.0
"""The demo's samples: a fixed mix of the kinds of question over all sources, the same for the same seed.

Of every twenty rows three are text-only, one has two pictures, and sixteen have one. Two thirds ask for the modality,
which a policy of this size can learn; the rest is there for variety. Sources are taken modality by modality, so that
the modalities are equally frequent and always naming one of them is no better than chance. A row with two pictures
carries the modality tag of the second one, which is the one that is asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from medix_verl.demo.draw import crop_picture, encode_png
from medix_verl.demo.pictures import SOURCES, SourcePicture
from medix_verl.demo.questions import (
    Question,
    ask_count,
    ask_fact,
    ask_modality,
    ask_second_modality,
    ask_shows,
    ask_size,
    ask_where,
)
from medix_verl.errors import ConfigError
from medix_verl.types import ImageRef, Sample

__all__ = ["DATA_SOURCE", "SPLITS", "demo_samples"]

DATA_SOURCE = "medix_demo"
SPLITS = ("train", "val")
FACT, SECOND = "fact", "second"
PATTERN = (
    "modality", "shows", "modality", "fact", "modality", "where", "modality", "modality", "modality", "count",
    "fact", "modality", "modality", "size", "second", "modality", "modality", "modality", "fact", "modality",
)  # fmt: skip
"""The kinds of twenty rows in a row, mixed so that every batch of sixteen has nearly all of them."""

ABOUT_ONE: dict[str, Callable[[np.random.Generator, SourcePicture, Image.Image], Question]] = {
    "modality": ask_modality,
    "shows": ask_shows,
    "where": ask_where,
    "count": ask_count,
    "size": ask_size,
}
TAGS = tuple(dict.fromkeys(source.modality for source in SOURCES))


def demo_samples(split: str, count: int, seed: int = 0) -> Iterator[Sample]:
    """Samples of one split; each depends on the seed, the split and its own number only.

    Raises:
        ConfigError: The split is not known or the count is not positive.
    """
    if split not in SPLITS:
        raise ConfigError(f"demo split {split!r} is not known; use one of {', '.join(SPLITS)}")
    if count < 1:
        raise ConfigError(f"demo row count is {count}; give 1 or more")
    for number in range(count):
        yield demo_sample(split, number, np.random.default_rng([seed, SPLITS.index(split), number]))


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
