# SPDX-License-Identifier: Apache-2.0
"""Fingerprints of rows and pictures, by which duplicates are found without keeping the rows.

Texts are hashed after normalisation (case, width, spacing, final punctuation), pictures by their decoded pixels, so
that a picture saved again as PNG has the same hash. Pixels are hashed with XXH3, which takes a hundredth of the time of
decoding; a deliberate collision would gain nothing. Evaluation records identify a picture by a cryptographic hash
(`name_picture`). A picture that was scaled, saved as JPEG, made brighter or framed is found by two perceptual hashes of
its low frequencies (the method of the pHash library): 64 bits find candidates and 256 bits confirm them, since pictures
of one kind, such as chest radiographs, are all similar at 64 bits. Long text-only questions also have the hashes of
their runs of 13 words. Comparison is in `collisions`; this module opens no files.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from PIL import Image

from medix_verl.data.duplicates.frame import unframed
from medix_verl.data.duplicates.shrink import shrink
from medix_verl.invisible import visible
from medix_verl.types import Sample

__all__ = [
    "FINGERPRINT_SCHEMA",
    "GRAM_WORDS",
    "VERSION",
    "Fingerprint",
    "PictureMarks",
    "fingerprint",
    "fold",
    "from_record",
    "mark_picture",
    "name_picture",
    "to_record",
    "words_of",
]

GRAM_WORDS = 13
"""Words in a run, as in the decontamination of GPT-3 (Brown et al. 2020, appendix C)."""
MAX_GRAMS = 4096
"""Maximum number of runs kept per question: of a text of more than 4,000 words, only the beginning is used."""
HASH_BYTES = 16
VERSION = "5"
"""Incremented when a change in `fingerprints` or `images` gives other fingerprints for the same rows."""
FLAT_LEVELS = 2.0
"""Standard deviation, in grey levels of 0..255, below which a picture has no structure to compare."""

FINGERPRINT_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.binary(HASH_BYTES), nullable=False),
        pa.field("question", pa.binary(HASH_BYTES), nullable=False),
        pa.field("images", pa.list_(pa.binary(HASH_BYTES)), nullable=False),
        pa.field("perceptual", pa.list_(pa.uint64()), nullable=False),
        pa.field("detail", pa.list_(pa.binary(32)), nullable=False),
        pa.field("grams", pa.binary(), nullable=False),
        pa.field("names", pa.list_(pa.binary(HASH_BYTES)), nullable=False),
    ]
)
"""Schema of fingerprints in a parquet file."""


@dataclass(frozen=True, slots=True)
class PictureMarks:
    """Fingerprint of one picture."""

    pixels: bytes
    """16-byte hash of width, height and decoded RGB pixels."""
    perceptual: int
    """64-bit perceptual hash; 0 for a picture without structure, which matches no other."""
    detail: bytes
    """32 bytes: 256-bit perceptual hash of four times as many frequencies."""
    name: bytes = b""
    """Result of `name_picture`, if requested."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Fingerprint of one row."""

    text: bytes
    """16-byte hash of question, options and answer."""
    question: bytes
    """16-byte hash of the question; for a short text-only question ("Which is true?"), of question and options."""
    images: tuple[bytes, ...] = ()
    """PictureMarks.pixels of each picture, in order."""
    perceptual: tuple[int, ...] = ()
    """PictureMarks.perceptual of each picture."""
    detail: tuple[bytes, ...] = ()
    """PictureMarks.detail of each picture."""
    grams: bytes = b""
    """For a text-only row: distinct hashes of the question's 13-word runs, ascending little-endian uint64."""
    names: tuple[bytes, ...] = ()
    """PictureMarks.name of each picture that has one."""


SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")
"""A word, or one CJK character."""


def fold(text: str) -> str:
    """Normalise width, case and white space; remove invisible characters and final punctuation; keep other signs."""
    # NFKC would turn 10⁵ into 105.
    kept = SUPERSCRIPT.sub(lambda found: "^" + found[0], visible(text))
    folded = unicodedata.normalize("NFKC", kept).casefold().replace("\u2019", "'")
    return " ".join(folded.split()).rstrip(" .,;:!?")


def words_of(text: str) -> list[str]:
    """The words of a text, normalised and without punctuation."""
    return WORD.findall(fold(text))


def fingerprint(sample: Sample, pictures: Sequence[PictureMarks]) -> Fingerprint:
    """Compute the fingerprint of a row.

    Args:
        sample: The row.
        pictures: The marks of its pictures, in order.
    """
    question = fold(sample.question)
    options = sorted(fold(option) for option in sample.options or ())
    text_only = not sample.images
    words = words_of(sample.question) if text_only else []
    # Many exams ask "Which of the following is true?"; without its options, that does not identify a question.
    asked = [question, *options] if text_only and len(words) < GRAM_WORDS else [question]
    return Fingerprint(
        text=hash_texts([question, *options, fold(sample.answer)]),
        question=hash_texts(asked),
        images=tuple(marks.pixels for marks in pictures),
        perceptual=tuple(marks.perceptual for marks in pictures),
        detail=tuple(marks.detail for marks in pictures),
        grams=hash_grams(words),
        names=tuple(marks.name for marks in pictures if marks.name),
    )


def hash_texts(texts: Sequence[str]) -> bytes:
    digest = hashlib.blake2b(digest_size=HASH_BYTES)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()


@lru_cache(maxsize=100_000)
def hash_word(word: str) -> int:
    data = word.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


@cache
def gram_weights() -> np.ndarray:
    """Fixed odd 64-bit numbers, one per position in a run, so that a run's hash depends on word order."""
    return np.array([hash_word(f"place {place}") | 1 for place in range(GRAM_WORDS)], dtype=np.uint64)


def hash_grams(words: Sequence[str]) -> bytes:
    if len(words) < GRAM_WORDS:
        return b""
    hashes = np.array([hash_word(word) for word in words[: MAX_GRAMS + GRAM_WORDS - 1]], dtype=np.uint64)
    runs = np.lib.stride_tricks.sliding_window_view(hashes, GRAM_WORDS)
    # uint64 sums wrap around, as intended for a hash.
    return bytes(np.unique((runs * gram_weights()).sum(axis=1, dtype=np.uint64)).astype("<u8").tobytes())


def name_picture(picture: Image.Image) -> bytes:
    """16-byte cryptographic hash of width, height and decoded RGB pixels; evaluation records use it as the
    picture's name (about 0.6 ms for 400 x 400 pixels)."""
    digest = hashlib.blake2b(b"%d x %d " % picture.size, digest_size=HASH_BYTES)
    digest.update(picture.tobytes())
    return digest.digest()


def mark_picture(picture: Image.Image, named: bool = False) -> PictureMarks:
    """Compute the fingerprint of a decoded RGB picture (about 0.8 ms for 400 x 400 pixels).

    Args:
        picture: The picture.
        named: Whether to compute `name` too.
    """
    digest = xxhash.xxh3_128(b"%d x %d " % picture.size)
    digest.update(picture.tobytes())
    grey = unframed(np.asarray(picture.convert("L")))
    small: np.ndarray = shrink(grey, 32).astype(np.float64)
    large: np.ndarray = shrink(grey, 64).astype(np.float64)
    flat = float(small.std()) < FLAT_LEVELS
    return PictureMarks(
        pixels=digest.digest(),
        perceptual=0 if flat else int.from_bytes(frequency_bits(small, 8), "big"),
        detail=frequency_bits(large, 16),
        name=name_picture(picture) if named else b"",
    )


def frequency_bits(grey: np.ndarray, keep: int) -> bytes:
    """The keep x keep lowest cosine frequencies of a square picture: one bit each, whether above the median."""
    basis = cosines(keep, len(grey))
    # Rounded, so that values that are mathematically zero do not depend on the machine's floating-point rounding.
    low = np.round(basis @ grey @ basis.T, 3)
    # The median of an even number of values; faster than np.median, which has extra checks.
    ordered = np.sort(low, axis=None)
    middle = (ordered[low.size // 2 - 1] + ordered[low.size // 2]) / 2
    return np.packbits(low > middle).tobytes()


@cache
def cosines(keep: int, side: int) -> np.ndarray:
    """The first `keep` rows of the type-II discrete cosine transform of `side` values."""
    places: np.ndarray = 2 * np.arange(side)[None, :] + 1
    return np.asarray(np.cos(np.pi * places * np.arange(keep)[:, None] / (2 * side)))


def to_record(row_id: str, marks: Fingerprint) -> dict[str, Any]:
    """One row of FINGERPRINT_SCHEMA."""
    return {
        "id": row_id,
        "text": marks.text,
        "question": marks.question,
        "images": list(marks.images),
        "perceptual": list(marks.perceptual),
        "detail": list(marks.detail),
        "grams": marks.grams,
        "names": list(marks.names),
    }


def from_record(record: Mapping[str, Any]) -> tuple[str, Fingerprint]:
    """The row's id and its fingerprint, from one row of FINGERPRINT_SCHEMA."""
    return str(record["id"]), Fingerprint(
        text=record["text"],
        question=record["question"],
        images=tuple(record["images"]),
        perceptual=tuple(record["perceptual"]),
        detail=tuple(record["detail"]),
        grams=record["grams"],
        names=tuple(record["names"]),
    )
