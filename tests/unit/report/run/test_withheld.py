# SPDX-License-Identifier: Apache-2.0
"""What the page of a run must not show: rows that their own data set calls credentialed, and rows that nobody knows."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import run_folder
from medix_verl.data.io.parquet import write_samples
from medix_verl.report.run.content import Run, read_run
from medix_verl.report.run.dumps import Answer
from medix_verl.report.run.files import find_run
from medix_verl.report.run.page import render_run
from medix_verl.report.run.rows import read_rows, withheld
from medix_verl.runs.record import DataFile, Identity, RunRecord, write_record
from medix_verl.types import Sample

RULE = Identity("rule")


def clinic(number: int) -> Sample:
    """A row of somebody's own data set, which says of itself that it must not leave the machine."""
    row = run_folder.rows("clinic")[number]
    return replace(row, id=f"own-{number}", question=f"Patient Ypsilon {number}?", answer=f"finding {number}",
                   meta={"credentialed": True})  # fmt: skip


def made(folder: Path, *parts: dict[str, object]) -> Path:
    """A run on five open rows and three credentialed ones, each in a file of its own."""
    open_rows, closed = run_folder.rows()[:5], [clinic(number) for number in range(3)]
    write_samples(open_rows, folder.with_name("open.parquet"))
    write_samples(closed, folder.with_name("clinic.parquet"))
    lines = [run_folder.answer_line(row, f"v-{n}_0_0", False) for n, row in enumerate([*open_rows, *closed])]
    lines[5]["output"] = "<think>t</think><answer>said of Ypsilon</answer>"
    run_folder.write(folder / "validation" / "1.jsonl", lines)
    run_folder.write(folder / "rollouts" / "1.jsonl", lines)
    if parts:
        run_folder.write(folder / "rollouts" / "parts" / "val-1.jsonl", list(parts))
    return folder


def recorded(folder: Path, *names: str) -> None:
    """The record that a recipe leaves in the run's folder, with the files as they were typed."""
    data = tuple(DataFile("train", name) for name in names)
    record = RunRecord("2026-01-31T12:00:00Z", (), (), {}, {}, {}, data, RULE, RULE, RULE, 0,
                       directory=str(folder.parent))  # fmt: skip
    write_record(record, folder / "checkpoints")


def read(folder: Path, *data: Path) -> tuple[Run, str]:
    run = read_run(find_run(folder), data)
    return run, render_run(run)


def test_rows_that_say_so_are_withheld_and_the_others_are_shown(tmp_path: Path) -> None:
    folder = made(tmp_path / "run")
    run, text = read(folder, tmp_path / "open.parquet", tmp_path / "clinic.parquet")
    assert run.withheld == 6 and "Ypsilon" not in text and "finding 1" not in text
    shown = dict(run.shown)["Validation"]
    assert len(shown) == 5 and all(item.pictures and item.source == "rad" for item in shown)


def test_the_runs_own_record_names_the_files(tmp_path: Path) -> None:
    folder = made(tmp_path / "run")
    recorded(folder, "open.parquet", "clinic.parquet")
    run, text = read(folder)
    assert run.withheld == 6 and len(dict(run.shown)["Training"]) == 5 and "Ypsilon" not in text


def test_what_an_earlier_run_into_the_folder_was_trained_on_counts_too(tmp_path: Path) -> None:
    folder = made(tmp_path / "run")
    recorded(folder, "clinic.parquet")
    (folder / "checkpoints" / "medix_run.json").rename(folder / "checkpoints" / "medix_run.1.json")
    recorded(folder, "open.parquet")
    assert read(folder)[0].withheld == 6


@pytest.mark.parametrize("given", [(), ("open.parquet",)])
def test_a_row_that_is_in_no_file_is_withheld(tmp_path: Path, given: tuple[str, ...]) -> None:
    folder = made(tmp_path / "run")
    recorded(folder, "open.parquet", "moved/clinic.parquet")
    if not given:
        (tmp_path / "open.parquet").rename(tmp_path / "elsewhere.parquet")
    run, text = read(folder, *(tmp_path / name for name in given))
    assert run.withheld == (6 if given else 16) and "Ypsilon" not in text
    assert "--data FILE.parquet" in text


def test_the_report_beside_a_prepared_file_counts(tmp_path: Path) -> None:
    folder = made(tmp_path / "run")
    (tmp_path / "open.report.json").write_text(json.dumps({"credentialed": True}))
    run, text = read(folder, tmp_path / "open.parquet", tmp_path / "clinic.parquet")
    assert run.withheld == 16 and not run.shown and "Question 1?" not in text


def test_the_row_id_decides_where_the_dump_has_one(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", {"uid": "v-0_0_0", "id": "own-0", "data_source": "clinic"})
    run, _ = read(folder, tmp_path / "open.parquet", tmp_path / "clinic.parquet")
    assert len(dict(run.shown)["Validation"]) == 4


def test_a_truncated_prompt_is_shown_only_where_everything_is_known_and_open(tmp_path: Path) -> None:
    made(tmp_path / "run")
    answer = Answer(1, "u_0_0", "…tion 1?", "out", "answer 1", 1.0, {})
    files = [tmp_path / "open.parquet", tmp_path / "clinic.parquet"]
    assert not withheld(answer, read_rows(files[:1], whole=True), ["rad"])
    assert withheld(answer, read_rows(files[:1], whole=False), ["rad"])
    assert withheld(answer, read_rows(files[:1], whole=True), ["rad", "somebody's"])
    assert withheld(answer, read_rows(files, whole=True), ["rad"])


def test_no_warning_quotes_an_answer_of_such_a_run(tmp_path: Path) -> None:
    folder = made(tmp_path / "run")
    lines = [
        {**run_folder.answer_line(clinic(n % 3), f"a{n}_0_0", False), "output": "<answer>Ypsilon again</answer>"}
        for n in range(6)
    ]
    run_folder.write(folder / "rollouts" / "1.jsonl", lines)
    run, text = read(folder, tmp_path / "open.parquet", tmp_path / "clinic.parquet")
    assert any("answers are the same; no reference" in sign for sign in run.signs) and "psilon" not in text
