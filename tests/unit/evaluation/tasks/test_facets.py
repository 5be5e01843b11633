# SPDX-License-Identifier: Apache-2.0
"""Rows say their region, kind and theme under the sets' own names; axes are recomputed independently."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import pytest

from medix_verl.evaluation.tasks.facets import axis_scores, facets_of
from medix_verl.types import Sample

ROWS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "slake": (
        {"location": "Lung", "content_type": "Position", "base_type": "vqa"},
        {"region": "Lung", "question_type": "Position"},
    ),
    "medxpertqa": (
        {"body_system": "Skeletal", "question_type": "Reasoning", "medical_task": "Diagnosis"},
        {"region": "Skeletal", "question_type": "Reasoning"},
    ),
    "pubmedvision": ({"body_part": "Chest"}, {"region": "Chest"}),
    "healthbench": ({"tags": ["physician_agreed_category:x", "theme:hedging"]}, {"theme": "hedging"}),
    "a blank and a number": ({"location": " ", "organ": 3}, {}),
    "tags of another form": ({"tags": "theme:hedging"}, {}),
}


@pytest.mark.parametrize("name", ROWS)
def test_facets_of_the_sets(name: str) -> None:
    meta, expected = ROWS[name]
    assert facets_of(Sample("1", "s", "q", "a", meta=meta)) == expected


def simple(items: list[dict[str, Any]], met: list[bool]) -> dict[str, float]:
    """The rubric-tag scores as simple-evals defines them: of each tag's own items, none where nothing can be won."""
    by_tag: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for item, is_met in zip(items, met, strict=True):
        for tag in item["tags"]:
            by_tag[tag].append((item["points"], is_met))
    found = {}
    for tag, pairs in by_tag.items():
        top = sum(points for points, _ in pairs if points > 0)
        if top > 0 and tag.startswith("axis:"):
            found[tag] = sum(points for points, is_met in pairs if is_met) / top
    return found


def test_axes_are_those_of_simple_evals_on_drawn_rubrics() -> None:
    rng = random.Random(7)
    axes = ("axis:accuracy", "axis:completeness", "axis:context_awareness")
    for _ in range(200):
        items = [
            {"criterion": "c", "points": rng.choice([-10, -3, 1, 5, 10]), "tags": ["level:example", rng.choice(axes)]}
            for _ in range(rng.randint(1, 12))
        ]
        met = [rng.random() < 0.5 for _ in items]
        sample = Sample("1", "healthbench", "q", "a", meta={"rubrics": items})
        assert axis_scores(sample, 0.5, [float(is_met) for is_met in met]) == pytest.approx(simple(items, met))


RUBRICS = [
    {"criterion": "a", "points": 5, "tags": ["axis:accuracy"]},
    {"criterion": "b", "points": -5, "tags": ["axis:accuracy"]},
    {"criterion": "c", "points": 2, "tags": ["axis:completeness"]},
]


def test_what_was_not_read_is_in_no_axis() -> None:
    sample = Sample("1", "healthbench", "q", "a", meta={"rubrics": RUBRICS})
    assert axis_scores(sample, 0.5, [1.0, None, None]) == {"axis:accuracy": 1.0}
    assert axis_scores(sample, 0.5, [0.0, 1.0, 1.0]) == {"axis:accuracy": -1.0, "axis:completeness": 1.0}
    assert axis_scores(sample, None, [1.0, 1.0, 1.0]) == {}, "a conversation without a score has no axis"
    # The model said nothing: no criterion is met.
    assert axis_scores(sample, 0.0, []) == {"axis:accuracy": 0.0, "axis:completeness": 0.0}
    assert axis_scores(Sample("1", "s", "q", "a"), 1.0, [1.0]) == {}
