# SPDX-License-Identifier: Apache-2.0
"""What each score was made of: one line an answer, joined by verl's key, and never the end of a run."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from medix_verl.report.run_dumps import read_dumps
from medix_verl.rewards.parts import keep_parts, part_lines

EXTRA = {"score": 0.9, "acc": 1.0, "judge_ok": 1.0}
INFO = {"id": "row-ä", "modality": "X_RAY", "question": "long"}


def test_a_line_is_what_the_report_joins(tmp_path: Path) -> None:
    keep_parts(tmp_path, 3, False, part_lines(["a_0_0"], [EXTRA], [INFO], ["rad"]))
    answer = {"input": "q", "output": "<answer>x</answer>", "gts": "x", "score": 0.9, "uid": "a_0_0"}
    (tmp_path / "3.jsonl").write_text(json.dumps(answer) + "\n")
    (read,) = read_dumps(tmp_path, tmp_path / "parts").kept
    assert (read.row_id, read.source, read.modality, read.terms) == ("row-ä", "rad", "X_RAY", {"acc": 1.0})


def test_batches_of_a_validation_share_a_file(tmp_path: Path) -> None:
    for key in ("a_0_0", "b_0_0"):
        keep_parts(tmp_path, 5, True, part_lines([key], [EXTRA], [INFO], ["rad"]))
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["val-5.jsonl"]
    assert len((tmp_path / "parts" / "val-5.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_a_row_of_another_data_set_class_has_no_id() -> None:
    (line,) = part_lines(["a_0_0"], [EXTRA], [None], ["rad"])
    assert json.loads(line) == {"uid": "a_0_0", "id": None, "data_source": "rad", "modality_tag": None, **EXTRA}


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        keep_parts(tmp_path / "file", 1, False, ["{}\n"])
    assert "the parts of 1 answers were not kept" in caplog.text and "another trainer.rollout_data_dir" in caplog.text
