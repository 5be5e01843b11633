# SPDX-License-Identifier: Apache-2.0
"""The demo's steps: prepare data and models, train through verl's own entry point, measure before and after, report.

Training is `python -m verl.trainer.main_ppo +recipe=medix_cpu`, as a user would type it, in a process of its own with
a time limit. Whatever happens, no process of the run is left behind.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from medix_verl.data.parquet import read_samples
from medix_verl.demo.build import build_demo
from medix_verl.demo.measure import answer_lines, average, score_lines
from medix_verl.demo.processes import RunEnd, run_marked
from medix_verl.demo.summary import read_steps, render_report, step_line, summarise
from medix_verl.errors import RunStoppedError

__all__ = ["JUDGE_SERVED_BY_VERL", "DemoSpec", "run_demo", "training_command"]

VALIDATIONS = 4
"""Greedy validations by verl after the one before the first step."""

JUDGE_SERVED_BY_VERL = (
    "reward.medix.judge.kind=verl",
    "reward.reward_model.enable=true",
    "reward.reward_model.enable_resource_pool=true",
    "reward.reward_model.nnodes=1",
    "reward.reward_model.n_gpus_per_node=1",
    "ray_kwargs.ray_init.num_gpus=2",
)


@dataclass(frozen=True)
class DemoSpec:
    """What `medix-verl demo` can be told."""

    out: Path
    steps: int = 52
    judge: str = "rule"
    """`rule`, or `verl`: the tiny judge served by verl with vLLM in its own resource pool."""
    seed: int = 0
    """Of the data, the weights, the warm-up and the order of the rows."""
    lr: float | None = None
    """Learning rate in place of the recipe's; 0 is a control, in which nothing can be learnt."""
    limit_s: float = 1500.0
    overrides: tuple[str, ...] = ()
    """Further Hydra overrides for verl."""
    run: Path | None = None
    """Folder of the training's files; None is `out`, where data and models are."""
    policy: Path | None = None
    """Checkpoint to start from; None is the one that was built in `out`."""

    @property
    def folder(self) -> Path:
        """Where report, metrics, log and checkpoints go."""
        return self.run or self.out


def training_command(spec: DemoSpec) -> list[str]:
    """The command line that trains, for this interpreter."""
    overrides = [
        "+recipe=medix_cpu",
        f"medix.demo={_quoted(spec.out)}",
        f"data.seed={spec.seed + 1}",
        f"trainer.total_training_steps={spec.steps}",
        f"trainer.test_freq={max(1, spec.steps // VALIDATIONS)}",
        f"trainer.save_freq={spec.steps}",
    ]
    if spec.lr is not None:
        overrides.append(f"actor_rollout_ref.actor.optim.lr={spec.lr!r}")
    if spec.run is not None:
        checkpoints = f"trainer.default_local_dir={_quoted(spec.run / 'checkpoints')}"
        overrides += [f"medix.records={_quoted(spec.run)}", checkpoints]
    if spec.policy is not None:
        overrides.append(f"actor_rollout_ref.model.path={_quoted(spec.policy)}")
    if spec.judge == "verl":
        overrides += [*JUDGE_SERVED_BY_VERL, f"reward.reward_model.model_path={_quoted(spec.out / 'judge')}"]
    return [sys.executable, "-m", "verl.trainer.main_ppo", *overrides, *spec.overrides]


def _quoted(path: Path) -> str:
    """A path as Hydra's grammar takes it: outside quotes that knows hardly more than ASCII letters."""
    text = str(path)
    if re.fullmatch(r"[\w/.+@%-]+", text, re.ASCII):
        return text
    return "'" + text.replace("'", "\\'") + "'"


def run_demo(spec: DemoSpec, say: Callable[[str], None]) -> dict[str, float]:
    """Run the demo and leave `report.md`, `report.json`, `metrics.jsonl`, `train.log` and answers in `spec.folder`.

    Args:
        spec: what to run.
        say: takes one line of progress.

    Returns:
        The figures of medix_verl.demo.summary.summarise, and of measure.

    Raises:
        RunStoppedError: the training failed or its time was over; the message names the log and its last cause.
    """
    build_demo(spec.out, seed=spec.seed, progress=say)
    spec.folder.mkdir(parents=True, exist_ok=True)
    metrics, log = spec.folder / "metrics.jsonl", spec.folder / "train.log"
    for stale in (metrics, log, spec.folder / "report.md", spec.folder / "report.json"):
        stale.unlink(missing_ok=True)
    for folder in ("rollouts", "validation"):
        shutil.rmtree(spec.folder / folder, ignore_errors=True)
    began = time.time()
    say(f"training; the log is {log}")
    # Start-up takes a minute, so the bar is there from the beginning; it shows itself on a terminal only.
    with tqdm(total=spec.steps, desc="training", unit="step", disable=None) as bar:
        end = run_marked(
            training_command(spec),
            log,
            {"VERL_FILE_LOGGER_PATH": str(metrics.resolve())},
            spec.limit_s,
            on_tick=_StepTeller(metrics, say, bar),
        )
    if end.returncode != 0:
        raise RunStoppedError(_failure(end, log, spec.limit_s))
    return _report(spec, end, metrics, measure(spec, began, say))


def measure(spec: DemoSpec, began: float, say: Callable[[str], None]) -> dict[str, float]:
    """Averages of the policy's validation answers before and after, keys `before/...` and `after/...`.

    Empty where the training left no checkpoint, because an override said so: one that is older than `began`, in
    seconds since the epoch, is another training's.
    """
    stages = {
        "before": spec.policy or spec.out / "policy",
        "after": spec.folder / "checkpoints" / f"global_step_{spec.steps}" / "actor" / "huggingface",
    }
    written = stages["after"] / "config.json"
    if not written.is_file() or written.stat().st_mtime < began:
        say(f"this training left no checkpoint at {stages['after']}: nothing is measured but what verl validated")
        return {}
    samples = list(read_samples(spec.out / "data" / "val.parquet"))
    figures: dict[str, float] = {}
    for stage, folder in stages.items():
        say(f"{len(samples)} validation questions, greedy and sampled, {stage} training")
        lines = answer_lines(folder, spec.out / "policy", samples)
        averages = average(score_lines(lines, spec.folder / f"answers_{stage}.jsonl"))
        figures |= {f"{stage}/{name}": value for name, value in averages.items()}
    return figures


class _StepTeller:
    """Says each training step once, as it appears in the metrics file."""

    def __init__(self, metrics: Path, say: Callable[[str], None], bar: tqdm) -> None:
        self._metrics = metrics
        self._say = say
        self._told = 0
        self._bar = bar

    def __call__(self) -> None:
        if not self._metrics.exists():
            return
        steps = [step for step in read_steps(self._metrics) if step.is_training]
        for step in steps[self._told :]:
            self._say(step_line(step))
        self._bar.update(len(steps) - self._told)
        self._told = len(steps)


def _report(spec: DemoSpec, end: RunEnd, metrics: Path, measured: dict[str, float]) -> dict[str, float]:
    figures = summarise(read_steps(metrics)) | measured
    figures |= {"training_s": end.seconds, "peak_gib": end.peak_bytes / 2**30}
    facts = {
        "training, start-up included": f"{end.seconds:.0f} s",
        "memory at its peak, all processes": f"{end.peak_bytes / 2**30:.1f} GiB",
        "judge": spec.judge,
        "checkpoint": f"{spec.folder}/checkpoints",
        "command": " ".join(["python", *training_command(spec)[1:]]),
    }
    (spec.folder / "report.md").write_text(render_report(figures, facts), encoding="utf-8")
    (spec.folder / "report.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return figures


def _failure(end: RunEnd, log: Path, limit_s: float) -> str:
    how = (
        f"was ended after its limit of {limit_s:g} s" if end.returncode is None else f"ended with code {end.returncode}"
    )
    return (
        f"the training {how}: {_last_cause(log.read_text(encoding='utf-8', errors='replace').splitlines())}; see {log}"
    )


def _last_cause(lines: Sequence[str]) -> str:
    """The last line of the log that names an error; ours first."""
    for wanted in ("medix_verl.errors.", "medix-verl: error:", "Error"):
        for line in reversed(lines):
            if wanted in line:
                return line.strip()[-400:]
    return lines[-1].strip() if lines else "its log is empty"
