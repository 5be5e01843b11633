# SPDX-License-Identifier: Apache-2.0
"""The demo's steps with a made-up training: its command line, what it leaves, and what it says when it fails."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from helpers.wheels import scikit_image
from medix_verl.data.io.parquet import write_samples
from medix_verl.demo import run as module
from medix_verl.demo.build import BuildSpec
from medix_verl.demo.measure import MeasureSpec
from medix_verl.demo.processes import RunEnd
from medix_verl.demo.questions.picture_rows import demo_samples
from medix_verl.demo.run import DemoSpec, run_demo, training_command
from medix_verl.errors import ConfigError, DataError, RunStoppedError
from medix_verl.runtime.files import locked
from medix_verl.types import Sample


class FakeTraining:
    """Stands for the build and for the training process: writes a log and metrics, one step at each tick."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.first, self.steps = 1, 3
        self.log_before: str | None = None
        self.log = "starting\n"
        self.returncode: int | None = 0
        self.leaves: Path | None = None
        self.built: list[tuple[Path, BuildSpec]] = []
        self.environment: dict[str, str] = {}
        self.command: list[str] = []
        patch.setattr(module, "build_demo", self.build)
        patch.setattr(module, "run_marked", self.train)

    def build(self, out: Path, spec: BuildSpec, progress: Callable[[str], None]) -> None:
        self.built.append((out, spec))

    def train(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        limit_s: float,
        on_tick: Callable[[], None],
    ) -> RunEnd:
        self.command, self.environment = list(command), dict(environment)
        self.log_before = log.read_text() if log.exists() else None
        log.write_text(self.log)
        on_tick()
        metrics = Path(environment["VERL_FILE_LOGGER_PATH"])
        assert not metrics.exists()  # verl begins it again
        for number in range(self.first, self.steps + 1):
            data = {"medix/score/mean": number / 10, "timing_s/step": 2.0}
            with metrics.open("a") as stream:
                stream.write(json.dumps({"step": number, "data": data}) + "\n")
            on_tick()
            on_tick()
        if self.leaves is not None:
            self.leaves.parent.mkdir(parents=True)
            self.leaves.touch()
        return RunEnd(self.returncode, 30.0, 2 * 2**30)


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> FakeTraining:
    return FakeTraining(monkeypatch)


def test_the_command_is_the_one_that_a_user_types() -> None:
    command = training_command(DemoSpec(Path("outputs/demo"), steps=7, seed=2, overrides=("trainer.nnodes=1",)))
    assert command[1:4] == ["-m", "verl.trainer.main_ppo", "+recipe=medix_cpu"]
    assert {"medix.demo=outputs/demo", "data.seed=3", "trainer.total_training_steps=7"} <= set(command)
    assert command[-1] == "trainer.nnodes=1"
    assert not any("judge" in word for word in command)


def test_the_learning_rate_is_the_recipes_unless_it_is_given() -> None:
    assert not any("optim.lr" in word for word in training_command(DemoSpec(Path("out"))))
    assert "actor_rollout_ref.actor.optim.lr=0.0" in training_command(DemoSpec(Path("out"), lr=0.0))


def test_verl_validates_now_and_then() -> None:
    assert "trainer.test_freq=15" in training_command(DemoSpec(Path("out"), steps=60))
    assert "trainer.test_freq=1" in training_command(DemoSpec(Path("out"), steps=2))


def test_a_training_may_have_a_folder_of_its_own(tmp_path: Path, training: FakeTraining) -> None:
    spec = DemoSpec(tmp_path / "demo", run=tmp_path / "it's one")
    run_demo(spec, lambda _line: None)
    values = [override.value() for override in OverridesParser.create().parse_overrides(training.command[3:])]
    assert str(tmp_path / "demo") in values and str(tmp_path / "it's one" / "checkpoints") in values
    assert (tmp_path / "it's one" / "report.md").exists() and not (tmp_path / "demo" / "report.md").exists()


def test_the_judge_served_by_verl_has_a_place_of_its_own() -> None:
    command = training_command(DemoSpec(Path("out"), judge="verl"))
    assert "reward.medix.judge.kind=verl" in command
    assert "reward.reward_model.model_path=out/judge" in command
    assert "ray_kwargs.ray_init.num_gpus=2" in command


@pytest.mark.parametrize("name", ["plain-1.2_3", "a b", "a=b", "a,b", "Müller (2)", "it's", "#1", "~x", "[1]", "a\\b"])
def test_any_folder_reaches_verl_as_it_is(name: str) -> None:
    parser = OverridesParser.create()
    command = training_command(DemoSpec(Path("/data") / name, judge="verl"))
    values = {override.key_or_group: override.value() for override in parser.parse_overrides(command[3:])}
    assert values["medix.demo"] == f"/data/{name}"
    assert values["reward.reward_model.model_path"] == f"/data/{name}/judge"


def test_a_finished_run_leaves_its_report(tmp_path: Path, training: FakeTraining) -> None:
    said: list[str] = []
    figures = run_demo(DemoSpec(tmp_path, seed=4), said.append)
    assert training.built == [(tmp_path, BuildSpec(seed=4))]
    assert training.environment == {"VERL_FILE_LOGGER_PATH": str(tmp_path / "metrics.jsonl")}
    assert figures["steps"] == 3 and figures["training_s"] == 30.0 and figures["peak_gib"] == 2.0
    assert json.loads((tmp_path / "report.json").read_text()) == figures
    report = (tmp_path / "report.md").read_text()
    assert "memory at its peak, all processes: 2.0 GiB" in report and "+recipe=medix_cpu" in report


def test_the_policy_is_measured_before_and_after(
    tmp_path: Path, training: FakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = tmp_path / "checkpoints" / "global_step_3" / "actor" / "huggingface"
    training.leaves = after / "config.json"
    scikit_image()
    samples = list(demo_samples("val", 3))
    write_samples(samples, tmp_path / "data" / "val.parquet")

    def answers(folder: Path, processor: Path, asked: list[Sample], how: MeasureSpec) -> list[dict[str, object]]:
        assert processor == tmp_path / "policy" and asked == samples
        acc = float(folder == after)
        row = {"id": "a", "kind": "shows", "acc": acc, "score": acc, "format": 1.0, "modality": 1.0}
        return [{**row, "decoding": decoding} for decoding in ("greedy", "sampled")]

    monkeypatch.setattr(module, "answer_lines", answers)
    monkeypatch.setattr(module, "score_lines", lambda lines, source, recipe: lines)
    figures = run_demo(DemoSpec(tmp_path, steps=3), lambda _line: None)
    assert (figures["before/greedy/acc"], figures["after/greedy/acc"]) == (0.0, 1.0)
    assert "| acc, sampled | 0.000 [0.000, 0.793] | 1.000 [0.207, 1.000] |" in (tmp_path / "report.md").read_text()


def test_without_a_checkpoint_only_verls_own_validation_counts(tmp_path: Path, training: FakeTraining) -> None:
    """One that an earlier training left is not this one's."""
    stale = tmp_path / "checkpoints" / "global_step_3" / "actor" / "huggingface" / "config.json"
    stale.parent.mkdir(parents=True)
    stale.touch()
    os.utime(stale, (1.0, 1.0))
    said: list[str] = []
    assert "before/greedy/acc" not in run_demo(DemoSpec(tmp_path, steps=3), said.append)
    assert any("left no checkpoint at" in line and "global_step_3" in line for line in said)


def test_each_step_is_told_once(tmp_path: Path, training: FakeTraining) -> None:
    said: list[str] = []
    run_demo(DemoSpec(tmp_path), said.append)
    assert [line for line in said if line.startswith("step")] == [
        "step   1  reward 0.100  2.0 s",
        "step   2  reward 0.200  2.0 s",
        "step   3  reward 0.300  2.0 s",
    ]


def test_nothing_of_an_earlier_run_is_counted(tmp_path: Path, training: FakeTraining) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 99, "data": {"timing_s/step": 1.0}}\n')
    (tmp_path / "train.log").write_text("old")
    assert run_demo(DemoSpec(tmp_path), lambda _line: None)["steps"] == 3
    assert training.log_before is None


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (
            "x\nValueError: far\nmedix_verl.errors.DataError: row 3\nRayTaskError: near\n",
            "medix_verl.errors.DataError: row 3",
        ),
        ("medix-verl: error: no progress\nRayTaskError: later\n", "medix-verl: error: no progress"),
        ("ValueError: first\nRuntimeError: last\nbye\n", "RuntimeError: last"),
        ("one\n  Killed  \n", "Killed"),
        ("", "its log is empty"),
    ],
)
def test_a_failed_run_is_told_with_its_cause(tmp_path: Path, training: FakeTraining, log: str, cause: str) -> None:
    training.log, training.returncode, training.steps = log, 1, 0
    with pytest.raises(RunStoppedError) as caught:
        run_demo(DemoSpec(tmp_path), lambda _line: None)
    assert str(caught.value) == f"the training ended with code 1: {cause}; see {tmp_path / 'train.log'}"
    assert not (tmp_path / "report.md").exists()


def test_a_run_whose_time_is_over(tmp_path: Path, training: FakeTraining) -> None:
    training.returncode, training.log = None, "step 1\n"
    with pytest.raises(RunStoppedError, match=r"was ended after its limit of 900 s: step 1; see .*train\.log"):
        run_demo(DemoSpec(tmp_path, limit_s=900), lambda _line: None)


def test_a_failed_run_leaves_no_report_of_an_earlier_one(tmp_path: Path, training: FakeTraining) -> None:
    """Somebody would take it for this run's."""
    run_demo(DemoSpec(tmp_path), lambda _line: None)
    training.returncode = 1
    with pytest.raises(RunStoppedError, match="ended with code 1"):
        run_demo(DemoSpec(tmp_path), lambda _line: None)
    assert not (tmp_path / "report.md").exists() and not (tmp_path / "report.json").exists()


def test_two_runs_in_one_folder_are_refused(tmp_path: Path, training: FakeTraining) -> None:
    with (
        locked(tmp_path / ".run.lock"),
        pytest.raises(ConfigError, match="another demo trains in .*; wait for it, or give another --out"),
    ):
        run_demo(DemoSpec(tmp_path), lambda line: None)
    assert not training.built and not training.command
    run_demo(DemoSpec(tmp_path), lambda line: None)
    assert not (tmp_path / ".run.lock").exists()


def test_a_run_that_logged_nothing_has_no_report(tmp_path: Path, training: FakeTraining) -> None:
    training.steps = 0
    with pytest.raises(DataError, match="the run ended before its first step"):
        run_demo(DemoSpec(tmp_path), lambda _line: None)


def test_another_policy_brings_its_recipe_its_steps_and_its_checkpoints() -> None:
    command = training_command(DemoSpec(Path("out"), kind="smollm2", questions="ontology", overrides=("a.b=1",)))
    assert "+recipe=medix_cpu_135m" in command
    assert {"trainer.total_training_steps=30", "trainer.save_freq=10", "trainer.test_freq=7"} <= set(command)
    assert command[-2:] == ["data.max_response_length=48", "a.b=1"]
    assert "trainer.save_freq=3" in training_command(DemoSpec(Path("out"), kind="smollm2", steps=3))


def test_a_judge_that_is_known_to_be_useless_is_said_to_be(tmp_path: Path, training: FakeTraining) -> None:
    said: list[str] = []
    run_demo(DemoSpec(tmp_path, kind="smollm2", judge="verl"), said.append)
    assert "useless as a judge" in said[0] and said[0].endswith("leave out --judge verl to have the rule judge")
    said.clear()
    run_demo(DemoSpec(tmp_path, kind="smollm2"), said.append)
    assert not any("useless" in line for line in said)


def checkpoint(folder: Path, step: int) -> None:
    tracker = folder / "checkpoints" / "latest_checkpointed_iteration.txt"
    tracker.parent.mkdir(exist_ok=True)
    tracker.write_text(str(step))


def test_a_stopped_run_goes_on_from_its_checkpoint(tmp_path: Path, training: FakeTraining) -> None:
    spec = DemoSpec(tmp_path, steps=4)
    training.returncode = 1
    with pytest.raises(RunStoppedError, match=r"see .*train\.log$"):
        run_demo(spec, lambda _line: None)
    checkpoint(tmp_path, 2)
    training.first = 3
    with pytest.raises(RunStoppedError, match=r"see .*train\.log; add --resume to go on after step 2$"):
        run_demo(replace(spec, resume=True), lambda _line: None)
    checkpoint(tmp_path, 2)
    training.returncode, training.steps = 0, 4
    said: list[str] = []
    figures = run_demo(replace(spec, resume=True), said.append)
    assert "trainer.resume_mode=auto" in training.command and training.log_before is not None
    assert figures["steps"] == 4  # steps 1 and 2 of the first run, 3 and 4 of the last; no step twice
    numbers = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert numbers == [1, 2, 3, 4] and not (tmp_path / "metrics.earlier.jsonl").exists()
    assert "going on after step 2" in said


def test_a_run_killed_while_it_went_on_loses_no_metrics(tmp_path: Path, training: FakeTraining) -> None:
    spec = DemoSpec(tmp_path, steps=4)
    run_demo(spec, lambda _line: None)
    checkpoint(tmp_path, 3)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "metrics.earlier.jsonl").write_text("".join(lines[:2]))
    (tmp_path / "metrics.jsonl").write_text("".join(lines[2:]))
    training.first, training.steps = 4, 4
    assert run_demo(replace(spec, resume=True), lambda _line: None)["steps"] == 4


def test_a_run_goes_on_only_as_it_was_started(tmp_path: Path, training: FakeTraining) -> None:
    with pytest.raises(ConfigError, match=r"--resume: there is no run in .*; leave --resume out to start one"):
        run_demo(DemoSpec(tmp_path, resume=True), lambda _line: None)
    run_demo(DemoSpec(tmp_path, steps=3), lambda _line: None)
    with pytest.raises(ConfigError, match=r"was started with lr None, and now it is 0\.0; type it as it was"):
        run_demo(DemoSpec(tmp_path, steps=3, lr=0.0, resume=True), lambda _line: None)
    # How long may be waited does not make another run.
    assert run_demo(DemoSpec(tmp_path, steps=3, limit_s=9.0, resume=True), lambda _line: None)["steps"] == 3


def test_a_new_run_does_not_go_on_from_another_ones_checkpoint(tmp_path: Path, training: FakeTraining) -> None:
    checkpoint(tmp_path, 50)
    run_demo(DemoSpec(tmp_path), lambda _line: None)
    assert not (tmp_path / "checkpoints" / "latest_checkpointed_iteration.txt").exists()
