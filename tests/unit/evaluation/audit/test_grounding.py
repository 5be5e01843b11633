# SPDX-License-Identifier: Apache-2.0
"""What is left of a task without its pictures."""

from pathlib import Path

import pytest

from medix_verl.evaluation.audit.grounding import ground, ground_task
from medix_verl.evaluation.store.read import Evaluation
from medix_verl.evaluation.store.records import Record


def record(
    number: int, value: float | None, condition: str = "real", answer: str = "left lung", **more: object
) -> Record:
    given = {"task": "t", "id": f"{number:03d}", "cluster": str(number), "question": "q", "reference": "left lung"}
    rest = {"response": answer, "answer": answer, "images": ("ab",), "condition": condition, "value": value}
    status = "unscored" if value is None else "scored"
    return Record(**{**given, **rest, "status": status, **more})  # type: ignore[arg-type]


def test_by_hand() -> None:
    # 10 right with the picture; of those, 4 without it; and 2 that are right only without it.
    real = [record(n, float(n < 10)) for n in range(20)]
    blank = [record(n, float(n < 4 or n > 17), "blank", "right" if n < 15 else "Left lung.") for n in range(20)]
    found = ground_task("t", real, {"blank": blank})
    (without,) = found.without
    assert found.real is not None and found.real.value == 0.5
    assert without.accuracy is not None and without.accuracy.value == pytest.approx(0.3)
    assert without.gain is not None and without.gain.value == pytest.approx(0.2) and without.left_out == 0
    assert without.survives is not None and (without.survives.value, without.survives.count) == (0.4, 10)
    assert without.changed is not None and without.changed.value == 0.75  # "Left lung." is the same answer


def test_questions_without_a_score_or_a_picture_are_left_out() -> None:
    real = [record(0, 1.0), record(1, None), record(2, 1.0), record(3, 1.0, images=())]
    blank = [record(0, 1.0, "blank"), record(1, 1.0, "blank"), record(3, 1.0, "blank", images=())]
    (without,) = ground_task("t", real, {"blank": blank}).without
    assert without.left_out == 2 and without.survives is not None and without.survives.count == 1


def test_graded_scores_have_no_survivors() -> None:
    (without,) = ground_task("t", [record(0, 0.6)], {"blank": [record(0, 0.2, "blank")]}).without
    assert without.survives is None and without.gain is not None and without.gain.value == pytest.approx(0.4)


def test_only_tasks_that_were_asked_twice() -> None:
    records = {
        ("t", "real"): [record(0, 1.0)],
        ("t", "shuffled"): [record(0, 0.0, "shuffled")],
        ("u", "real"): [record(0, 1.0)],
    }
    found = ground(Evaluation(Path(), {"model": "m"}, records))
    assert [item.task for item in found] == ["t"] and [item.condition for item in found[0].without] == ["shuffled"]


def test_nothing_is_right_then_nothing_survives() -> None:
    (without,) = ground_task("t", [record(0, 0.0)], {"blank": [record(0, 1.0, "blank")]}).without
    assert without.survives is None
