# SPDX-License-Identifier: Apache-2.0
"""The demo's questions about pictures and facts, with answers that are right by construction.

Four kinds are about a picture: its modality, what it shows, where a mark is, and how many or how large marks are. The
fifth (`organ` and `yesno`) needs no picture. Each kind has several phrasings; an answer has equally right alternatives,
and a size has an accepted relative error. No question asks for a diagnosis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from medix_verl.demo.questions.draw import PLACES, draw_dots, draw_marker, draw_square
from medix_verl.demo.questions.pictures import SourcePicture

__all__ = [
    "MODALITY_NAMES",
    "Question",
    "ask_count",
    "ask_fact",
    "ask_modality",
    "ask_second_modality",
    "ask_shows",
    "ask_size",
    "ask_where",
]

MODALITY_NAMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "CT_SCAN": ("CT", ("CT scan", "computed tomography", "CAT scan")),
    "MRI_SCAN": ("MRI", ("MR", "MRI scan", "magnetic resonance imaging")),
    "ULTRASOUND": ("ultrasound", ("US", "sonography", "echography", "ultrasonography")),
    "SPECT": ("scintigraphy", ("nuclear medicine", "bone scan", "bone scintigraphy", "gamma camera", "SPECT")),
    "FUNDUS_PHOTOGRAPHY": ("fundus photography", ("fundus photograph", "fundus photo", "retinal photography")),
    "MICROSCOPY": ("microscopy", ("light microscopy", "histology", "a microscope picture")),
}
"""Each tag's name in an answer, and equally right names."""

MODALITY_WORDS = (
    "What imaging modality is this?",
    "Which modality made this picture?",
    "How was this picture made?",
    "Name the imaging technique.",
)
SECOND_WORDS = ("Which modality is the second picture?", "How was the second picture made?")
SHOWS_WORDS = ("What is shown?", "What does this picture show?", "Name what is shown.", "What is seen here?")
WHERE_WORDS = ("Where is the marked spot?", "In which corner is the mark?", "Where does the mark lie?")
COUNT_WORDS = ("How many marks are there?", "Count the marks.", "How many spots are marked?")
SIZE_WORDS = ("How wide is the marked square in pixels?", "Give the side of the marked square in pixels.")
SIZE_MM_WORDS = ("One pixel is 2 mm. How wide is the marked square in mm?",)
NUMBER_WORDS = {1: "one", 2: "two", 3: "three", 4: "four"}
SIDES = (16, 32, 48)
SIZE_TOLERANCE = 0.15
"""Relative error; less than half the distance between neighbouring sizes, so that only one of SIDES is right."""

FACTS: tuple[tuple[tuple[str, ...], str, tuple[str, ...]], ...] = (
    (("Does CT use ionising radiation?", "Is a CT scan made with ionising radiation?"), "yes", ()),
    (("Does MRI use ionising radiation?", "Is MRI made with ionising radiation?"), "no", ()),
    (("Does ultrasound use ionising radiation?", "Is ultrasound made with ionising radiation?"), "no", ()),
    (("Does an X-ray use ionising radiation?", "Is an X-ray made with ionising radiation?"), "yes", ()),
    (("Which organ pumps the blood?", "Name the organ that pumps blood."), "heart", ("the heart",)),
    (("Which organ makes urine?", "Name the organ that makes urine."), "kidney", ("the kidney", "kidneys")),
    (("Which organ makes bile?", "Name the organ that makes bile."), "liver", ("the liver",)),
)


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its answer, and its pictures with marks."""

    kind: str
    text: str
    answer: str
    synonyms: tuple[str, ...] = ()
    tolerance: float | None = None
    images: tuple[Image.Image, ...] = ()


def pick(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]


def ask_modality(rng: np.random.Generator, source: SourcePicture, image: Image.Image) -> Question:
    """Ask for the picture's modality."""
    answer, synonyms = MODALITY_NAMES[source.modality]
    return Question("modality", pick(rng, MODALITY_WORDS), answer, synonyms, images=(image,))


def ask_second_modality(
    rng: np.random.Generator, source: SourcePicture, first: Image.Image, second: Image.Image
) -> Question:
    """Ask for the second picture's modality; `source` is the second one's."""
    answer, synonyms = MODALITY_NAMES[source.modality]
    return Question("modality", pick(rng, SECOND_WORDS), answer, synonyms, images=(first, second))


def ask_shows(rng: np.random.Generator, source: SourcePicture, image: Image.Image) -> Question:
    """Ask what the picture shows."""
    return Question("shows", pick(rng, SHOWS_WORDS), source.shows, source.also, images=(image,))


def ask_where(rng: np.random.Generator, source: SourcePicture, image: Image.Image) -> Question:
    """Ask in which corner the mark is, as seen in the picture (not the patient's side)."""
    place = PLACES[int(rng.integers(len(PLACES)))]
    down, across = place.split()
    synonyms = (f"{place} corner", f"{'top' if down == 'upper' else 'bottom'} {across}", f"the {place}")
    return Question("where", pick(rng, WHERE_WORDS), place, synonyms, images=(draw_marker(rng, image, place),))


def ask_count(rng: np.random.Generator, source: SourcePicture, image: Image.Image) -> Question:
    """Ask for the number of marks, 1 to 4."""
    count = int(rng.integers(1, 5))
    return Question(
        "count", pick(rng, COUNT_WORDS), str(count), (NUMBER_WORDS[count],), images=(draw_dots(rng, image, count),)
    )


def ask_size(rng: np.random.Generator, source: SourcePicture, image: Image.Image) -> Question:
    """Ask for the width of a square, in pixels or in mm at a scale given in the question."""
    side = SIDES[int(rng.integers(len(SIDES)))]
    marked = draw_square(rng, image, side)
    in_mm = bool(rng.random() < 0.3)
    text = pick(rng, SIZE_MM_WORDS if in_mm else SIZE_WORDS)
    value, unit = (2 * side, "mm") if in_mm else (side, "pixels")
    return Question("size", text, f"{value} {unit}", (str(value),), tolerance=SIZE_TOLERANCE, images=(marked,))


def ask_fact(rng: np.random.Generator) -> Question:
    """Ask for a fact of anatomy or physics, without a picture."""
    words, answer, synonyms = FACTS[int(rng.integers(len(FACTS)))]
    return Question("yesno" if answer in ("yes", "no") else "organ", pick(rng, words), answer, synonyms)
