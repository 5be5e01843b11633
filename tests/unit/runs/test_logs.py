# SPDX-License-Identifier: Apache-2.0
"""A record says where verl wrote: by configuration and environment, and never another run's log."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from medix_verl.runs.logs import log_paths, places_of, was_written_by
from medix_verl.runs.record import Identity, RunRecord

TRAINER = {"logger": ["console", "file", "tensorboard"], "project_name": "lab", "experiment_name": "one"}
ONE = Identity("rule")
RECORD = RunRecord(
    "2026-01-02T03:04:05Z", (), (), {"trainer": TRAINER}, {}, {}, (), ONE, ONE, ONE, 1, directory="/lab/runs"
)


@pytest.mark.parametrize(
    ("variables", "file", "events"),
    [
        ({}, "lab/one.jsonl", "tensorboard_log/lab/one"),
        ({"VERL_FILE_LOGGER_ROOT": "/logs", "TENSORBOARD_DIR": "tb"}, "/logs/lab/one.jsonl", "tb"),
        ({"VERL_FILE_LOGGER_PATH": "m.jsonl", "VERL_FILE_LOGGER_ROOT": "/logs"}, "m.jsonl", "tensorboard_log/lab/one"),
    ],
)
def test_verls_own_rules_for_its_logs(variables: dict[str, str], file: str, events: str) -> None:
    assert log_paths({"trainer": TRAINER}, variables) == {"file": file, "tensorboard": events}


def test_variables_that_a_recipe_sets_for_rays_processes_win() -> None:
    ray = {"ray_init": {"runtime_env": {"env_vars": {"VERL_FILE_LOGGER_ROOT": "outputs"}}}}
    config = {"trainer": {**TRAINER, "logger": ["file"]}, "ray_kwargs": ray}
    assert log_paths(config, {"VERL_FILE_LOGGER_ROOT": "/other"}) == {"file": "outputs/lab/one.jsonl"}


def test_only_loggers_that_the_run_had() -> None:
    assert log_paths({"trainer": {**TRAINER, "logger": ["console", "wandb"]}}, {}) == {}
    assert log_paths({"trainer": {**TRAINER, "logger": "file"}}, {}) == {"file": "lab/one.jsonl"}
    assert log_paths({}, {}) == {}


def test_places_start_where_the_run_was_started() -> None:
    kept = replace(RECORD, config={"trainer": {**TRAINER, "rollout_data_dir": "r"}}, logs={"file": "/logs/m.jsonl"})
    places = places_of(kept)
    assert (places.metrics, places.rollouts, places.validation) == ((Path("/logs/m.jsonl"),), Path("/lab/runs/r"), None)
    # A record of before `logs` was kept.
    assert places_of(RECORD).metrics == (Path("/lab/runs/lab/one.jsonl"), Path("/lab/runs/tensorboard_log/lab/one"))


def test_a_log_of_before_the_run_is_another_runs(tmp_path: Path) -> None:
    log, events = tmp_path / "one.jsonl", tmp_path / "events.out.tfevents.1"
    for path in (log, events):
        path.write_text("{}\n")
    assert was_written_by(RECORD, log) and was_written_by(RECORD, tmp_path)
    for path in (log, events):
        os.utime(path, (0, 0))
    assert not was_written_by(RECORD, log) and not was_written_by(RECORD, tmp_path)
    assert not was_written_by(RECORD, tmp_path / "nowhere.jsonl")
