# SPDX-License-Identifier: Apache-2.0
"""The demo's figures, from metrics files as verl's file logger writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medix_verl.demo.summary import Step, read_steps, render_report, step_line, summarise
from medix_verl.errors import DataError


def training(number: int, score: float, step_s: float = 2.0, **more: float) -> Step:
    data = {"medix/score/mean": score, "medix/acc/mean": score / 2, "timing_s/step": step_s, **more}
    return Step(number, data)


def validation(number: int, acc: float) -> Step:
    return Step(number, {"val-core/medix_demo/acc/mean@1": acc})


def write(path: Path, steps: list[Step], tail: str = "") -> Path:
    lines = [json.dumps({"step": step.number, "data": dict(step.data)}) for step in steps]
    path.write_text("\n".join(lines) + "\n" + tail)
    return path


def test_reads_what_the_logger_wrote(tmp_path: Path) -> None:
    steps = [validation(0, 0.1), training(1, 0.2)]
    assert read_steps(write(tmp_path / "m.jsonl", steps)) == steps
    assert [step.is_training for step in steps] == [False, True]


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", [training(1, 0.2)], tail='{"step": 2, "data": {"medix/sc')
    assert [step.number for step in read_steps(path)] == [1]


def test_an_empty_file_holds_no_step(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").touch()
    assert read_steps(tmp_path / "m.jsonl") == []


def test_a_missing_file_points_to_the_log(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no metrics at .*m\.jsonl: the run ended before its first step, see its log"):
        read_steps(tmp_path / "m.jsonl")


def test_one_step_in_one_line() -> None:
    assert step_line(training(3, 0.5, 1.25)) == "step   3  reward 0.500  acc 0.250  1.2 s"


def test_first_and_last_steps_are_averaged() -> None:
    figures = summarise([training(n, n / 10) for n in range(1, 11)], width=3)
    assert figures["steps"] == 10
    assert figures["reward/first"] == pytest.approx(0.2)
    assert figures["reward/last"] == pytest.approx(0.9)
    assert figures["acc/last"] == pytest.approx(0.45)
    assert "modality/first" not in figures


def test_a_part_that_some_steps_lack_is_averaged_over_the_others() -> None:
    steps = [training(1, 0.1, **{"medix/modality/mean": 0.4}), training(2, 0.1)]
    assert summarise(steps)["modality/first"] == pytest.approx(0.4)


def test_step_time_leaves_out_the_two_first_steps() -> None:
    steps = [training(1, 0, 60.0), training(2, 0, 30.0), training(3, 0, 2.0), training(4, 0, 4.0)]
    assert summarise(steps)["step_s"] == 3.0
    assert summarise(steps[:2])["step_s"] == 45.0


def test_share_of_the_reward_and_lost_answers() -> None:
    busy = {"medix/reward/busy_s": 0.5, "medix/unscored": 2.0}
    figures = summarise([training(n, 0, 2.0, **busy) for n in range(1, 5)])
    assert figures["reward_share"] == pytest.approx(0.25)
    assert figures["unscored"] == 8.0


def test_validation_before_and_after() -> None:
    figures = summarise([validation(0, 0.25), training(1, 0.1), validation(1, 0.75)])
    assert (figures["val_acc/first"], figures["val_acc/last"]) == (0.25, 0.75)
    assert "val_acc/first" not in summarise([training(1, 0.1)])


def test_a_run_without_a_training_step_has_no_figures() -> None:
    with pytest.raises(DataError, match="hold no training step: see its log"):
        summarise([validation(0, 0.1)])


def test_the_report_has_every_figure() -> None:
    steps = [validation(0, 0.1), *(training(n, n / 10) for n in range(1, 9)), validation(8, 0.6)]
    text = render_report(summarise(steps), {"judge": "rule"})
    assert text.startswith("# medix_verl demo\n")
    assert "| training | first 5 steps | last 5 steps |" in text
    assert "| reward | 0.300 | 0.600 |" in text
    assert "| verl's validation, step | 0 | 8 |\n|---|---|---|\n| acc, greedy | 0.100 | 0.600 |" in text
    assert "- steps: 8\n" in text and "- unscored answers: 0\n" in text and "- judge: rule\n" in text
    assert "modality" not in text


def test_the_head_of_the_table_names_the_width_that_was_averaged() -> None:
    assert "first 2 steps" in render_report(summarise([training(1, 0.1)], width=2), {}, width=2)


def test_a_term_that_is_not_built_in_is_told_like_the_others() -> None:
    more = {"medix/brevity/mean": 0.25, "medix/judge/mean": 0.5, "medix/judge/p50_s": 9.0, "medix/val/odd/mean": 9.0}
    steps = [validation(0, 0.1), training(1, 0.5, 1.25, **more)]
    assert step_line(steps[1]) == "step   1  reward 0.500  acc 0.250  judge 0.500  brevity 0.250  1.2 s"
    text = render_report(summarise(steps), {})
    assert "| judge | 0.500 | 0.500 |\n| brevity | 0.250 | 0.250 |\n" in text and "val_acc" not in text
