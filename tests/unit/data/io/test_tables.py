# SPDX-License-Identifier: Apache-2.0
"""A user's table: what is read of it, and that each bad line is given by its number while the others are read."""

from __future__ import annotations

import csv
import datetime
import io
import json
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medix_verl.data.io.tables import BadLine, Form, Record, read_table
from medix_verl.errors import DataError, SetupError


def table(tmp_path: Path, content: str | bytes, suffix: str = ".csv", **options: str) -> list[Record | BadLine]:
    path = tmp_path / f"table{suffix}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_table(path, Form(**options)))


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
        ("a,b,a\n", ".csv", "line 1: column 'a' comes twice; name each column once"),
        ('"never closed\n', ".csv", "line 1: unexpected end of data; a table starts with the names of its columns"),
        (b"q\xff,a\n", ".csv", "line 1 is not UTF-8; save the file as UTF-8, or give --set encoding=NAME"),
        (b"\xff\xfeq\x00,\x00a", ".csv", "is no utf-16 .*; save it as UTF-8, or give --set encoding=NAME"),
        ("x", ".xls", r"is not a table; give a file that ends in .jsonl, .ndjson, .csv, .tsv, .xlsx, .json"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: str | bytes, suffix: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        table(tmp_path, content, suffix)


def test_a_table_that_is_not_there_and_a_strange_delimiter_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv: no such file; give the table with your questions"):
        read_table(tmp_path / "gone.csv")
    with pytest.raises(DataError, match="delimiter is 'dash'; accepted: auto, comma, semicolon, tab, pipe"):
        table(tmp_path, "a,b\n", delimiter="dash")
    with pytest.raises(DataError, match="encoding is 'klingon'; accepted: auto, utf-8, utf-16, cp1252"):
        table(tmp_path, "a,b\n", encoding="klingon")
    with pytest.raises(DataError, match="has one column, 'a;b'; type --set delimiter=semicolon"):
        table(tmp_path, "a;b\n", delimiter="comma")


def test_other_delimiters(tmp_path: Path) -> None:
    row = [Record(2, {"a": "1,5", "b": "2"})]
    assert table(tmp_path, "a;b\n1,5;2\n", delimiter="semicolon") == row
    assert table(tmp_path, "a\tb\n1,5\t2\n", ".tsv") == row


@pytest.mark.parametrize(
    ("content", "messages"),
    [
        (b"question,answer\nq,a\n", []),
        ("\ufeffquestion,answer\nq,a\n".encode(), []),
        (b"question;answer\nq;a\n", ["t.csv is read with delimiter semicolon"]),
        (b"question\tanswer\nq\ta\n", ["t.csv is read with delimiter tab"]),
        (b"sep=;\r\nquestion, with;answer\nq;a\n", ["t.csv is read with delimiter semicolon"]),
        ("sep=,\nquestion,answer\nq,a\n".encode("utf-16"), ["t.csv is read with encoding utf-16"]),
        (b"question|answer\nq|a\n", ["t.csv is read with delimiter pipe"]),
        (b'"question";"answer, short"\nq;a\n', ["t.csv is read with delimiter semicolon"]),
        ("question,answer\nq,a\n".encode("utf-16"), ["t.csv is read with encoding utf-16"]),
        ("question,answer\nq,a\n".encode("utf-16-le"), ["t.csv is read with encoding utf-16-le"]),
        ("question,answer\nq,a\n".encode("utf-16-be"), ["t.csv is read with encoding utf-16-be"]),
        ("question;answer\nq;a\n".encode("utf-16"), ["t.csv is read with encoding utf-16 and delimiter semicolon"]),
    ],
)
def test_what_is_recognised_is_said(tmp_path: Path, content: bytes, messages: list[str]) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    heard: list[str] = []
    (record,) = read_table(tmp_path / "t.csv", say=heard.append)
    assert isinstance(record, Record) and list(record.values.values()) == ["q", "a"] and heard == messages


WORDS = "\u00d6dem, \u00fcber 5 \u00b0C \u2013 \u201efrei\u201c, d\u2019\u0153il, ni\u00f1o, \u20ac"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-8"])
def test_a_western_text_is_read_in_its_encoding(tmp_path: Path, encoding: str, suffix: str) -> None:
    text = (
        f'question;answer\n"{WORDS}";x\n' if suffix == ".csv" else json.dumps({"question": WORDS}, ensure_ascii=False)
    )
    (found,) = table(tmp_path, text.encode(encoding), suffix)
    assert isinstance(found, Record) and found.values["question"] == WORDS


@pytest.mark.parametrize("text", ["\u80ba\u90e8\u53ef\u89c1\u7ed3\u8282", "\u9aa8\u6298\u5728\u5de6\u4fa7"])
def test_another_script_is_not_taken_for_a_western_one(tmp_path: Path, text: str) -> None:
    content = f"question,answer\n{text},x\nq,a\n".encode("gb18030")
    first, second = table(tmp_path, content)
    assert isinstance(first, BadLine) and first.encoding and second == Record(3, {"question": "q", "answer": "a"})
    assert table(tmp_path, content, encoding="gb18030")[0] == Record(2, {"question": text, "answer": "x"})


def test_one_damaged_line_of_utf_8_makes_no_other_encoding(tmp_path: Path) -> None:
    content = b"question,answer\n\xc3\x96dem,x\n\xd6dem,y\n"
    first, second = table(tmp_path, content)
    assert first == Record(2, {"question": "\u00d6dem", "answer": "x"})
    assert isinstance(second, BadLine) and second.encoding


def test_the_lines_behind_excels_hint_keep_their_numbers(tmp_path: Path) -> None:
    assert table(tmp_path, b"sep=;\nquestion;answer\nq;a\nonly\n") == [
        Record(3, {"question": "q", "answer": "a"}),
        BadLine(4, "1 cells where the head has 2; quote each cell that holds a delimiter or a line break"),
    ]


def test_an_excel_file(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append([])
    book.active.append(["question", "answer", "tolerance", "on"])
    book.active.append(["Gr\u00f6\u00dfe?", 3.0, 0.05, datetime.date(2026, 1, 31)])
    book.active.append(["", None, None])
    book.active.append(["Is it?", True])
    book.active.append(["Why?", "#N/A"])
    book.active.append(["a", "b", "c", "d", "e"])
    other = book.create_sheet("other")
    other.append(["question"])
    other.append(["there"])
    book.save(tmp_path / "t.xlsx")
    assert list(read_table(tmp_path / "t.xlsx")) == [
        Record(3, {"question": "Gr\u00f6\u00dfe?", "answer": 3, "tolerance": 0.05, "on": "2026-01-31"}),
        Record(5, {"question": "Is it?", "answer": "TRUE"}),
        BadLine(6, "a cell holds Excel's error #N/A; fix the formula or empty the cell"),
        BadLine(7, "5 cells where the head has 4; name each column"),
    ]
    assert list(read_table(tmp_path / "t.xlsx", Form(sheet="other"))) == [Record(2, {"question": "there"})]
    with pytest.raises(DataError, match="has no sheet 'x'; it has Sheet, other: give one as --set sheet=NAME"):
        list(read_table(tmp_path / "t.xlsx", Form(sheet="x")))


def test_a_file_that_is_no_excel_file(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    with pytest.raises(DataError, match=r"table\.xlsx is not a readable Excel file .*; save it again as \.xlsx or CSV"):
        table(tmp_path, "x", ".xlsx")


def test_an_excel_file_without_openpyxl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(SetupError, match=r"type `pip install 'medix-verl\[data\]'`, or save it as CSV"):
        list(read_table(tmp_path / "t.xlsx"))


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


@pytest.mark.parametrize(
    "content",
    [
        "question,answer,,\nWhat?,lung,,\n",  # a spreadsheet's empty columns
        ",question,answer\n0,What?,lung\n",  # pandas' row numbers
        "question,answer\nWhat?,lung,,,\n",  # empty cells behind the last column
    ],
)
def test_columns_without_a_name_are_no_reason_to_refuse(tmp_path: Path, content: str) -> None:
    (record,) = table(tmp_path, content)
    assert isinstance(record, Record)
    assert {"question": "What?", "answer": "lung"}.items() <= record.values.items()
    assert set(record.values) <= {"question", "answer", "column 1"}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_json_list_and_lines_by_other_names(tmp_path: Path, mark: str) -> None:
    rows = [{"question": "What?", "answer": "lung"}, {"question": "Where?", "answer": "left", "n": None}]
    expected = [Record(1, rows[0]), Record(2, {"question": "Where?", "answer": "left"})]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    assert table(tmp_path, mark + json.dumps(rows, indent=1), ".json") == expected
    assert table(tmp_path, mark + lines, ".json") == expected
    assert table(tmp_path, mark + lines, ".ndjson") == expected
    (wrong,) = table(tmp_path, mark + "[7]", ".json")
    assert wrong == BadLine(1, "item 1 of the list is not an object; write question, answer, ... as one")
    with pytest.raises(DataError, match="is not a JSON list"):
        table(tmp_path, mark + "[{]", ".json")


def test_sheets_that_are_not_read_are_told(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (("question", "answer"), ("What?", "lung")):
        book.active.append(row)
    book.create_sheet("more questions")
    book.save(tmp_path / "t.xlsx")
    messages: list[str] = []
    assert len(list(read_table(tmp_path / "t.xlsx", Form(), say=messages.append))) == 1
    assert messages == ["t.xlsx: sheet 'Sheet' is read, not more questions; --set sheet=NAME reads another"]
