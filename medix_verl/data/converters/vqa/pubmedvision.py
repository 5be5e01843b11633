# SPDX-License-Identifier: Apache-2.0
"""PubMedVision: GPT-4V's questions and answers on figures of PubMed (FreedomIntelligence/PubMedVision, Apache-2.0).

Files: `PubMedVision_Alignment_VQA.json` and `PubMedVision_InstructionTuning_VQA.json` (647,031 rows each), lists of
objects with `image` (a list of paths "images/pmc_1_0.jpg", or one path), `conversations` (turns of `from`, human or
gpt, and `value`), `id`, `modality`, `body_part` (labels of a model). The pictures are in `images_0.zip` ...
`images_19.zip`, whose inner folders differ, so a picture is found by its file name; a few are in no archive.

`--set part=instruction|alignment` selects the file. The first question of a conversation and its answer are used; the
meta has the number of turns. Answers are long texts of a model: they suit warm-up and judges, not exact matching.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medix_verl.data.converters.assemble import assemble, own_id, text_of, unique
from medix_verl.data.converters.base import Option, Refused, SetSpec
from medix_verl.data.converters.pictures import by_name
from medix_verl.data.modalities import read_modality
from medix_verl.data.source import Source
from medix_verl.types import Sample

__all__ = ["OPTIONS", "SPEC", "read"]

SPEC = SetSpec(
    name="pubmedvision",
    title="PubMedVision",
    hub_id="FreedomIntelligence/PubMedVision",
    licence="Apache-2.0",
    task="open",
    pictures=True,
    about="GPT-4V's questions and long answers on 914,960 figures of PubMed, one to many a question",
    splits={"train": "train"},
    rows={"train": 647031},
    files="images_0.zip ... images_19.zip",
)
OPTIONS = {"part": Option("instruction", "which half", ("instruction", "alignment"))}

_FILES = {"instruction": "PubMedVision_InstructionTuning_VQA*", "alignment": "PubMedVision_Alignment_VQA*"}


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each conversation (see `base`)."""
    part = source.options["part"]
    rows = source.rows(
        SPEC.splits[split], ("image", "conversations", "id"), ("modality", "body_part"), files=(_FILES[part],)
    )
    yield from unique(to_item(source, row, split, part, number) for number, row in enumerate(rows))


def to_item(source: Source, row: Mapping[str, Any], split: str, part: str, number: int) -> Sample | Refused:
    """One published row."""
    question, answer, turns = first_pair(row["conversations"])
    named = [row["image"]] if isinstance(row["image"], str) else list(row["image"] or ())
    body_part = text_of(row["body_part"])
    return assemble(
        SPEC,
        split,
        own_id(SPEC, row["id"], number),
        question=question,
        answer=answer,
        pictures=by_name(source, [text_of(name).rsplit("/", 1)[-1] for name in named]),
        modality=read_modality(row["modality"]),
        subset=part,
        extra={"turns": turns} | ({"body_part": body_part} if body_part else {}),
    )


def first_pair(conversation: Any) -> tuple[str, str, int]:
    """Return the first question, the answer that follows it (each empty if missing), and the number of turns."""
    turns = [turn for turn in conversation or () if isinstance(turn, Mapping)]
    asked = next((at for at, turn in enumerate(turns) if turn.get("from") in ("human", "user")), None)
    if asked is None:
        return "", "", len(turns)
    reply = turns[asked + 1] if asked + 1 < len(turns) else {}
    answer = reply.get("value") if reply.get("from") in ("gpt", "assistant") else ""
    return text_of(turns[asked].get("value")), text_of(answer), len(turns)
