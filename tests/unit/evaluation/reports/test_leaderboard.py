# SPDX-License-Identifier: Apache-2.0
"""Any number of evaluations side by side: averages over shared tasks only, marks, bounds, counts, pairs, four forms."""

from __future__ import annotations

import csv
import io
from html.parser import HTMLParser
from pathlib import Path

import pytest

from helpers import made_evaluations as made
from medix_verl.errors import ConfigError
from medix_verl.evaluation.reports.leaderboard import FORMATS, Board, build_board
from medix_verl.evaluation.store.manifest import read_manifest, write_manifest
from medix_verl.report.leaderboard_page import render_page

ROUNDS = 500


def half(number: int) -> float:
    return float(number % 2)


def most(number: int) -> float:
    return float(number % 4 > 0)


def lossy(number: int) -> float | None:
    return None if number < 20 else float(number % 2)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    base = tmp_path_factory.mktemp("boards")
    a = made.evaluation(base / "a", "lab/half", {"medqa": half, "rad_vqa": half})
    b = made.evaluation(base / "b", "lab/most", {"medqa": most, "slake_vqa": most}, finish="length")
    c = made.evaluation(base / "c", "=cmd|'/C calc'!A0 & <b>", {"medqa": lossy}, judge="rule")
    return build_board([a, b, c], rounds=ROUNDS)


def test_the_average_is_over_what_all_have(board: Board) -> None:
    assert board.shared == ["medqa"] and set(board.tasks) == {"medqa", "rad_vqa", "slake_vqa"}
    assert [row.name for row in board.rows][:2] == ["lab/most", "lab/half"], "the best one first"
    best, second, last = board.rows
    assert best.average is not None and second.average is not None
    assert (best.average.value, second.average.value) == (0.75, 0.5)
    # A quarter has no score: there are bounds, and they stand in the average's place.
    assert last.average is None and last.text == "37.5% to 62.5% (bounds)"
    assert last.cells["medqa"].counts == "n 60 of 80" and best.cells["medqa"].counts == "n 80, 80 cut off"
    assert "rule" in board.notes[1] and "the figures do not compare models" in board.notes[1]


def test_two_are_paired_where_they_share_questions(board: Board) -> None:
    pair = board.pairs[0]
    assert (pair.a, pair.b, pair.tasks, pair.questions) == ("lab/half", "lab/most", 1, 80)
    assert pair.macro is not None and pair.macro.difference.value == pytest.approx(0.25)
    assert pair.p_holm is not None and pair.p_holm >= pair.macro.p_value and pair.macro.p_value < 0.01
    others = board.pairs[1:]
    assert [(it.cause, it.apart, it.questions) for it in others] == [("", ("judge",), 60)] * 2


def test_other_questions_are_not_paired(tmp_path: Path) -> None:
    a = made.evaluation(tmp_path / "a", "a", {"medqa": half})
    b = made.evaluation(tmp_path / "b", "b", {"medqa": half}, question="Another?")
    c = made.evaluation(tmp_path / "c", "c", {"rad_vqa": half})
    first, second, third = build_board([a, b, c], rounds=ROUNDS).pairs
    assert first.macro is None and "stands for two questions" in first.cause and "Another?" not in first.cause
    assert second.cause == third.cause == "no question has a score in both"


def test_marks_and_their_legends(tmp_path: Path) -> None:
    a = made.evaluation(tmp_path / "a", "a", {"medqa": half}, judge="rule", count=20, answer_type="open")
    found = build_board([a])
    assert found.rows[0].text.startswith("≥ 50.0% ~[") and found.rows[0].cells["medqa"].text.startswith("≥ 50.0% ~[")
    assert any(note.startswith("≥ marks a lower bound") for note in found.notes)
    assert any(note.startswith("~ marks an approximate interval") for note in found.notes)


def test_what_is_amiss_with_a_whole_evaluation_is_said(tmp_path: Path) -> None:
    folder = made.evaluation(tmp_path / "a", "a", {"medqa": lossy})
    manifest = {**read_manifest(folder), "finished": False, "counting": {"max_unscored": 0.02, "errors": "wrong"}}
    write_manifest(folder, {**manifest, "settings": {"limit": 80}})
    found = build_board([folder])
    assert found.rows[0].notes == ["not finished", "only 80 questions of each task", "no score counts as wrong"]
    assert found.rows[0].average is not None and found.rows[0].average.value == 30 / 80
    assert "a: not finished." in found.notes and found.pairs == []


def test_no_text_of_a_question_is_on_it(tmp_path: Path) -> None:
    tasks = {"mimic_cxr_report_generation": half}
    folders = [
        made.evaluation(tmp_path / name, name, tasks, question=f"{made.SECRET} {name}", metrics={"rouge_l": 0.5})
        for name in ("a", "b")
    ]
    found = build_board(folders, rounds=ROUNDS)
    texts = [render_page(found), *(form(found) for form in FORMATS.values())]
    assert all("rouge" in text and made.SECRET not in text for text in texts)


def test_one_model_twice_is_told_apart(tmp_path: Path) -> None:
    folders = [made.evaluation(tmp_path / name, "m", {"medqa": half}) for name in ("x", "y")]
    assert {row.name for row in build_board(folders, rounds=ROUNDS).rows} == {"m (x)", "m (y)"}
    twin = made.evaluation(tmp_path / "other" / "x", "m", {"medqa": half})
    names = {row.name for row in build_board([folders[0], twin], rounds=ROUNDS).rows}
    assert names == {f"m ({folders[0]})", f"m ({twin})"}, "two folders of one name are two rows"
    with pytest.raises(ConfigError, match="name each once"):
        build_board([folders[0], folders[0]])
    with pytest.raises(ConfigError, match="got 0 folders"):
        build_board([])


def test_csv_is_read_by_programs_and_run_by_no_spreadsheet(board: Board) -> None:
    lines = list(csv.DictReader(io.StringIO(FORMATS[".csv"](board))))
    one = next(line for line in lines if line["model"] == "lab/most" and line["metric"] == "average")
    assert float(one["value"]) == 0.75 and one["lower_bound"] == "False" and one["approximate"] == "False"
    lost = next(line for line in lines if line["model"].startswith("'=cmd") and line["metric"] == "score")
    assert (lost["value"], float(lost["worst"]), float(lost["best"])) == ("", 0.375, 0.625)
    assert (lost["scored"], lost["unscored"], lost["lower_bound"]) == ("60", "20", "False")
    pairs = [line for line in lines if line["metric"] == "difference"]
    assert len(pairs) == 3 and float(pairs[0]["value"]) == pytest.approx(0.25) and pairs[0]["beside"] == "lab/half"
    assert all(line["low"] == str(float(line["low"])) for line in pairs), "numbers below 0 stay numbers"


def test_markdown_and_latex_are_escaped(board: Board) -> None:
    text = FORMATS[".md"](board)
    head = next(line for line in text.splitlines() if line.startswith("| model |"))
    assert ("=cmd\\|'/C calc'" in text and head == "| model | judge | average | medqa | rad_vqa | slake_vqa |") or (
        head == "| model | judge | average | medqa | slake_vqa | rad_vqa |"
    )
    latex = FORMATS[".tex"](board)
    assert r"'!A0 \& $<$b$>$" in latex and r"slake\_vqa" in latex and "\\toprule" in latex
    body = [line for line in latex.splitlines() if not line.startswith("%")]
    assert not any("%" in line.replace(r"\%", "") or "≥" in line for line in body)
    assert latex.count("\\begin{tabular}") == latex.count("\\end{tabular}") == 2


class Cells(HTMLParser):
    """The texts of a page's cells, and that every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("td", "th"):
            self.cells.append("")
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data


def test_the_page_stands_alone_and_is_escaped(board: Board) -> None:
    page = render_page(board)
    read = Cells()
    read.feed(page)
    assert not read.open and "75.0% [64.5%" in "".join(read.cells) and "37.5% to 62.5% (bounds)" in read.cells
    assert any(cell.startswith("=cmd|'/C calc'!A0 & <b>") for cell in read.cells)
    assert "<b>Before" in page and "& <b>" not in page
    assert "<script" not in page and "http" not in page.replace("http-equiv", ""), "nothing is run or fetched"
