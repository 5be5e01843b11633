# SPDX-License-Identifier: Apache-2.0
"""Rows of a file for supervised fine-tuning: a sample's columns plus verl's `messages`.

The user's turn is one `<image>` per picture and the package's own prompt, the format that verl's MultiTurnSFTDataset
reads. The assistant's turn is a rationale and the answer, in the format that the prompt asks for and the reward scores.
Each assistant's text is parsed with the reward's parser before it is written; a row whose text does not parse back to
the same values is left out, with the reason.

`medix` and `medix_short` ask for `<think>`: their texts are for templates that leave the whole thinking block to the
reply. `medix_thinking` is for templates that open it in the prompt: its texts start inside it and contain `</think>`
only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Annotated, Any

import pyarrow as pa

from medix_verl.data.prompts import prompt_sha256, render_prompt
from medix_verl.data.schema import SAMPLE_SCHEMA
from medix_verl.data.sft.rationale import KEYS, Fault, Rationale, rationale_of
from medix_verl.errors import DataError
from medix_verl.response import parse_response, write_response
from medix_verl.specs import Choice, Integer, Section, spec
from medix_verl.thinking import Thinking
from medix_verl.types import Sample

__all__ = ["MESSAGES", "PLACE", "PROMPTS", "SFT_SCHEMA", "Fit", "Left", "SftSpec", "Stamp", "fit_of", "stamp_in"]

PROMPTS = {"medix": Thinking.NONE, "medix_short": Thinking.NONE, "medix_thinking": Thinking.OPEN}
"""Prompt -> required thinking mode of the chat template. `published` is not listed: it asks for no format."""
MESSAGES = "messages"
PLACE = "<image>"
"""verl's picture placeholder in a message."""
FOREIGN_PLACES = (PLACE, "<video>")
FROM = "rationale_from"
"""Key of a row's meta: the origin of its rationale."""
STAMP = b"medix_verl.sft"
"""Key in the metadata of the parquet file."""

SFT_SCHEMA = SAMPLE_SCHEMA.append(
    pa.field(MESSAGES, pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])), nullable=False)
)


class Left(str, Enum):
    """Why a row is left out, in addition to the faults of a rationale."""

    MODALITY = "its pictures' modality is not known"
    PLACES = "its question holds a place of a picture"
    FORM = "its answer cannot be written in the form"


@spec("--sft")
class SftSpec(Section):
    """Options for writing the rows."""

    prompt: Annotated[str, Choice(PROMPTS)] = "medix"
    max_chars: Annotated[int, Integer(20)] = 600
    """Maximum length of a rationale in the row's own words; longer ones are cut after a complete sentence."""

    @property
    def thinking(self) -> Thinking:
        """Required thinking mode of the chat template."""
        return PROMPTS[self.prompt]

    def stamp(self) -> dict[bytes, bytes]:
        """Metadata of a file written with these options."""
        said = {"prompt": self.prompt, "prompt_sha256": prompt_sha256(self.prompt), "max_chars": self.max_chars}
        return {STAMP: json.dumps(said).encode()}


@dataclass(frozen=True, slots=True)
class Stamp:
    """Options recorded in a file's metadata."""

    prompt: str
    prompt_sha256: str

    @property
    def thinking(self) -> Thinking:
        """Required thinking mode of the chat template."""
        return PROMPTS[self.prompt]


@dataclass(frozen=True, slots=True)
class Fit:
    """Result for one row."""

    rationale: Rationale
    sample: Sample | None = None
    """The row as written; None if it is left out."""
    messages: tuple[dict[str, str], ...] = ()
    left: Left | Fault | None = None

    @property
    def row(self) -> Mapping[str, Any]:
        """The additional columns."""
        return {MESSAGES: list(self.messages)}


def fit_of(sample: Sample, how: SftSpec) -> Fit:
    """Convert one row for supervised fine-tuning, or give the reason why it is left out."""
    found = rationale_of(sample, how.max_chars)
    if found.origin is None:
        return Fit(found, left=found.fault)
    if sample.images and (sample.modality is None or sample.meta.get("modality_guess")):
        return Fit(found, left=Left.MODALITY)  # the prompt asks for a tag, and a guess must not be trained on
    asked, modality = render_prompt(sample, how.prompt), sample.modality if sample.images else None
    if any(place in asked for place in FOREIGN_PLACES):
        return Fit(found, left=Left.PLACES)
    answer = sample.answer.strip()
    text = write_response(found.text, answer, modality, how.thinking)
    read = parse_response(text, how.thinking)
    if not read.well_formed or (read.answer, read.modality, read.thinking) != (answer, modality, found.text):
        return Fit(found, left=Left.FORM)
    meta = {key: value for key, value in sample.meta.items() if key not in KEYS} | {FROM: found.origin.value}
    turns = ({"role": "user", "content": PLACE * len(sample.images) + asked}, {"role": "assistant", "content": text})
    return Fit(found, replace(sample, meta=meta), turns)


def stamp_in(metadata: Mapping[bytes, bytes] | None, path: str) -> Stamp:
    """Read the stamp from a file's metadata.

    Raises:
        DataError: There is no stamp, or its prompt is unknown or has a different text now.
    """
    remedy = "type medix-verl prepare NAME --split train --out train.parquet --sft"
    try:
        said = json.loads((metadata or {})[STAMP])
        stamp = Stamp(str(said["prompt"]), str(said["prompt_sha256"]))
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path}: this is not a file for supervised fine-tuning; {remedy}") from None
    if stamp.prompt not in PROMPTS or prompt_sha256(stamp.prompt) != stamp.prompt_sha256:
        raise DataError(f"{path}: it was written with another text of the prompt {stamp.prompt!r}; {remedy} again")
    return stamp
