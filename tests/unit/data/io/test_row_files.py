# SPDX-License-Identifier: Apache-2.0
"""Rows of text files keep their types and come one by one; a bad line is named."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.data.io import row_files as rowfiles
from medix_verl.data.io.row_files import read_rows
from medix_verl.errors import DataError

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(st.characters(exclude_categories=["Cs"]))),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text('ab\n"\\]},', max_size=3), inner)),
    max_leaves=6,
)
ROWS = st.lists(st.dictionaries(st.text("abc", min_size=1, max_size=2), JSON, min_size=1), max_size=6)


@given(ROWS, st.sampled_from([None, 1]), st.integers(1, 40))
def test_a_json_list_is_read_whatever_its_blocks(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], indent: int | None, chunk: int
) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.json"
    path.write_text(json.dumps(rows, indent=indent, ensure_ascii=False), encoding="utf-8")
    before, rowfiles.CHUNK = rowfiles.CHUNK, chunk
    try:
        assert list(read_rows(path)) == rows
    finally:
        rowfiles.CHUNK = before


@given(ROWS)
def test_json_lines_are_read(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    path.write_text("\ufeff" + "\n\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    assert list(read_rows(path)) == rows


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(st.lists(st.tuples(CELL, CELL.filter(bool)), min_size=1, max_size=5), st.sampled_from([".csv", ".tsv"]))
def test_a_table_stays_text(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]], suffix: str
) -> None:
    path = tmp_path_factory.mktemp("rows") / f"a{suffix}"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="," if suffix == ".csv" else "\t").writerows([("one", "two"), *cells])
    assert [(row["one"], row["two"]) for row in read_rows(path)] == cells


def test_nothing_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("answer,n\nNone,007\nNA,\n", encoding="utf-8")
    assert list(read_rows(tmp_path / "a.csv")) == [{"answer": "None", "n": "007"}, {"answer": "NA", "n": ""}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"a,b\n1,2\n3\n", r"a\.csv line 3 has 1 cells, the head 2"),
        ("a.csv", b"a,a\n1,2\n", r"a\.csv line 1 is \['a', 'a'\]"),
        ("a.csv", b"", r"a\.csv line 1 is None"),
        ("a.csv", b'a,b\n"x"y,2\n', r"a\.csv line 2: .*fix the line's quotes"),
        ("a.csv", b"a,b\n\xff,2\n", r"a\.csv is not UTF-8"),
        ("a.json", b'[{"a": 1}, {"a": ', r"a\.json row 2 is cut off or not JSON"),
        ("a.json", b'[{"a": 1}, 3]', r"a\.json row 2 is a number; a row is a JSON object"),
        ("a.json", b"[" * 100_000, r"a\.json row 1 cannot be read \(RecursionError\)"),
        ("a.jsonl", b'{"a": 1}\n{"a"\n', r"a\.jsonl line 2 is not JSON .*write one JSON object a line"),
        ("a.json", b'{\n "a": 1\n}', r"a\.json line 1 is not JSON"),
        ("a.jsonl", b'{"a": ' + b"1" * 5000 + b"}", r"a\.jsonl line 1 cannot be read \(ValueError\)"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_rows(tmp_path / name))


def test_an_empty_json_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n")
    assert list(read_rows(tmp_path / "a.jsonl")) == []
