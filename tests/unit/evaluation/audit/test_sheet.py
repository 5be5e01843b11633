# SPDX-License-Identifier: Apache-2.0
"""The blinded sheet: what it shows and hides, and what comes back of it."""

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.audit.sheet import choose, key_path, read_labels, write_sheet
from medix_verl.evaluation.audit.spreadsheet import csv_text, harmless
from medix_verl.evaluation.store.read import Evaluation
from medix_verl.evaluation.store.records import Record


def record(task: str, number: int, value: float | None = 1.0, **more: object) -> Record:
    given = {"task": task, "id": f"ID-{number:03d}", "cluster": f"c{number // 2}", "question": f"Q{number}?"}
    rest = {"reference": "left lung", "response": "RAW", "answer": f"the left lung, {number}", "judge": "JUDGE-Y"}
    return Record(**{**given, **rest, "value": value, "status": "scored", **more})  # type: ignore[arg-type]


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    records = {
        ("rad_vqa", "real"): [record("rad_vqa", n, float(n % 3 > 0)) for n in range(60)],
        ("medqa", "real"): [record("medqa", n, options=("left lung", "right lung")) for n in range(60, 66)],
        ("mimic_cxr_report_summarization", "real"): [record("mimic_cxr_report_summarization", n) for n in range(9)],
    }
    return Evaluation(tmp_path, {"model": "MODEL-X", "judge": "JUDGE-Y"}, records)


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))


def id_of(key: Path) -> str:
    return json.loads(key.read_text(encoding="ascii"))["sheet"]


def fill(sheet: Path, verdict: str = "yes", count: int | None = None) -> Path:
    rows = rows_of(sheet)
    out = sheet.with_name("filled.csv")
    lines = [f"{row['case']},{verdict if count is None or n < count else ''}," for n, row in enumerate(rows)]
    out.write_text("\n".join(["case,verdict,comment", *lines]) + "\n", encoding="utf-8")
    return out


def test_the_sheet_is_blind(evaluation: Evaluation, tmp_path: Path) -> None:
    sheet, page, key = write_sheet(evaluation, tmp_path / "sheet.csv", 12)
    for path in (sheet, page):
        text = path.read_text(encoding="utf-8")
        assert not any(word in text for word in ("MODEL-X", "JUDGE-Y", "ID-0", "rad_vqa", "medqa", "mimic", "RAW"))
    rows = rows_of(sheet)
    assert [row["case"] for row in rows] == [f"C{n:03d}-{id_of(key)}" for n in range(1, 13)]
    assert {row["verdict"] for row in rows} == {""} and all(row["reference"] == "left lung" for row in rows)
    cases = json.loads(key.read_text(encoding="ascii"))["cases"]
    assert {case["task"] for case in cases.values()} == {"rad_vqa", "medqa"} and key == key_path(sheet)


def test_cases_are_even_seeded_and_need_a_judge(evaluation: Evaluation) -> None:
    records = [item for rows in evaluation.records.values() for item in rows]
    chosen = choose(records, 12, 0)
    assert sum(item.task == "medqa" for item in chosen) == 6
    assert chosen == choose(records[::-1], 12, 0) != choose(records, 12, 1)
    assert choose([record("medqa", 1, answer="Left lung.")], 5, 0) == []
    assert choose([record("own.task", 1)], 5, 0) == []


def test_the_page_is_a_form(evaluation: Evaluation, tmp_path: Path) -> None:
    bad = [record("rad_vqa", 1, question="<script>alert(1)</script>")]
    written = write_sheet(Evaluation(tmp_path, {"model": "m"}, {("rad_vqa", "real"): bad}), tmp_path / "s.csv")
    text = written[1].read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in text and text.count("<script>") == 1 and text.count('type="radio"') == 3
    assert "default-src 'none'" in text


FORMULAS = {
    "=HYPERLINK(1)": "'=HYPERLINK(1)",
    "-3 mm": "'-3 mm",  # a minus begins a formula as well
    "+1": "'+1",
    "@SUM(A1)": "'@SUM(A1)",
    "\t=1": "'\t'=1",
    "\rx": "'\rx",
    "  =1": "'  =1",  # white space before it does not help
    "\ufeff=1": "'\ufeff=1",
    "\uff1d1": "'\uff1d1",  # full-width forms
    "\uff0b1": "'\uff0b1",
    "\uff0d1": "'\uff0d1",
    "\uff20A": "'\uff20A",
    "\u22121": "'\u22121",  # the minus sign
    "left; =1": "left;' =1",  # a spreadsheet that cuts at semicolons
    "a\tb\n@c": "a\tb\n'@c",  # ... or takes a line break for a row
    "a = b": "a = b",
    "3-4 cm, (+)": "3-4 cm, (+)",
    "": "",
}


@pytest.mark.parametrize("text", FORMULAS)
def test_cells_that_a_spreadsheet_would_run(text: str) -> None:
    assert harmless(text) == FORMULAS[text]


def test_formulas_do_not_run(evaluation: Evaluation, tmp_path: Path) -> None:
    bad = [record("rad_vqa", 1, answer="=HYPERLINK(1)"), record("rad_vqa", 2, answer="-3 mm")]
    sheet, _, _ = write_sheet(Evaluation(tmp_path, {"model": "m"}, {("rad_vqa", "real"): bad}), tmp_path / "s.csv")
    # A minus is escaped since it begins a formula too: -3+cmd|'...'!A1 was run.
    assert {row["answer"] for row in rows_of(sheet)} == {"'=HYPERLINK(1)", "'-3 mm"}
    text = csv_text(("case", "answer"), [("C1", 'say "=1"'), ("C2", "a;=1")])
    assert text == 'case,answer\r\nC1,"say ""=1"""\r\nC2,a;\'=1\r\n'


@pytest.mark.skipif(shutil.which("node") is None, reason="node runs the page's script")
def test_comments_of_the_page_do_not_run(evaluation: Evaluation, tmp_path: Path) -> None:
    page = write_sheet(evaluation, tmp_path / "s.csv", 3)[1].read_text(encoding="utf-8")
    function = re.search("const harmless = .*;", page)
    assert function is not None
    script = f"{function[0]}\nconsole.log(JSON.stringify({json.dumps(list(FORMULAS))}.map(harmless)))"
    ran = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(ran.stdout) == list(FORMULAS.values())


def test_a_failed_rewrite_is_no_disagreement(evaluation: Evaluation, tmp_path: Path) -> None:
    sheet, page, key = write_sheet(evaluation, tmp_path / "sheet.csv", 30)
    filled, before = fill(sheet), key.read_bytes()
    page.unlink()
    page.mkdir()  # the page cannot be written
    with pytest.raises(OSError, match=r"sheet\.html"):
        write_sheet(evaluation, sheet, 30, seed=1)
    # The key of the sheet that went out is still there, and no half of a file lies about.
    assert key.read_bytes() == before and len(list(tmp_path.glob("*sheet*"))) == 3
    assert read_labels(filled, key).labelled == 30
    # The new sheet has no key yet: its answers are not counted by the old one.
    with pytest.raises(DataError, match="is of sheet"):
        read_labels(fill(sheet), key)


def test_a_sheet_beside_the_key_of_another(evaluation: Evaluation, tmp_path: Path) -> None:
    first, _, key = write_sheet(evaluation, tmp_path / "a.csv", 30)
    again = write_sheet(evaluation, tmp_path / "b.csv", 30)
    _, page, other_key = write_sheet(evaluation, tmp_path / "c.csv", 30, seed=1)
    assert id_of(key) == id_of(again[2]) != id_of(other_key)  # the same sheet may be written again
    assert id_of(other_key) in page.read_text(encoding="utf-8")
    agreed = tmp_path / "filled.csv"
    cases = json.loads(other_key.read_text())["cases"]
    agreed.write_text("case,verdict\n" + "".join(f"{c},{int(cases[c]['value'])}\n" for c in cases), encoding="utf-8")
    found = read_labels(agreed, other_key)
    assert found.agreement is not None and found.agreement.value == 1.0 and found.sheet == id_of(other_key)
    message = f"line 2: case '.*' is of sheet {id_of(other_key)}, and a.key.json is of sheet {id_of(key)}"
    with pytest.raises(DataError, match=message):
        read_labels(agreed, key)
    assert first.read_bytes() == again[0].read_bytes()


def test_a_rejudged_answer_is_another_sheet(tmp_path: Path) -> None:
    made = [
        write_sheet(
            Evaluation(tmp_path, {"model": "m"}, {("rad_vqa", "real"): [record("rad_vqa", 1, value)]}),
            tmp_path / f"{value}.csv",
        )[2]
        for value in (0.0, 1.0)
    ]
    assert id_of(made[0]) != id_of(made[1])


def test_labels_come_back(evaluation: Evaluation, tmp_path: Path) -> None:
    sheet, _, key = write_sheet(evaluation, tmp_path / "sheet.csv", 60)
    found = read_labels(fill(sheet, "YES ", 40), key)
    judged = json.loads(key.read_text())["cases"]
    right = sum(judged[f"C{n:03d}-{id_of(key)}"]["value"] == 1.0 for n in range(1, 41))
    assert (found.labelled, found.unsure, found.blank) == (40, 0, 20)
    assert found.table == {"yes_yes": right, "yes_no": 0, "no_yes": 40 - right, "no_no": 0}
    assert found.agreement is not None and found.agreement.value == pytest.approx(right / 40)
    assert sum(count for _, count in found.by_task.values()) == 40
    assert read_labels(fill(sheet, "unsure"), key).unsure == 60


def test_what_spreadsheets_make_of_a_sheet(evaluation: Evaluation, tmp_path: Path) -> None:
    _, _, key = write_sheet(evaluation, tmp_path / "sheet.csv", 3)
    filled = tmp_path / "f.csv"
    code = id_of(key)
    text = f'\ufeffcase;question;verdict\r\nC001-{code};"a;\nb";No\r\n;;\r\nC003-{code};x;1\r\n'
    filled.write_bytes(text.encode())
    found = read_labels(filled, key)
    assert (found.labelled, found.blank) == (2, 1)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (
            b"case,verdict\nC999-ID,yes\n",
            "line 2: case 'C999-.*' is not in the key; give the sheet that sheet.key.json is of",
        ),
        (b"case,verdict\nC001-ID,yes\nC001-ID,no\n", "line 3: case 'C001-.*' is there twice"),
        (
            b"case,verdict\nC001,yes\n",
            "line 2: case 'C001' names no sheet, and sheet.key.json is of sheet .*; type --key",
        ),
        (b"case,verdict\nC001-ID,maybe\n", "line 2: verdict is 'maybe'; accepted: yes, y, 1"),
        (b"case,label\nC001,yes\n", "has no column 'verdict'; its first line must be case,question"),
        (b"case,verdict\n\xff,yes\n", "is not UTF-8; save it as CSV UTF-8"),
    ],
)
def test_a_sheet_that_cannot_be_read(evaluation: Evaluation, tmp_path: Path, content: bytes, match: str) -> None:
    _, _, key = write_sheet(evaluation, tmp_path / "sheet.csv", 3)
    filled = tmp_path / "f.csv"
    filled.write_bytes(content.replace(b"-ID", f"-{id_of(key)}".encode()))
    with pytest.raises(DataError, match=match):
        read_labels(filled, key)


@pytest.mark.parametrize(
    "content",
    [
        *("[]", "{}", '{"sheet": "a", "cases": {"C001-a": {"task": "t", "cluster": "c", "value": null}}}'),
        '{"cases": {"C001": {"task": "t", "cluster": "c", "value": 1.0}}}',
        '{"sheet": "a", "cases": {"C001-b": {"task": "t", "cluster": "c", "value": 1.0}}}',
    ],
)
def test_a_key_that_is_none(tmp_path: Path, content: str) -> None:
    key = tmp_path / "k.json"
    with pytest.raises(DataError, match="k.json cannot be read .*; it was written beside the sheet"):
        read_labels(tmp_path / "f.csv", key)
    key.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="k.json is not the key of a sheet"):
        read_labels(tmp_path / "f.csv", key)


def test_nothing_to_label(evaluation: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got a sheet s.txt of 5 cases; give a name that ends in .csv"):
        write_sheet(evaluation, tmp_path / "s.txt", 5)
    only = {key: rows for key, rows in evaluation.records.items() if key[0].startswith("mimic")}
    with pytest.raises(ConfigError, match="has no answer for a sheet: all are credentialed"):
        write_sheet(Evaluation(tmp_path, {"model": "m"}, only), tmp_path / "s.csv")
    assert list(tmp_path.glob("s.*")) == []
