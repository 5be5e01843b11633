# SPDX-License-Identifier: Apache-2.0
"""Facets of a row (body region, kind of question, theme), by which a task's figures are broken down.

Data sets name the same facet differently (SLAKE's `location` is a body region); `FACETS` maps their keys to ours.
HealthBench tags a conversation with its theme and each criterion with its axis. The score of an axis uses only its own
criteria; an axis without positive points has no score, as in simple-evals (healthbench_eval.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medix_verl.types import Sample

__all__ = ["AXIS", "FACETS", "axis_scores", "facets_of"]

FACETS: Mapping[str, tuple[str, ...]] = {
    "region": ("body_region", "region", "location", "body_part", "body_system", "organ"),
    "question_type": ("question_type", "content_type", "medical_task"),
}
"""Facet -> keys of a row's meta; the first key with a value is used."""
THEME = "theme:"
"""Prefix of a theme in the tags of a conversation."""
AXIS = "axis:"
"""Prefix of an axis in the tags of a criterion and in a record's metrics."""


def facets_of(sample: Sample) -> dict[str, str]:
    """Facet -> the row's value; facets without a value are omitted."""
    found = {}
    for facet, keys in FACETS.items():
        values = [value.strip() for key in keys if isinstance(value := sample.meta.get(key), str) and value.strip()]
        if values:
            found[facet] = values[0]
    themes = tagged(sample.meta.get("tags"), THEME)
    return found | ({"theme": "+".join(themes)} if themes else {})


def tagged(tags: Any, kind: str) -> list[str]:
    """The tags with the prefix `kind`, without it, in their order."""
    known = tags if isinstance(tags, (list, tuple)) else ()
    return [tag[len(kind) :] for tag in known if isinstance(tag, str) and tag.startswith(kind)]


def axis_scores(sample: Sample, value: float | None, met: Sequence[float | None]) -> dict[str, float]:
    """`axis:NAME` -> the share of the axis' points; negative where more points are lost than won.

    Args:
        sample: A conversation with its rubric.
        value: Its score; where it is None, the result is empty.
        met: 1 or 0 for each criterion, None for a criterion that was not readable and is left out; empty where the
            model gave no answer, which meets no criterion.
    """
    rubrics = sample.meta.get("rubrics")
    if value is None or not isinstance(rubrics, (list, tuple)) or (met and len(met) != len(rubrics)):
        return {}
    won: dict[str, float] = {}
    possible: dict[str, float] = {}
    for item, is_met in zip(rubrics, met or [0.0] * len(rubrics), strict=True):
        for axis in tagged(item.get("tags"), AXIS) if is_met is not None else ():
            won[axis] = won.get(axis, 0.0) + item["points"] * (is_met or 0.0)
            possible[axis] = possible.get(axis, 0.0) + max(0.0, item["points"])
    return {f"{AXIS}{axis}": won[axis] / possible[axis] for axis in sorted(won) if possible[axis] > 0}
