# SPDX-License-Identifier: Apache-2.0
"""One row's quality: refused with a stable reason, or accepted with its flags, fingerprint and picture sizes.

`check` never raises for what a row holds: a broken, cut-off or enormous picture, a missing file or an invalid row is a
reason that the report counts, with the row's id in the detail. Every picture is decoded once, here, before any training
run meets it. A wrong QualitySpec is a ConfigError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from PIL import Image

from medix_verl.data.answers import ANSWER_FLAGS, QUESTION_FLAGS, answer_flags, question_flags
from medix_verl.data.fingerprints import Fingerprint, PictureMarks, fingerprint, mark_picture
from medix_verl.data.images import load_image, read_bytes
from medix_verl.data.schema import to_row
from medix_verl.errors import ConfigError, DataError
from medix_verl.specs import Count, Integer, Number, Section, Words, spec
from medix_verl.types import ImageRef, Sample

__all__ = [
    "FLAGS",
    "KINDS_BETWEEN",
    "KINDS_WITHIN",
    "PICTURE_REASONS",
    "Checked",
    "QualitySpec",
    "check",
    "read_quality",
]

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
"""Reason -> what the message of medix_verl.data.images says then; the first that fits counts."""

KINDS_WITHIN = ("exact", "near-exact", "same-question")
KINDS_BETWEEN = ("exact", "same-question", "same-image", "near-image", "near-text")
"""How two rows collide, strongest first (see `duplicates`)."""


@spec("quality")
class QualitySpec(Section):
    """What is refused, flagged and dropped."""

    max_answer_chars: Count = 1000
    """A longer reference is flagged: no judge compares pages."""
    min_side: Count = 28
    """Pixels: a smaller picture gives a vision encoder not even one patch."""
    max_aspect: Annotated[float, Number(1.0)] = 20.0
    """Long side through short side, above which a picture is flagged."""
    refuse: Annotated[tuple[str, ...], Words(FLAGS)] = ("answer-empty",)
    """Flags that refuse a row."""
    drop_within: Annotated[tuple[str, ...], Words(KINDS_WITHIN)] = ("exact", "near-exact")
    """Kinds of collision inside one file after which the later row is dropped; the others are reported."""
    drop_between: Annotated[tuple[str, ...], Words(KINDS_BETWEEN)] = KINDS_BETWEEN
    """Kinds of collision with an evaluation file after which the row is dropped; the others are reported."""
    distance: Annotated[int, Integer(0, 8)] = 6
    """Bits of 64 in which the perceptual hashes of a near picture may differ; for the choice see `near`."""
    detail_distance: Annotated[int, Integer(0, 128)] = 24
    """Bits of 256 in which the confirming hashes may differ."""
    gram_share: Annotated[float, Number(high=1.0, above=True)] = 0.5
    """Share of the shorter question's runs of 13 words above which two long questions are one."""


def read_quality(path: Path) -> QualitySpec:
    """Read a spec from a YAML file.

    Raises:
        ConfigError: The file cannot be read, is no YAML, or says something that is not accepted.
    """
    import yaml

    try:
        return QualitySpec.from_mapping(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as cause:
        raise ConfigError(f"{path} cannot be read ({cause.strerror or cause}); give a YAML file of limits") from cause
    except (yaml.YAMLError, UnicodeDecodeError) as cause:
        raise ConfigError(f"{path} is no YAML ({' '.join(str(cause).split())}); mend that line") from cause
    except ConfigError as cause:
        raise ConfigError(f"{path}: {cause}") from cause


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found out about one row."""

    reason: str | None
    """Why the row is refused: `invalid row`, one of PICTURE_REASONS, a flag that the spec refuses; None: accepted."""
    detail: str = ""
    flags: tuple[str, ...] = ()
    """Keys of FLAGS, each once."""
    fingerprint: Fingerprint | None = None
    """None where the row is refused."""
    sizes: tuple[tuple[int, int], ...] = ()
    """Width and height of each picture, in pixels."""


@dataclass(frozen=True, slots=True)
class PictureFacts:
    marks: PictureMarks
    size: tuple[int, int]
    blank: bool


def check(sample: Sample, spec: QualitySpec, base_dir: str | Path | Sequence[str] = ".") -> Checked:
    """Check one row, its pictures decoded.

    Args:
        sample: The row.
        spec: What is refused and flagged.
        base_dir: Where relative picture paths start, as for `load_image`.
    """
    try:
        to_row(sample)
    except DataError as cause:
        return Checked("invalid row", str(cause))
    try:
        pictures = [look(ref, sample.id, base_dir) for ref in sample.images]
    except DataError as cause:
        return Checked(picture_reason(cause), str(cause))
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


def look(ref: ImageRef, row_id: str, base_dir: str | Path | Sequence[str]) -> PictureFacts:
    data, _ = read_bytes(ref, row_id, base_dir)
    try:
        return facts_of(data)
    except DataError:
        # Once more, only for a message that names the row and the file.
        load_image(ref, row_id, base_dir)
        raise


# Neighbouring rows often ask about the same picture; it is decoded for the first of them.
@lru_cache(maxsize=16)
def facts_of(data: bytes) -> PictureFacts:
    try:
        picture = load_image(ImageRef(bytes=data), "")
    except (MemoryError, ArithmeticError, LookupError, RuntimeError, EOFError) as cause:
        # What Pillow's decoders let through for damaged files, beside what `load_image` knows.
        raise DataError(f"its picture is cut off or corrupt ({type(cause).__name__}: {cause})") from cause
    return PictureFacts(mark_picture(picture), picture.size, is_blank(picture))


def is_blank(picture: Image.Image) -> bool:
    return all(low == high for low, high in (band.getextrema() for band in picture.split()))


def picture_flags(facts: PictureFacts, spec: QualitySpec) -> list[str]:
    short, long = sorted(facts.size)
    found = {
        "picture-tiny": short < spec.min_side,
        "picture-blank": facts.blank,
        "picture-extreme-aspect": long > spec.max_aspect * short,
    }
    return [name for name, hit in found.items() if hit]
