# SPDX-License-Identifier: Apache-2.0
"""Options are turned with their label, and stay where turning them would change the question."""

from __future__ import annotations

import pytest

from medix_verl.evaluation.task_run import cluster_of
from medix_verl.evaluation.tasks.pictures import Item
from medix_verl.evaluation.tasks.rotation import rotate, rotations_of
from medix_verl.types import Sample


def sample(
    *options: str, answer: str = "", label: str | None = None, question: str = "Which drug?", **meta: str
) -> Sample:
    known = meta if label is None else {**meta, "label": label}
    return Sample("q1", "set", question, answer or options[0], options=options or None, meta=known)


def test_every_rotation_has_its_label_at_the_right_option() -> None:
    found = rotations_of(sample("w", "x", "y", "z", answer="y", label="C"))
    assert [it.id for it in found] == ["q1", "q1#r1", "q1#r2", "q1#r3"]
    assert [it.options for it in found][1] == ("x", "y", "z", "w")
    assert [it.meta["label"] for it in found] == ["C", "B", "A", "D"]
    for it in found:
        assert it.options is not None and it.options["ABCD".index(it.meta["label"])] == it.answer == "y"
        assert it.meta["rotation_of"] == "q1"


@pytest.mark.parametrize(("count", "shifts"), [(0, [0, 1, 2, 3]), (2, [0, 2]), (3, [0, 1, 2]), (9, [0, 1, 2, 3])])
def test_at_most_so_many_evenly_spaced(count: int, shifts: list[int]) -> None:
    assert [it.meta["rotation"] for it in rotations_of(sample("w", "x", "y", "z", label="A"), count)] == shifts


def test_equal_texts_are_told_apart_by_the_label() -> None:
    found = rotations_of(sample("5 mg", "5 mg", "7 mg", label="B"))
    assert [it.meta["label"] for it in found] == ["B", "A", "C"]


def test_an_option_with_its_own_letter_loses_it() -> None:
    found = rotations_of(sample("A. drug", "B. rest", label="B", answer="B. rest"))
    assert found[1].options == ("rest", "drug") and found[1].answer == "rest" and found[1].meta["label"] == "A"


STAY = {
    "no options": sample(answer="x"),
    "one option": sample("x", label="A"),
    "no label and equal texts": sample("x", "x", "y", answer="x"),
    "a label beside its text": sample("x", "y", answer="x", label="B"),
    "all of the above": sample("x", "y", "All of the above", label="A"),
    "none of the above options": sample("x", "none of the options above", label="A"),
    "both A and B": sample("x", "y", "Both A and B", label="A"),
    "A and C": sample("x", "y", "z", "A and C", label="A"),
    "A, B, and C": sample("x", "y", "z", "A, B, and C", label="A"),
    "option B only": sample("x", "y", "Option B", label="A"),
    "the question lists them": sample("x drug", "y drug", label="A", question="Which? (A) x drug (B) y drug"),
}


@pytest.mark.parametrize("name", STAY)
def test_what_cannot_be_turned_stays(name: str) -> None:
    assert rotations_of(STAY[name]) == [STAY[name]]


TURN = {
    "anatomy": sample("above the diaphragm", "below the knee", label="A"),
    "vitamins": sample("vitamin A", "hepatitis B", "only a small amount", label="B", answer="hepatitis B"),
    "none of these": sample("x", "none of these", label="A"),
    "no label, one such text": sample("x", "y", answer="y"),
}


@pytest.mark.parametrize("name", TURN)
def test_what_speaks_of_no_place_is_turned(name: str) -> None:
    assert len(rotations_of(TURN[name])) == len(TURN[name].options or ())


def test_rotations_are_one_cluster() -> None:
    found = rotate([Item(sample("x", "y", label="A"))], 0)
    assert {cluster_of(item.sample) for item in found} == {"q1"} and len(found) == 2
