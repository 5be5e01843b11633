# SPDX-License-Identifier: Apache-2.0
"""Check the quality of one row: refused with a stable reason, or accepted with flags, fingerprint and picture sizes.

`check` never raises because of a row's content: a broken, truncated or enormous picture, a missing file or an invalid
row is a reason that the report counts, with the row's id in the detail. Every picture is decoded once here, before any
training run uses it. An invalid QualitySpec is a ConfigError.

A reference such as "see image", "B" or the question itself can be written to a file, but the score of an answer to it
is meaningless. It is flagged and never changed. The spec defines which flags refuse a row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from PIL import Image

from medix_verl.data.duplicates.fingerprints import Fingerprint, PictureMarks, fingerprint, fold, mark_picture
from medix_verl.data.pictures.images import load_image, naming_place, read_bytes
from medix_verl.data.schema import to_row
from medix_verl.errors import ConfigError, DataError
from medix_verl.specs import Count, Integer, Number, Section, Words, spec
from medix_verl.types import ImageRef, Sample

__all__ = [
    "ANSWER_FLAGS",
    "FLAGS",
    "KINDS_BETWEEN",
    "KINDS_WITHIN",
    "PICTURE_REASONS",
    "QUESTION_FLAGS",
    "Checked",
    "QualitySpec",
    "answer_flags",
    "check",
    "question_flags",
    "read_quality",
]

ANSWER_FLAGS = {
    "answer-empty": "nothing but white space and closing marks: it equals nothing",
    "answer-punctuation": "no letter and no digit",
    "answer-is-question": "the question itself",
    "answer-too-long": "longer than the spec's max_answer_chars",
    "answer-letter-only": "an option's letter instead of its text",
    "answer-refers-to-picture": "points at the picture or the text instead of answering",
    "answer-unknown": "says that there is no answer",
    "answer-lists-options": "names every option",
}
"""Flag -> what it means."""
QUESTION_FLAGS = {
    "picture-mentioned-but-missing": "the question speaks of a picture and the row has none",
    "picture-not-mentioned": "the row has a picture of which the question does not speak (usual in VQA sets)",
}

LETTER = re.compile(r"[(\[]?(?:option |choice |answer )?[a-j][)\].:]?|option [1-9]", re.ASCII)
REFERS = re.compile(
    r"(?:please )?(?:see|refer to|as shown in|shown in|look at|check)"
    r" (?:the )?(?:above |below |attached )?(?:image|picture|figure|fig|photo|text|report|table|explanation)s?"
    r"(?: (?:above|below|attached|\w{1,3}))?"
)
UNKNOWN = re.compile(
    r"n/?a|nan|null|nil|tbd|todo|undefined|undetermined|unknown|unanswerable|unsure|not sure|no answer|none given"
    r"|not (?:known|available|applicable)|can(?:no|'| no)t (?:be determined|tell|say)|i do(?:n't| not) know"
    r"|未知|不知道|无法确定"
)
PICTURE = re.compile(
    r"\b(?:image|picture|figure|photo|photograph|photomicrograph|radiograph|scan shown|slide shown|x-?ray shown)s?\b"
    r"|\b(?:this|the|shown|following|given|above) (?:x-?ray|ct|mri|scan|film|slide|ultrasound|mammogram)s?\b"
    r"|图像|图片|图中|影像"
)
NEEDS_PICTURE = re.compile(
    r"\b(?:this|the|shown|following|given|above|attached|provided) (?:image|picture|photo|photograph)s?\b"
    r"|\b(?:image|picture|figure|photo|photograph|radiograph)s? (?:shown|above|below|attached|provided)\b"
    r"|\bshown in (?:the |this )?(?:image|picture|figure|photo|photograph)\b"
    r"|<image>|这张图|图中|图片中|图像中"
)
"""Narrower than PICTURE: a text question may mention "image-guided biopsy"."""


def answer_flags(sample: Sample, max_chars: int) -> tuple[str, ...]:
    """Why the reference cannot be scored fairly, as keys of ANSWER_FLAGS; empty if it can.

    Args:
        sample: The row.
        max_chars: Longest accepted answer, in characters.
    """
    answer = fold(sample.answer)
    found = {
        "answer-empty": not answer,
        "answer-punctuation": bool(answer) and not any(char.isalnum() for char in answer),
        "answer-is-question": bool(answer) and answer == fold(sample.question),
        "answer-too-long": len(sample.answer) > max_chars,
        "answer-letter-only": LETTER.fullmatch(answer) is not None,
        "answer-refers-to-picture": REFERS.fullmatch(answer) is not None,
        "answer-unknown": UNKNOWN.fullmatch(answer) is not None,
        "answer-lists-options": lists_options(answer, sample),
    }
    return tuple(name for name, hit in found.items() if hit)


def lists_options(answer: str, sample: Sample) -> bool:
    """Whether an answer names all of at least three options; with only two, "A and B" may be correct."""
    others = [fold(option) for option in sample.options or () if fold(option) and fold(option) != answer]
    return len(others) >= 2 and all(contains(answer, option) for option in others)


def contains(text: str, part: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(part)}(?!\w)", text) is not None


def question_flags(sample: Sample) -> tuple[str, ...]:
    """Inconsistencies between question and pictures, as keys of QUESTION_FLAGS."""
    asked = sample.question.casefold()
    if sample.images:
        return () if PICTURE.search(asked) else ("picture-not-mentioned",)
    return ("picture-mentioned-but-missing",) if NEEDS_PICTURE.search(asked) else ()


PICTURE_FLAGS = {
    "picture-tiny": "a side below the spec's min_side",
    "picture-blank": "one colour only",
    "picture-extreme-aspect": "longer than the spec's max_aspect times its width, or the other way round",
}
FLAGS = {**ANSWER_FLAGS, **QUESTION_FLAGS, **PICTURE_FLAGS}
"""Flag -> what it means."""

PICTURE_REASONS = (
    ("picture missing", "cannot be read ("),
    ("picture too large", "too large"),
    ("picture corrupt", "is cut off or corrupt"),
    ("picture unreadable", ""),
)
"""Reason -> a phrase of the error message of medix_verl.data.pictures.images; the first match is used."""

KINDS_WITHIN = ("exact", "near-exact", "same-question")
KINDS_BETWEEN = ("exact", "same-question", "same-image", "near-image", "near-text")
"""Kinds of collision between two rows, strongest first (see `collisions`)."""


@spec("quality")
class QualitySpec(Section):
    """What is refused, flagged and dropped."""

    max_answer_chars: Count = 1000
    """A longer reference is flagged: judges do not compare pages of text."""
    min_side: Count = 28
    """In pixels: a smaller picture is less than one patch of a vision encoder."""
    max_aspect: Annotated[float, Number(1.0)] = 20.0
    """Long side divided by short side; above it a picture is flagged."""
    refuse: Annotated[tuple[str, ...], Words(FLAGS)] = ("answer-empty",)
    """Flags that refuse a row."""
    drop_within: Annotated[tuple[str, ...], Words(KINDS_WITHIN)] = ("exact", "near-exact")
    """Kinds of collision within a file that drop the later row; the others are only reported."""
    drop_between: Annotated[tuple[str, ...], Words(KINDS_BETWEEN)] = KINDS_BETWEEN
    """Kinds of collision with an evaluation file that drop the row; the others are only reported."""
    distance: Annotated[int, Integer(0, 8)] = 6
    """Maximum differing bits of 64 between the perceptual hashes of near pictures; `near_hashes` explains the value."""
    detail_distance: Annotated[int, Integer(0, 128)] = 24
    """Maximum differing bits of 256 between the confirming hashes."""
    gram_share: Annotated[float, Number(high=1.0, above=True)] = 0.5
    """Minimum share of the shorter question's runs of 13 words for two long questions to count as the same."""


def read_quality(path: Path) -> QualitySpec:
    """Read a spec from a YAML file.

    Raises:
        ConfigError: The file cannot be read, is not YAML, or contains a value that is not accepted.
    """
    import yaml

    try:
        return QualitySpec.from_mapping(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as cause:
        raise ConfigError(f"{path} cannot be read ({cause.strerror or cause}); give a YAML file of limits") from cause
    except (yaml.YAMLError, UnicodeDecodeError) as cause:
        raise ConfigError(f"{path} is not YAML ({' '.join(str(cause).split())}); fix that line") from cause
    except ConfigError as cause:
        raise ConfigError(f"{path}: {cause}") from cause


@dataclass(frozen=True, slots=True)
class Checked:
    """Result of the check of one row."""

    reason: str | None
    """Why the row is refused: `invalid row`, one of PICTURE_REASONS or a flag that the spec refuses; None: accepted."""
    detail: str = ""
    flags: tuple[str, ...] = ()
    """Keys of FLAGS, unique."""
    fingerprint: Fingerprint | None = None
    """None if the row is refused."""
    sizes: tuple[tuple[int, int], ...] = ()
    """Width and height of each picture, in pixels."""


@dataclass(frozen=True, slots=True)
class PictureFacts:
    marks: PictureMarks
    size: tuple[int, int]
    blank: bool


def check(
    sample: Sample, spec: QualitySpec, base_dir: str | Path | Sequence[str] = ".", named: bool = False
) -> Checked:
    """Check one row and decode its pictures.

    Args:
        sample: The row.
        spec: What is refused and flagged.
        base_dir: Base folder of relative picture paths, as in `load_image`.
        named: As in `mark_picture`.
    """
    try:
        to_row(sample)
    except DataError as cause:
        return Checked("invalid row", str(cause))
    try:
        pictures = []
        for number, ref in enumerate(sample.images, 1):
            with naming_place(number, len(sample.images)):
                pictures.append(look(ref, sample.id, base_dir, named))
    except DataError as cause:
        return Checked(picture_reason(cause), str(cause))
    except Exception as cause:  # noqa: BLE001 - any failure, such as too little memory for the hashes, refuses the row
        return Checked(
            "picture unreadable", f"row {sample.id!r}: its picture cannot be checked ({type(cause).__name__})"
        )
    sizes = tuple(facts.size for facts in pictures)
    odd = dict.fromkeys(flag for facts in pictures for flag in picture_flags(facts, spec))
    flags = (*answer_flags(sample, spec.max_answer_chars), *question_flags(sample), *odd)
    refused = next((flag for flag in flags if flag in spec.refuse), None)
    if refused is not None:
        return Checked(refused, f"row {sample.id!r}: {FLAGS[refused]}", flags, None, sizes)
    return Checked(None, "", flags, fingerprint(sample, [facts.marks for facts in pictures]), sizes)


def picture_reason(cause: DataError) -> str:
    text = str(cause)
    return next(reason for reason, phrase in PICTURE_REASONS if phrase in text)


def look(ref: ImageRef, row_id: str, base_dir: str | Path | Sequence[str], named: bool) -> PictureFacts:
    data, _ = read_bytes(ref, row_id, base_dir)
    try:
        return facts_of(data, named)
    except DataError:
        # Loaded again, only to raise an error that names the row and the file.
        load_image(ref, row_id, base_dir)
        raise


# Neighbouring rows often use the same picture; it is decoded once.
@lru_cache(maxsize=16)
def facts_of(data: bytes, named: bool) -> PictureFacts:
    picture = load_image(ImageRef(bytes=data), "")
    return PictureFacts(mark_picture(picture, named), picture.size, is_blank(picture))


def is_blank(picture: Image.Image) -> bool:
    # One row of pixels is enough to decide for nearly every picture.
    row = picture.crop((0, picture.height // 2, picture.width, picture.height // 2 + 1))
    return one_colour(row) and one_colour(picture)


def one_colour(picture: Image.Image) -> bool:
    return all(low == high for low, high in (band.getextrema() for band in picture.split()))


def picture_flags(facts: PictureFacts, spec: QualitySpec) -> list[str]:
    short, long = sorted(facts.size)
    found = {
        "picture-tiny": short < spec.min_side,
        "picture-blank": facts.blank,
        "picture-extreme-aspect": long > spec.max_aspect * short,
    }
    return [name for name, hit in found.items() if hit]
