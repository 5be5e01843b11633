# SPDX-License-Identifier: Apache-2.0
"""HealthBench: conversations about health, graded by physicians' rubrics (openai/healthbench, MIT).

Files: `*_oss_eval.jsonl` (5,000 lines), `hard_*.jsonl` (1,000), `consensus_*.jsonl` (3,671) with `prompt` (turns of
`role` and `content`), `prompt_id`, `rubrics` (list of `criterion`, `points` from -10 to 10, `tags`), `example_tags`,
`ideal_completions_data`. `*_meta_eval.jsonl` holds judgements and no questions, and is not read.

There is no single right answer. `meta.rubrics` is what an answer is graded by: each criterion that is met gives its
points, negative ones too, and the score is their sum over the sum of the positive points, cut to 0 .. 1. The field
`answer` holds the same points as text, so that a row is complete and a person can read it: it is no reference for an
exact or semantic match, and a reward that compares an answer with it as one text means nothing. Use these rows for
evaluation with a judge that is shown one criterion at a time.

`--set subset=main|hard|consensus` chooses; there is a test split only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from medix_verl.data.converters.assemble import assemble, own_id, text_of, unique
from medix_verl.data.converters.base import Option, Refused, SetSpec
from medix_verl.types import Sample

if TYPE_CHECKING:
    from medix_verl.data.source import Source

__all__ = ["OPTIONS", "SPEC", "read"]

SPEC = SetSpec(
    name="healthbench",
    title="HealthBench",
    hub_id="openai/healthbench",
    licence="MIT",
    task="rubric",
    pictures=False,
    about="Conversations graded by physicians' rubrics, which are in meta; the answer is no single reference",
    splits={"test": "test"},
    rows={"test": 5000},
)
OPTIONS = {"subset": Option("main", "which questions", ("main", "hard", "consensus"))}

_FILES = {"main": "*_oss_eval.jsonl", "hard": "hard_*.jsonl", "consensus": "consensus_*.jsonl"}
_COLUMNS = ("prompt", "prompt_id", "rubrics")


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each conversation (see `base`)."""
    subset = source.options["subset"]
    rows = source.rows(SPEC.splits[split], _COLUMNS, ("example_tags",), files=(_FILES[subset],))
    yield from unique(to_item(row, split, subset, number) for number, row in enumerate(rows))


def to_item(row: Mapping[str, Any], split: str, subset: str, number: int) -> Sample | Refused:
    """One published row."""
    row_id = own_id(SPEC, row["prompt_id"], number)
    turns = [turn for turn in row["prompt"] or () if isinstance(turn, Mapping)]
    rubrics = [rubric for item in row["rubrics"] or () if (rubric := rubric_of(item)) is not None]
    if not rubrics or len(rubrics) != len(row["rubrics"]):
        return Refused(row_id, "no rubric", "a criterion or its points are missing")
    return assemble(
        SPEC,
        split,
        row_id,
        question=conversation(turns),
        answer="\n".join(f"[{rubric['points']:+g}] {rubric['criterion']}" for rubric in rubrics),
        answer_type="open",
        subset="" if subset == "main" else subset,
        extra={"rubrics": rubrics, "turns": len(turns), "tags": [text_of(tag) for tag in row["example_tags"] or ()]},
    )


def rubric_of(item: Any) -> dict[str, Any] | None:
    """One criterion with its points, or None where either is missing."""
    if not isinstance(item, Mapping):
        return None
    criterion, points = text_of(item.get("criterion")), item.get("points")
    if not criterion or isinstance(points, bool) or not isinstance(points, (int, float)) or not math.isfinite(points):
        return None
    return {"criterion": criterion, "points": points, "tags": [text_of(tag) for tag in item.get("tags") or ()]}


def conversation(turns: list[Mapping[str, Any]]) -> str:
    """The turns as one text: a single one as it is, several with their speakers."""
    texts = [(text_of(turn.get("role")), text_of(turn.get("content"))) for turn in turns]
    if len(texts) == 1:
        return texts[0][1]
    return "\n\n".join(f"{role.capitalize()}: {content}" for role, content in texts if content)
