# SPDX-License-Identifier: Apache-2.0
"""HealthBench: conversations about health, graded by physicians' rubrics (openai/healthbench, MIT).

Files: `*_oss_eval.jsonl` (5,000 lines), `hard_*.jsonl` (1,000), `consensus_*.jsonl` (3,671) with `prompt` (turns of
`role` and `content`), `prompt_id`, `rubrics` (list of `criterion`, `points` from -10 to 10, `tags`), `example_tags`,
`ideal_completions_data`. `*_meta_eval.jsonl` contains judgements without questions and is not read.

There is no single right answer. An answer is graded by `meta.rubrics`: each criterion that is met adds its points,
which may be negative; the score is this sum divided by the sum of the positive points, and the mean over conversations
is clipped to 0 .. 1. `meta.conversation` has the unchanged turns that the model is asked. The field `answer` contains
the rubrics as readable text. It is not a reference for exact or semantic matching, and a reward that compares an
answer with it is meaningless. Use these rows for evaluation with a judge that is given one criterion at a time.

`--set subset=main|hard|consensus` selects the questions; there is only a test split.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from medix_verl.data.converters.assemble import assemble, own_id, text_of, unique
from medix_verl.data.converters.base import Option, Refused, SetSpec
from medix_verl.data.source import Source
from medix_verl.types import Sample

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
    if not all(is_turn(turn) for turn in turns) or not turns or turns[-1]["role"] != "user":
        return Refused(row_id, "no conversation", "a turn has no role or text, or the last one is not the user's")
    return assemble(
        SPEC,
        split,
        row_id,
        question=conversation(turns),
        answer="\n".join(f"[{rubric['points']:+g}] {rubric['criterion']}" for rubric in rubrics),
        answer_type="open",
        subset="" if subset == "main" else subset,
        extra={
            "rubrics": rubrics,
            "turns": len(turns),
            "conversation": [{"role": turn["role"], "content": turn["content"]} for turn in turns],
            "tags": [text_of(tag) for tag in row["example_tags"] or ()],
        },
    )


def is_turn(turn: Mapping[str, Any]) -> bool:
    """Return whether a turn has a known role and a text."""
    return turn.get("role") in ("system", "user", "assistant") and isinstance(turn.get("content"), str)


def rubric_of(item: Any) -> dict[str, Any] | None:
    """Return one criterion with its points, or None if either is missing."""
    if not isinstance(item, Mapping):
        return None
    criterion, points = text_of(item.get("criterion")), item.get("points")
    if not criterion or isinstance(points, bool) or not isinstance(points, (int, float)) or not math.isfinite(points):
        return None
    return {"criterion": criterion, "points": points, "tags": [text_of(tag) for tag in item.get("tags") or ()]}


def conversation(turns: list[Mapping[str, Any]]) -> str:
    """Join the turns to one text; with more than one turn, each is prefixed with its role."""
    texts = [(text_of(turn.get("role")), text_of(turn.get("content"))) for turn in turns]
    if len(texts) == 1:
        return texts[0][1]
    return "\n\n".join(f"{role.capitalize()}: {content}" for role, content in texts if content)
