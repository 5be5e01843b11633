# SPDX-License-Identifier: Apache-2.0
"""What a row and its pictures are known by, so that a copy is found without keeping the rows.

Texts are hashed in a folded form (case, width, spacing, a final mark), pictures by their decoded pixels, so that a
picture saved again as PNG is still the same one. A picture that was scaled, saved as JPEG or made brighter is found by
two perceptual hashes of its low frequencies (the method of the pHash library): 64 bits to find candidates, 256 bits to
confirm them, since pictures of one kind, such as chest radiographs, all look alike at 64 bits. Long text-only questions
also carry the hashes of their runs of 13 words. Nothing here compares anything (see `duplicates`) or opens a file.
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
from PIL import Image

from medix_verl.types import Sample

__all__ = [
    "FINGERPRINT_SCHEMA",
    "GRAM_WORDS",
    "Fingerprint",
    "PictureMarks",
    "fingerprint",
    "fold",
    "from_record",
    "mark_picture",
    "to_record",
    "words_of",
]

GRAM_WORDS = 13
"""Words in a run, as in the decontamination of GPT-3 (Brown et al. 2020, appendix C)."""
MAX_GRAMS = 4096
"""Runs that are kept of one question: a text of more than 4,000 words is known by its beginning."""
HASH_BYTES = 16
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
    ]
)
"""The columns in which fingerprints are kept in a parquet file."""


@dataclass(frozen=True, slots=True)
class PictureMarks:
    """What one picture is known by."""

    pixels: bytes
    """16-byte hash of width, height and decoded RGB pixels."""
    perceptual: int
    """64-bit perceptual hash; 0 for a picture without structure, which is near to none."""
    detail: bytes
    """32 bytes: 256-bit perceptual hash of four times as many frequencies."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What one row is known by."""

    text: bytes
    """16-byte hash of question, options and answer."""
    question: bytes
    """16-byte hash of the question alone; of a short text-only one ("Which is true?") with its options."""
    images: tuple[bytes, ...] = ()
    """PictureMarks.pixels of each picture, in order."""
    perceptual: tuple[int, ...] = ()
    """PictureMarks.perceptual of each picture."""
    detail: tuple[bytes, ...] = ()
    """PictureMarks.detail of each picture."""
    grams: bytes = b""
    """Of a text-only row: distinct hashes of the question's runs of 13 words, ascending little-endian uint64."""


SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")
"""A word, or one Chinese character."""


def fold(text: str) -> str:
    """Fold width, case and white space, and drop closing marks; signs, numbers and comparison marks stay."""
    # Unicode's compatibility form would turn 10⁵ into 105.
    kept = SUPERSCRIPT.sub(lambda found: "^" + found[0], text)
    folded = unicodedata.normalize("NFKC", kept).casefold().replace("\u2019", "'")
    return " ".join(folded.split()).rstrip(" .,;:!?")


def words_of(text: str) -> list[str]:
    """The words of a text, folded and without any mark between them."""
    return WORD.findall(fold(text))


def fingerprint(sample: Sample, pictures: Sequence[PictureMarks]) -> Fingerprint:
    """What a row is known by.

    Args:
        sample: The row.
        pictures: The marks of its pictures, in order.
    """
    question = fold(sample.question)
    options = sorted(fold(option) for option in sample.options or ())
    text_only = not sample.images
    words = words_of(sample.question) if text_only else []
    # Many exams ask "Which of the following is true?"; alone, that is not yet the same question.
    asked = [question, *options] if text_only and len(words) < GRAM_WORDS else [question]
    return Fingerprint(
        text=hash_texts([question, *options, fold(sample.answer)]),
        question=hash_texts(asked),
        images=tuple(marks.pixels for marks in pictures),
        perceptual=tuple(marks.perceptual for marks in pictures),
        detail=tuple(marks.detail for marks in pictures),
        grams=hash_grams(words),
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
    """Fixed odd 64-bit numbers, one for each place in a run, so that a run's hash depends on the words' order."""
    return np.array([hash_word(f"place {place}") | 1 for place in range(GRAM_WORDS)], dtype=np.uint64)


def hash_grams(words: Sequence[str]) -> bytes:
    if len(words) < GRAM_WORDS:
        return b""
    hashes = np.array([hash_word(word) for word in words[: MAX_GRAMS + GRAM_WORDS - 1]], dtype=np.uint64)
    runs = np.lib.stride_tricks.sliding_window_view(hashes, GRAM_WORDS)
    # uint64 sums wrap around, which is what a hash wants.
    return bytes(np.unique((runs * gram_weights()).sum(axis=1, dtype=np.uint64)).astype("<u8").tobytes())


def mark_picture(picture: Image.Image) -> PictureMarks:
    """What a decoded RGB picture is known by (about 2 ms for 400 x 400 pixels)."""
    digest = hashlib.blake2b(b"%d x %d " % picture.size, digest_size=HASH_BYTES)
    digest.update(picture.tobytes())
    grey = picture.convert("L")
    small = np.asarray(grey.resize((32, 32), Image.Resampling.LANCZOS), dtype=np.float64)
    large = np.asarray(grey.resize((64, 64), Image.Resampling.LANCZOS), dtype=np.float64)
    flat = float(small.std()) < FLAT_LEVELS
    return PictureMarks(
        pixels=digest.digest(),
        perceptual=0 if flat else int.from_bytes(frequency_bits(small, 8), "big"),
        detail=frequency_bits(large, 16),
    )


def frequency_bits(grey: np.ndarray, keep: int) -> bytes:
    """The keep x keep lowest cosine frequencies of a square picture: one bit each, above their median or not."""
    basis = cosines(keep, len(grey))
    # Rounded, so that what is exactly zero on paper does not depend on the last bit of this machine's arithmetic.
    low = np.round(basis @ grey @ basis.T, 3)
    return bytes(np.packbits((low > np.median(low)).ravel()).tobytes())


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
    )
