# SPDX-License-Identifier: Apache-2.0
"""What a labelled pair and an attack are, what is refused, and the attacks that come with the package."""

import json
from pathlib import Path
from typing import Any

import pytest

from medix_verl.errors import DataError
from medix_verl.evaluation.audit.pairs import BUILTIN, PAIR, read_attacks, read_pairs
from medix_verl.judge.rule.equality import equal

GOOD = {"reference": "mass", "candidate": "a mass", "label": True}
ATTACK = {"attack": "a1", "kind": "k", "question": "q", "reference": "mass", "candidate": ":"}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def without(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != key}


def test_pairs(tmp_path: Path) -> None:
    more = {"question": "q", "options": ["cyst", "mass"], "synonyms": ["tumour"], "tolerance": 0.1, "id": "x"}
    plain, rich = read_pairs(write(tmp_path / "p", GOOD, {**GOOD, **more, "label": 0}))
    assert (plain.name, plain.kind, plain.candidate, plain.label) == ("1", PAIR, "a mass", True)
    assert plain.reference.question is None and plain.reference.options is None
    assert (rich.name, rich.label, rich.reference.options) == ("x", False, ("cyst", "mass"))
    assert (rich.reference.synonyms, rich.reference.tolerance) == (("tumour",), 0.1)


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ([], "line 2: the line is a list"),
        (without(GOOD, "label"), "line 2: the key 'label' is missing; each line needs reference, candidate and label"),
        (without(GOOD, "reference"), "line 2: the key 'reference' is missing"),
        (without(GOOD, "candidate"), "line 2: the key 'candidate' is missing"),
        ({**GOOD, "label": "YES"}, "line 2: label is a text; accepted: true, false, 1, 0"),
        ({**GOOD, "label": 2}, "line 2: label is 2"),
        ({**GOOD, "label": None}, "line 2: label is null"),
        ({**GOOD, "candidate": 5}, "line 2: candidate is a number; accepted: a text"),
        ({**GOOD, "reference": " "}, "line 2: reference is empty"),
        ({**GOOD, "options": "A"}, "line 2: options is a text; accepted: a list of texts"),
        ({**GOOD, "tolerance": -1}, "line 2: tolerance is -1"),
        ({**GOOD, "tolerance": "x"}, "line 2: tolerance is a text"),
    ],
)
def test_a_bad_pair_is_named_by_its_line(tmp_path: Path, row: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        read_pairs(write(tmp_path / "p", GOOD, row))


@pytest.mark.parametrize(
    ("row", "match"),
    [
        (without(ATTACK, "attack"), "line 2: the key 'attack' is missing; each line needs attack, kind, question"),
        (without(ATTACK, "question"), "line 2: the key 'question' is missing"),
        ({**ATTACK, "kind": ""}, "line 2: attack is 'a1' and kind is ''"),
        ({**ATTACK, "kind": PAIR}, "line 2: attack is 'a1' and kind is 'pair'"),
    ],
)
def test_a_bad_attack_is_named_by_its_line(tmp_path: Path, row: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        read_attacks(write(tmp_path / "a", ATTACK, row))


def test_an_empty_file_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="p has no line; write at least one with reference, candidate and label"):
        read_pairs(write(tmp_path / "p"))
    with pytest.raises(DataError, match="nowhere is not a file; give a JSONL file whose lines have attack, kind"):
        read_attacks(tmp_path / "nowhere")


def test_the_attacks_of_the_package() -> None:
    cases = read_attacks()
    assert BUILTIN.is_file() and len(cases) >= 60
    assert len({case.name for case in cases}) == len(cases)
    assert len({case.kind for case in cases}) >= 15
    assert not any(case.label or equal(case.candidate, case.reference) for case in cases)


@pytest.mark.parametrize(
    "key", [":", ".", ",", "Thought process:", "Solution", "Let's solve this problem step by step."]
)
def test_the_master_keys_are_among_them(key: str) -> None:
    assert key in {case.candidate for case in read_attacks() if case.kind == "master_key"}
