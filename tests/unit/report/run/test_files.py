# SPDX-License-Identifier: Apache-2.0
"""A run's files are found by what they hold, read as far as they go, and never mixed with another run's."""

import json
import os
from pathlib import Path

import pytest

from medix_verl.errors import DataError
from medix_verl.report.run.files import find_run, read_metrics
from medix_verl.runs.record import Identity, RunRecord, write_record
from medix_verl.runtime.files import read_json_lines

ANSWER = {"input": "q", "output": "a", "gts": "a", "score": 1.0, "step": 1, "uid": "u_0_0"}


def write(path: Path, *entries: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return path


def step(number: int, **data: object) -> dict[str, object]:
    return {"step": number, "data": {"timing_s/step": 1.0, **data}}


def test_files_are_known_by_what_they_hold(tmp_path: Path) -> None:
    metrics = write(tmp_path / "any.jsonl", step(1))
    write(tmp_path / "rollouts" / "1.jsonl", ANSWER)
    write(tmp_path / "rollouts" / "parts" / "1.jsonl", {"uid": "u_0_0", "id": "row"})
    write(tmp_path / "my_validation" / "0.jsonl", ANSWER)
    write(tmp_path / "questions.jsonl", {"question": "?"})
    write(tmp_path / "policy" / "x.jsonl", step(1))
    write(tmp_path / "checkpoints" / "global_step_2" / "x.jsonl", step(1))
    write(tmp_path / "checkpoints" / "medix_run.json", {"versions": {}})
    found = find_run(tmp_path)
    assert found.metrics == metrics and found.rollouts == tmp_path / "rollouts"
    assert found.parts == tmp_path / "rollouts" / "parts" and found.validation == tmp_path / "my_validation"
    assert found.settings == (tmp_path / "checkpoints" / "medix_run.json",)


def test_a_damaged_first_line_hides_no_file(tmp_path: Path) -> None:
    path = write(tmp_path / "metrics.jsonl", step(1))
    path.write_text('{"step": 0, "da\n' + path.read_text())
    assert find_run(tmp_path).metrics == path
    assert read_metrics(path).broken == 1


def test_two_runs_in_one_folder_are_no_run(tmp_path: Path) -> None:
    one = write(tmp_path / "a.jsonl", step(1))
    write(tmp_path / "b.jsonl", step(1))
    with pytest.raises(DataError, match=r"there are 2 places with metrics: .*give the run's with --metrics"):
        find_run(tmp_path)
    assert find_run(tmp_path, metrics=one).metrics == one


def test_a_run_inside_a_run_is_another_one(tmp_path: Path) -> None:
    mine = write(tmp_path / "metrics.jsonl", step(1))
    for name in ("a", "b"):
        write(tmp_path / "ablation" / name / "metrics.jsonl", step(1))
        write(tmp_path / "ablation" / name / "rollouts" / "1.jsonl", ANSWER)
    assert (find_run(tmp_path).metrics, find_run(tmp_path).rollouts) == (mine, None)
    assert find_run(tmp_path / "ablation" / "a").rollouts == tmp_path / "ablation" / "a" / "rollouts"


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is neither an evaluation nor a training run; accepted"):
        find_run(tmp_path)
    with pytest.raises(DataError, match="there is no .*nowhere; give a folder or file that a training run wrote"):
        find_run(tmp_path, rollouts=tmp_path / "nowhere")


def test_a_run_in_progress_is_read_as_far_as_it_went(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.jsonl", {"step": 0, "data": {"val-core/a/acc/mean@1": 0.2}}, step(1, x=0.5), step(2, x=0.7)
    )
    path.write_text(path.read_text() + '{"step": 3, "data": {"x": 0.')
    metrics = read_metrics(path)
    assert metrics.training == [1, 2] and metrics.values("x") == [0.5, 0.7] and metrics.broken == 1
    assert metrics.series("val-core/a/acc/mean@1") == [(0, 0.2)] and metrics.keys("val-core/") == [
        "val-core/a/acc/mean@1"
    ]


def test_what_is_not_a_number_is_counted_and_never_a_value(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", step(1, x=None, y="high"), step(2, x=float("nan")), step(3, x=float("inf"), y=1))
    metrics = read_metrics(path)
    assert metrics.values("x") == [] and metrics.not_numbers == {"x": 3} and metrics.values("y") == [1.0]


def test_a_step_that_was_done_again_counts_as_it_was_done_last(tmp_path: Path) -> None:
    metrics = read_metrics(write(tmp_path / "m.jsonl", step(1, x=1.0), step(2, x=2.0), step(2, x=5.0)))
    assert metrics.series("x") == [(1, 1.0), (2, 5.0)]


def test_lines_that_are_no_objects_are_none(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n\n[1]\n{"a"\n\xff\xfe\n')
    assert list(read_json_lines(path)) == [{"a": 1}, None, None, None]


def test_without_metrics_there_are_no_steps() -> None:
    assert read_metrics(None).steps == {}


TRAINER = {"logger": ["console", "file"], "project_name": "lab", "experiment_name": "one"}


def recorded(start: Path, run: Path, **trainer: str) -> Path:
    """The folder of a run that was started in `start` by a default recipe: its log is outside its folder."""
    one = Identity("rule")
    config = {"trainer": {**TRAINER, "rollout_data_dir": f"{run}/rollouts", **trainer}}
    record = RunRecord("2026-01-01T00:00:00Z", (), (), config, {}, {}, (), one, one, one, 1, directory=str(start))
    write_record(record, run)
    return run


@pytest.mark.parametrize("part", ["", "global_step_4", "global_step_4/actor/huggingface", "rollouts"])
def test_the_log_is_found_by_the_record_from_any_folder_of_the_run(tmp_path: Path, part: str) -> None:
    run = recorded(tmp_path, tmp_path / "checkpoints" / "lab" / "one")
    log = write(tmp_path / "lab" / "one.jsonl", step(1))
    write(run / "rollouts" / "1.jsonl", ANSWER)
    (run / "global_step_4" / "actor" / "huggingface").mkdir(parents=True)
    found = find_run(run / part)
    assert found.metrics == log and found.rollouts == run / "rollouts"
    assert found.settings == (run / "medix_run.json",)


def test_an_answers_folder_outside_the_run_finds_it_too(tmp_path: Path) -> None:
    recorded(tmp_path, tmp_path / "demo" / "checkpoints", rollout_data_dir=str(tmp_path / "demo" / "rollouts"))
    log = write(tmp_path / "lab" / "one.jsonl", step(1))
    write(tmp_path / "demo" / "rollouts" / "1.jsonl", ANSWER)
    assert find_run(tmp_path / "demo" / "rollouts").metrics == log
    assert find_run(tmp_path / "demo" / "checkpoints").rollouts == tmp_path / "demo" / "rollouts"


def test_another_runs_log_is_not_taken(tmp_path: Path) -> None:
    run = recorded(tmp_path, tmp_path / "checkpoints")
    write(run / "rollouts" / "1.jsonl", ANSWER)
    os.utime(write(tmp_path / "lab" / "one.jsonl", step(1)), (0, 0))
    assert find_run(run).metrics is None
    # A folder below a run that is no part of it is another run's.
    write(run / "other" / "1.jsonl", ANSWER)
    assert find_run(run / "other").record is None


def test_a_run_that_recorded_nothing_says_where_was_looked(tmp_path: Path) -> None:
    run = recorded(tmp_path, tmp_path / "run")
    with pytest.raises(
        DataError, match=r"has recorded nothing yet \(trainer.logger=\['console', 'file'\]\).*one.jsonl"
    ):
        find_run(run)
    for name in ("a", "b"):
        recorded(tmp_path, tmp_path / "several" / name)
    with pytest.raises(DataError, match="holds 2 runs: .*give the folder of one"):
        find_run(tmp_path / "several")
