# SPDX-License-Identifier: Apache-2.0
"""The journal: what was put outlives a kill, and a torn line is not taken for an answer."""

from pathlib import Path

import pytest

from medix_verl.errors import DataError
from medix_verl.evaluation.journal import Journal, key_of


def test_what_was_put_is_there_after_opening_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "deep" / "j.jsonl")
    journal.put("a", {"text": "é\n", "latency_s": 1.5})
    # Not closed: a killed process closes nothing.
    assert Journal(tmp_path / "deep" / "j.jsonl").get("a") == {"text": "é\n", "latency_s": 1.5}


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_torn_last_line_is_dropped_and_written_over(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "j.jsonl"
    journal = Journal(path)
    journal.put("a", "first")
    journal.put("b", "second")
    journal.close()
    path.write_bytes(path.read_bytes()[:-cut])
    again = Journal(path)
    assert (again.get("a"), again.get("b")) == ("first", None)
    again.put("c", "third")
    again.close()
    last = Journal(path)
    assert [last.get(key) for key in "abc"] == ["first", None, "third"]


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text('{"key": "a", "value": 1}\nnonsense\n{"key": "b", "value": 2}\n')
    with pytest.raises(DataError, match="line 2 is damaged"):
        Journal(path)


def test_the_first_value_stays(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text('{"key": "a", "value": 1}\n{"key": "a", "value": 2}\n')
    assert Journal(path).get("a") == 1


def test_a_key_depends_on_every_part_and_not_on_the_order_of_a_mapping() -> None:
    assert key_of("a", {"x": 1, "y": 2}) == key_of("a", {"y": 2, "x": 1})
    assert len({key_of("a", "bc"), key_of("ab", "c"), key_of(["a", "bc"]), key_of("a", "bc", None)}) == 4
