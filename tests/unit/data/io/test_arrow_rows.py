# SPDX-License-Identifier: Apache-2.0
"""Rows of parquet and Arrow files: labels come out as their names, whatever they lie in, and nothing is guessed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medix_verl.data.converters.base import Refused, resolve_options
from medix_verl.data.converters.registry import find, options_of
from medix_verl.data.io.arrow_rows import arrow_rows, parquet_rows
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.types import Sample

NO_YES = {"names": ["no", "yes"], "_type": "ClassLabel"}


def table_of(rows: list[dict[str, Any]], features: Any) -> pa.Table:
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.Table.from_pylist(rows).replace_schema_metadata(metadata)


def answers(values: list[Any], feature: Any) -> list[Any]:
    """The values as they come back from parquet, of a column that `datasets` describes so."""
    file = io.BytesIO()
    pq.write_table(table_of([{"answer": value} for value in values], {"answer": feature}), file)
    return [row["answer"] for row in parquet_rows(file, "train.parquet", ["answer"])]


@pytest.mark.parametrize(
    ("feature", "stored", "expected"),
    [
        (NO_YES, [0, 1, None], ["no", "yes", None]),
        (NO_YES, [1, -1], ["yes", None]),
        ({"names": {"0": "no", "1": "yes"}, "_type": "ClassLabel"}, [0, 1], ["no", "yes"]),
        (NO_YES, ["no", "1"], ["no", "1"]),
        ({"feature": NO_YES, "_type": "List"}, [[0, 1], []], [["no", "yes"], []]),
        ({"feature": NO_YES, "_type": "Sequence", "length": -1}, [[1], None], [["yes"], None]),
        ([NO_YES], [[1, 0]], [["yes", "no"]]),
        ({"a": NO_YES, "n": {"dtype": "int64", "_type": "Value"}}, [{"a": 1, "n": 1}], [{"a": "yes", "n": 1}]),
        ({"feature": [{"a": NO_YES}], "_type": "List"}, [[[{"a": 0}]]], [[[{"a": "no"}]]]),
        ({"feature": {"a": NO_YES}, "_type": "Sequence"}, [{"a": [0, 1]}], [{"a": ["no", "yes"]}]),
        ({"dtype": "int64", "_type": "Value"}, [0, 1], [0, 1]),
        ({"_type": "ClassLabel"}, [0, 1], [0, 1]),
        ({"names": [], "_type": "ClassLabel"}, [0, 1], [0, 1]),
        (None, [0], [0]),
    ],
)
def test_a_label_is_its_name(feature: Any, stored: list[Any], expected: list[Any]) -> None:
    assert answers(stored, feature) == expected


def test_a_label_without_a_name_is_an_error() -> None:
    with pytest.raises(DataError, match=r"train\.parquet, column answer: label 2 has no name among no, yes"):
        answers([0, 2], NO_YES)


@pytest.mark.parametrize("metadata", [b"no json", b"[]", b'{"info": 1}', b'{"info": {"features": []}}'])
def test_a_description_that_cannot_be_read_says_nothing(metadata: bytes) -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"answer": [1]}).replace_schema_metadata({"huggingface": metadata}), file)
    assert list(parquet_rows(file, "train.parquet", ["answer"], ["more"])) == [{"answer": 1, "more": None}]


def test_an_arrow_stream_is_read_in_the_same_way(tmp_path: Path) -> None:
    table = table_of([{"answer": number % 2, "n": number} for number in range(40)], {"answer": NO_YES})
    with pa.OSFile(str(tmp_path / "data.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    with (tmp_path / "data.arrow").open("rb") as file:
        rows = list(arrow_rows(file, "data.arrow", ["n", "answer"]))
    assert rows == [{"n": number, "answer": ("no", "yes")[number % 2]} for number in range(40)]
    with (tmp_path / "data.arrow").open("rb") as file, pytest.raises(DataError, match=r"data\.arrow has no column x"):
        list(arrow_rows(file, "data.arrow", ["x"]))


def test_no_column_of_those_that_may_be_there() -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"answer": [1, 2]}), file)
    assert list(parquet_rows(file, "train.parquet", [], ["more"])) == [{"more": None}, {"more": None}]


PICTURE = {"bytes": b"\x89PNG", "path": None}
VISUAL = {"image": PICTURE, "question": "Is there a fracture?", "answer": 1}
ENDINGS = {f"ending{at}": text for at, text in enumerate("wxyz")}
CHOICES = {f"op{letter}": f"option {letter}" for letter in "abcd"}


def letters(names: str) -> dict[str, Any]:
    return {"names": list(names), "_type": "ClassLabel"}


@pytest.mark.parametrize(
    ("name", "file", "split", "row", "column", "feature", "expected"),
    [
        ("vqa-rad", "train.parquet", "train", VISUAL, "answer", NO_YES, "yes"),
        ("path-vqa", "train.parquet", "train", VISUAL, "answer", NO_YES, "yes"),
        ("kvasir-vqa", "0.parquet", "train", VISUAL, "answer", NO_YES, "yes"),
        ("pubmedqa", "train-0.parquet", "train", {"QUESTION": "Does it?", "CONTEXTS": ["So."], "final_decision": 2},
         "final_decision", {"names": ["yes", "no", "maybe"], "_type": "ClassLabel"}, "maybe"),
        # Here the names are letters, and the converter looks a number up.
        ("medmcqa", "train-0.parquet", "train", {"question": "Which?", **CHOICES, "cop": 2},
         "cop", letters("abcd"), "option c"),
        ("mmlu-medical", "anatomy/test-0.parquet", "test", {"question": "Which?", "choices": [*"wxyz"], "answer": 3},
         "answer", letters("ABCD"), "z"),
        ("medqa", "train-0.parquet", "train", {"sent1": "Which?", **ENDINGS, "label": 1},
         "label", letters("0123"), "x"),
        ("medqa", "train-0.parquet", "train", {"sent1": "Which?", **ENDINGS, "label": 1},
         "label", letters("ABCD"), "x"),
    ],
)  # fmt: skip
def test_converters_get_the_names(
    tmp_path: Path, name: str, file: str, split: str, row: dict[str, Any], column: str, feature: Any, expected: str
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    pq.write_table(table_of([row], {column: feature}), tmp_path / file)
    converter = find(name)
    options = {"subset": "anatomy"} if name == "mmlu-medical" else {}
    source = Source(tmp_path, options=resolve_options(name, options_of(converter), options))
    (item,) = converter.read(source, split)
    assert isinstance(item, Sample) and item.answer == expected


def test_a_withheld_label_refuses_its_row(tmp_path: Path) -> None:
    pq.write_table(table_of([{**VISUAL, "answer": -1}], {"answer": NO_YES}), tmp_path / "train.parquet")
    (item,) = find("vqa-rad").read(Source(tmp_path), "train")
    assert isinstance(item, Refused) and item.reason == "no answer"
