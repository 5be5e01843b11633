# SPDX-License-Identifier: Apache-2.0
"""Records: the same bytes for the same records, back as they were, and every bad line refused by its number."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.errors import DataError
from medix_verl.evaluation.store.records import Record, cut_off, read_records, record_path, write_records

RECORD = Record(
    task="slake_vqa",
    id="slake-1",
    cluster="image:a",
    question="What is seen?",
    reference="pneumonia",
    response="<think>t</think><answer>pneumonia</answer>",
    answer="pneumonia",
    value=1.0,
    status="scored",
    reason="equality",
    votes=(1.0, None, 1.0),
    judge="rule",
    answer_type="open",
    modality="X_RAY",
    data_source="slake",
    images=("ab12",),
    condition="real",
    options=("a", "b"),
    latency_s=0.25,
    rotation_of="slake",
    rotation=1,
    facets={"region": "Lung"},
    metrics={"axis:accuracy": -0.5, "rouge_l": 1.0},
    tokens=(71, 5),
)


def test_records_come_back_sorted_as_they_were(tmp_path: Path) -> None:
    path = record_path(tmp_path, "slake_vqa")
    records = [replace(RECORD, id=name) for name in ("c", "a", "b")]
    assert write_records(path, iter(records)) == 3
    assert read_records(path) == [records[1], records[2], records[0]]
    assert [item.name for item in path.parent.iterdir()] == ["slake_vqa.jsonl"]


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    records = [replace(RECORD, id=str(number), question="Größe ≥ 3 cm?\u2028") for number in range(5)]
    write_records(tmp_path / "a.jsonl", records)
    write_records(tmp_path / "b.jsonl", reversed(records))
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


@given(st.text(min_size=1), st.text(), st.floats(0, 1), st.lists(st.none() | st.floats(0, 1)))
def test_any_text_and_any_vote_survive(name: str, text: str, value: float, votes: list[float | None]) -> None:
    import tempfile

    record = replace(RECORD, id=name, question=text, response=text, answer=text, value=value, votes=tuple(votes))
    with tempfile.TemporaryDirectory() as folder:
        write_records(Path(folder) / "r.jsonl", [record])
        assert read_records(Path(folder) / "r.jsonl") == [record]


def test_an_id_is_given_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"r\.jsonl: two records have the id 'slake-1'"):
        write_records(tmp_path / "r.jsonl", [RECORD, RECORD])
    assert not (tmp_path / "r.jsonl").exists()


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a file"):
        read_records(tmp_path / "r.jsonl")


def test_where_records_lie() -> None:
    assert record_path(Path("e"), "medqa") == Path("e/records/medqa.jsonl")
    assert record_path(Path("e"), "slake_vqa", "blank") == Path("e/records/slake_vqa.blank.jsonl")
    with pytest.raises(DataError, match="condition is 'black'; accepted: real, blank, shuffled"):
        record_path(Path("e"), "slake_vqa", "black")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": None}, "status is 'scored' and value is None"),
        ({"status": "unscored"}, "status is 'unscored' and value is 1.0"),
        ({"status": "ok"}, "status is 'ok'; accepted: scored, unscored, error"),
        ({"value": 1.5}, "a value or vote is 1.5; accepted: 0 to 1"),
        ({"value": float("nan")}, "a value or vote is nan"),
        ({"votes": [1, -1]}, "a value or vote is -1.0"),
        ({"votes": [True]}, "votes is a boolean; accepted: a number or null"),
        ({"votes": 1}, "votes is a number; accepted: a list"),
        ({"value": "1"}, "value is a text; accepted: a number or null"),
        ({"id": ""}, "id is empty"),
        ({"id": 7}, "id is a number; accepted: a text"),
        ({"question": None}, "question is null; accepted: a text"),
        ({"images": ["a", 1]}, "images is a number; accepted: a text"),
        ({"answer_type": "mixed"}, "answer_type is 'mixed'"),
        ({"condition": "black"}, "condition is 'black'"),
        ({"latency_s": -1}, "latency_s is -1.0"),
        ({"latency_s": float("inf")}, "latency_s is inf"),
        ({"metrics": {"rouge_l": 1.5}}, "metrics are {'rouge_l': 1.5}; accepted: numbers of at most 1"),
        ({"metrics": {"rouge_l": float("nan")}}, "metrics are"),
        ({"metrics": {"rouge_l": "x"}}, "metrics.rouge_l is a text; accepted: a number"),
        ({"facets": {"region": 3}}, "facets.region is a number; accepted: a text"),
        ({"tokens": [1, -1]}, "tokens are (1, -1); accepted: two counts"),
        ({"tokens": [1]}, "tokens are"),
        ({"rotation": -1}, "rotation is -1"),
        ({"rotation": 0.5}, "rotation is a number; accepted: a whole number"),
        ({"score": 1}, "unknown key 'score'"),
    ],
)
def test_a_bad_line_is_refused_by_its_number(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    good, bad = asdict(RECORD), {**asdict(RECORD), "id": "other", **changes}
    (tmp_path / "r.jsonl").write_text(json.dumps(good) + "\n" + json.dumps(bad) + "\n")
    with pytest.raises(DataError) as caught:
        read_records(tmp_path / "r.jsonl")
    assert "r.jsonl line 2: " in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize("key", ["task", "votes", "latency_s", "value"])
def test_a_missing_key_is_refused(key: str, tmp_path: Path) -> None:
    row = asdict(RECORD)
    del row[key]
    (tmp_path / "r.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=f"line 1: the key '{key}' is missing"):
        read_records(tmp_path / "r.jsonl")


def test_an_id_that_comes_again_is_refused(tmp_path: Path) -> None:
    line = json.dumps(asdict(RECORD)) + "\n"
    (tmp_path / "r.jsonl").write_text(line + line)
    with pytest.raises(DataError, match="line 2: the id 'slake-1' was given on line 1"):
        read_records(tmp_path / "r.jsonl")


def test_how_an_answer_ended_is_one_of_a_closed_set_and_may_be_unknown(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write_records(path, [replace(RECORD, finish="length")])
    assert read_records(path)[0].finish == "length"
    old = {key: value for key, value in asdict(RECORD).items() if key != "finish"}
    path.write_text(json.dumps(old) + "\n")
    assert read_records(path) == [RECORD] and RECORD.finish is None  # a record of before
    with pytest.raises(DataError, match="finish is 'cut'; accepted: stop, length, content_filter, empty"):
        replace(RECORD, finish="cut")


def test_answers_that_were_cut_off_are_counted_by_how() -> None:
    ends = ["stop", "length", "length", "content_filter", "empty", None]
    assert cut_off([replace(RECORD, finish=end) for end in ends]) == {"length": 2, "content_filter": 1, "empty": 1}
    assert cut_off([RECORD]) == {}


def test_a_record_of_before_says_nothing_of_it(tmp_path: Path) -> None:
    old = {
        key: value for key, value in asdict(RECORD).items() if key not in ("metrics", "facets", "tokens", "rotation")
    }
    (tmp_path / "r.jsonl").write_text(json.dumps({**old, "rotation_of": None}) + "\n")
    (read,) = read_records(tmp_path / "r.jsonl")
    assert (read.metrics, read.facets, read.tokens, read.rotation) == ({}, {}, None, 0)
