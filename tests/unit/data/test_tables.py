# SPDX-License-Identifier: Apache-2.0
"""A user's table: what is read of it, and that each bad line is given by its number while the others are read."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medix_verl.data.tables import BadLine, Record, read_table
from medix_verl.errors import DataError


def table(tmp_path: Path, content: str | bytes, suffix: str = ".csv", **options: str) -> list[Record | BadLine]:
    path = tmp_path / f"table{suffix}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_table(path, **options))


def test_csv_cells_are_texts_and_empty_ones_are_left_out(tmp_path: Path) -> None:
    assert table(tmp_path, "question,answer,n\nWhat?,007,\nAnd?,None,1e5\n") == [
        Record(2, {"question": "What?", "answer": "007"}),
        Record(3, {"question": "And?", "answer": "None", "n": "1e5"}),
    ]


def test_quoted_line_breaks_and_a_mark_at_the_start(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfquestion,answer\r\n"two\nlines","say ""yes"""\r\nlast,one'
    assert table(tmp_path, content) == [
        Record(2, {"question": "two\nlines", "answer": 'say "yes"'}),
        Record(4, {"question": "last", "answer": "one"}),
    ]


def test_every_bad_line_of_a_csv_is_numbered_and_the_others_are_read(tmp_path: Path) -> None:
    content = b'question,answer\na,b\nonly one\na,b,c\nbad \xff byte,x\n"q"uote,x\n\nlast,row\n"never closed,x\n'
    found = table(tmp_path, content)
    assert [item.line for item in found if isinstance(item, BadLine)] == [3, 4, 5, 6, 9]
    assert [item.line for item in found if isinstance(item, Record)] == [2, 8]
    details = [item.detail for item in found if isinstance(item, BadLine)]
    assert "1 cells where the head has 2; quote each cell" in details[0]
    assert "3 cells where the head has 2" in details[1]
    assert "not UTF-8; save the file as UTF-8" in details[2]
    assert "quote the cell, and double each quote inside it" in details[3]
    assert "unexpected end of data" in details[4]


def test_every_bad_line_of_a_jsonl_is_numbered_and_the_others_are_read(tmp_path: Path) -> None:
    lines = [b'{"a": 1, "b": null, "c": ""}', b"", b"[1]", b"{", b'{"a": "\\ud800"}', b'{"a": "\xff"}', b'{"a": NaN}']
    found = table(tmp_path, b"\xef\xbb\xbf" + b"\n".join([*lines, b'{"a": "last"}']), ".jsonl")
    assert [item for item in found if isinstance(item, Record)] == [Record(1, {"a": 1}), Record(8, {"a": "last"})]
    assert [(item.line, item.detail.split(";")[0]) for item in found if isinstance(item, BadLine)] == [
        (3, "the line is a list"),
        (4, "not JSON (Expecting property name enclosed in double quotes at column 2)"),
        (5, "the line holds half of a surrogate pair"),
        (6, "byte 8 is not UTF-8"),
        (7, "the line holds NaN or Infinity, or is nested too deeply"),
    ]


@pytest.mark.parametrize(
    ("content", "suffix", "message"),
    [
        ("", ".csv", "has no line of column names; write question,answer in its first line"),
        ("\n\n", ".csv", "has no line of column names"),
        ("a,b,a\n", ".csv", "line 1: column 'a' comes twice or has no name; name each column once"),
        ("a,,b\n", ".csv", "line 1: column without a name comes twice or has no name"),
        ("question;answer\na;b\n", ".csv", "has one column, 'question;answer'; type --set delimiter=semicolon"),
        ("question\tanswer\n", ".csv", "type --set delimiter=tab"),
        ('"never closed\n', ".csv", "line 1: unexpected end of data; a table starts with the names of its columns"),
        (b"\xff\xfeq\x00,\x00a\x00\n\x00", ".csv", "line 1 is not UTF-8; save the file as UTF-8"),
        ("x", ".xlsx", r"is no table; give a file that ends in .jsonl, .csv, .tsv"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: str | bytes, suffix: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        table(tmp_path, content, suffix)


def test_a_table_that_is_not_there_and_a_strange_delimiter_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv: no such file; give the table with your questions"):
        read_table(tmp_path / "gone.csv")
    with pytest.raises(DataError, match="delimiter is 'pipe'; accepted: auto, comma, semicolon, tab"):
        table(tmp_path, "a,b\n", delimiter="pipe")


def test_other_delimiters(tmp_path: Path) -> None:
    row = [Record(2, {"a": "1,5", "b": "2"})]
    assert table(tmp_path, "a;b\n1,5;2\n", delimiter="semicolon") == row
    assert table(tmp_path, "a\tb\n1,5\t2\n", ".tsv") == row


def test_names_are_checked_at_the_head_or_in_each_record(tmp_path: Path) -> None:
    seen: list[tuple[list[str], int, bool]] = []
    for suffix, content in ((".csv", "a,b\n1,2\n3,4\n"), (".jsonl", '{"a": 1}\n{"b": 2}\n')):
        path = tmp_path / f"t{suffix}"
        path.write_text(content)
        list(read_table(path, check=lambda *given: seen.append(given)))
    assert seen == [(["a", "b"], 1, True), (["a"], 1, False), (["b"], 2, False)]


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
ROWS = st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=8)


@settings(deadline=None)
@given(ROWS)
def test_what_a_csv_writer_wrote_is_read_back(rows: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([["question", "answer"], *rows])
    with tempfile.TemporaryDirectory() as folder:
        found = table(Path(folder), text.getvalue())
    assert [item for item in found if isinstance(item, BadLine)] == []
    wanted = [dict(zip(("question", "answer"), row, strict=True)) for row in rows]
    kept = [{key: cell for key, cell in row.items() if cell.strip()} for row in wanted]
    assert [item.values for item in found if isinstance(item, Record)] == kept


@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.one_of(st.text(max_size=9), st.integers(), st.none())), max_size=6)
)
def test_jsonl_is_read_back_or_refused_line_by_line(rows: list[dict[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = table(Path(folder), "".join(json.dumps(row) + "\n" for row in rows), ".jsonl")
    assert [item.line for item in found] == list(range(1, len(rows) + 1))
    for item, row in zip(found, rows, strict=True):
        if isinstance(item, Record):
            assert item.values == {key: value for key, value in row.items() if value is not None and value != ""}


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from([".csv", ".jsonl", ".tsv"]))
def test_no_bytes_break_the_reader(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = table(Path(folder), content, suffix)
        except DataError:
            return
    assert [item.line for item in found] == sorted({item.line for item in found})
    for item in found:
        if isinstance(item, Record):
            json.dumps(item.values, ensure_ascii=False, allow_nan=False).encode("utf-8")
