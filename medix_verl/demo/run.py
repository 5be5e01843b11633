# SPDX-License-Identifier: Apache-2.0
"""The demo: prepare data and models, train with verl's own entry point, measure before and after, report.

Training is `python -m verl.trainer.main_ppo +recipe=medix_cpu` (or another policy's recipe), as a user would type it,
in a separate process with a time limit. No process of the run keeps running afterwards, even after an error. A
training with intermediate checkpoints can be resumed from the last one, with all it had written until then.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from medix_verl.data.io.parquet import read_samples
from medix_verl.demo.build import BuildSpec, build_demo
from medix_verl.demo.measure import MeasureSpec, answer_lines, average, score_lines
from medix_verl.demo.models.policies import POLICIES, PolicyKind
from medix_verl.demo.processes import RunEnd, run_marked
from medix_verl.demo.resume import clear, join_metrics, last_checkpoint, prepare_resume
from medix_verl.demo.summary import read_steps, render_report, step_line, summarise
from medix_verl.errors import RunStoppedError
from medix_verl.runtime.files import locked

__all__ = ["ADDRESS", "JUDGE_SERVED_BY_VERL", "DemoSpec", "run_demo", "run_settings", "training_command"]

ADDRESS = "reward.medix.judge.url="
"""Beginning of an override that may differ between otherwise equal runs."""
VALIDATIONS = 4
"""Number of greedy validations by verl after the one before the first step."""

JUDGE_SERVED_BY_VERL = (
    "reward.medix.judge.kind=verl",
    "++reward.medix.judge.show_question=false",
    "reward.reward_model.enable=true",
    "reward.reward_model.enable_resource_pool=true",
    "reward.reward_model.nnodes=1",
    "reward.reward_model.n_gpus_per_node=1",
    "ray_kwargs.ray_init.num_gpus=2",
)


@dataclass(frozen=True)
class DemoSpec:
    """Options of `medix-verl demo`."""

    out: Path
    steps: int | None = None
    """Training steps; None means the policy's default."""
    judge: str = "rule"
    """`rule`, or `verl`: the policy's judge model served by verl with vLLM in its own resource pool."""
    seed: int = 0
    """Seed of the data, the weights, the warm-up and the order of the rows."""
    lr: float | None = None
    """Learning rate instead of the recipe's; 0 is a control, in which nothing can be learnt."""
    limit_s: float | None = None
    """Time limit of a training in seconds; None means the policy's default."""
    overrides: tuple[str, ...] = ()
    """Further Hydra overrides for verl."""
    run: Path | None = None
    """Folder of the training's files; None means `out`, the folder of data and models."""
    policy: Path | None = None
    """Checkpoint to start from; None means the one built in `out`."""
    kind: str = "tiny"
    """The policy to build and train: a name of POLICIES."""
    questions: str = "pictures"
    """The question set: a name of QUESTIONS."""
    weights: Path | None = None
    """File of a pretrained policy; None finds or downloads it."""
    warmup_steps: int | None = None
    """Steps of the warm-up; None means the policy's default."""
    resume: bool = False
    """Resume from the last checkpoint of the run in `folder`, if there is one."""

    @property
    def build(self) -> BuildSpec:
        """What is built in `out`."""
        return BuildSpec(self.seed, self.kind, self.questions, self.weights, self.warmup_steps)

    @property
    def made(self) -> PolicyKind:
        """The policy's entry in the table."""
        return POLICIES[self.kind]

    @property
    def last_step(self) -> int:
        """The number of training steps."""
        return self.made.steps if self.steps is None else self.steps

    @property
    def seconds(self) -> float:
        """The time limit of one training."""
        return self.made.limit_s if self.limit_s is None else self.limit_s

    @property
    def folder(self) -> Path:
        """Folder of report, metrics, log and checkpoints."""
        return self.run or self.out


def training_command(spec: DemoSpec) -> list[str]:
    """The command line of the training, for this interpreter."""
    overrides = [
        f"+recipe={spec.made.recipe}",
        f"medix.demo={_quoted(spec.out)}",
        f"data.seed={spec.seed + 1}",
        f"trainer.total_training_steps={spec.last_step}",
        f"trainer.test_freq={max(1, spec.last_step // VALIDATIONS)}",
        f"trainer.save_freq={min(spec.last_step, spec.made.save_every or spec.last_step)}",
    ]
    if spec.resume:
        overrides.append("trainer.resume_mode=auto")
    if spec.lr is not None:
        overrides.append(f"actor_rollout_ref.actor.optim.lr={spec.lr!r}")
    if spec.run is not None:
        checkpoints = f"trainer.default_local_dir={_quoted(spec.run / 'checkpoints')}"
        overrides += [f"medix.records={_quoted(spec.run)}", checkpoints]
    if spec.policy is not None:
        overrides.append(f"actor_rollout_ref.model.path={_quoted(spec.policy)}")
    if spec.judge == "verl":
        overrides += [*JUDGE_SERVED_BY_VERL, f"reward.reward_model.model_path={_quoted(spec.out / 'judge')}"]
        overrides.append(f"++reward.medix.judge.prompt={_quoted(spec.out / 'judge' / 'prompt.txt')}")
    return [sys.executable, "-m", "verl.trainer.main_ppo", *overrides, *spec.build.asked.overrides, *spec.overrides]


def _quoted(path: Path) -> str:
    """A path for Hydra's grammar: unquoted, it accepts little more than ASCII letters."""
    text = str(path)
    if re.fullmatch(r"[\w/.+@%-]+", text, re.ASCII):
        return text
    return "'" + text.replace("'", "\\'") + "'"


def run_demo(spec: DemoSpec, say: Callable[[str], None]) -> dict[str, float]:
    """Run the demo and write `report.md`, `report.json`, `metrics.jsonl`, `train.log` and answers to `spec.folder`.

    Args:
        spec: What to run.
        say: Called with progress lines.

    Returns:
        The figures of medix_verl.demo.summary.summarise and of `measure`.

    Raises:
        ConfigError: Another process trains in `spec.folder`.
        RunStoppedError: The training failed or reached its time limit; the message has the log and its last error.
    """
    if spec.judge == "verl" and spec.made.judge_note:
        say(spec.made.judge_note)
    spec.folder.mkdir(parents=True, exist_ok=True)
    busy = f"another demo trains in {spec.folder}; wait for it, or give another --out"
    with locked(spec.folder / ".run.lock", busy):
        build_demo(spec.out, spec.build, progress=say)
        return _train(spec, say)


def _train(spec: DemoSpec, say: Callable[[str], None]) -> dict[str, float]:
    """The training, the measurements before and after it, and the report."""
    metrics, log = spec.folder / "metrics.jsonl", spec.folder / "train.log"
    began = 0.0 if spec.resume else time.time()
    if spec.resume:
        say(f"going on after step {prepare_resume(spec.folder, run_settings(spec))}")
    else:
        clear(spec.folder, run_settings(spec))
    say(f"training; the log is {log}")
    # Start-up takes a minute, so the bar is created at the beginning; it is shown only on a terminal.
    with tqdm(total=spec.last_step, desc="training", unit="step", disable=None) as bar:
        try:
            end = run_marked(
                training_command(spec),
                log,
                {"VERL_FILE_LOGGER_PATH": str(metrics.resolve())},
                spec.seconds,
                on_tick=_StepPrinter(metrics, say, bar),
            )
        finally:
            join_metrics(spec.folder)
    if end.returncode != 0:
        raise RunStoppedError(_failure(end, log, spec.seconds) + _advice(spec))
    return _report(spec, end, metrics, measure(spec, began, say))


def measure(spec: DemoSpec, began: float, say: Callable[[str], None]) -> dict[str, float]:
    """Averages of the policy's validation answers before and after, keys `before/...` and `after/...`.

    Empty if the training left no checkpoint, because of an override: one older than `began`, in seconds since the
    epoch, is from another training.
    """
    stages = {
        "before": spec.policy or spec.out / "policy",
        "after": spec.folder / "checkpoints" / f"global_step_{spec.last_step}" / "actor" / "huggingface",
    }
    written = stages["after"] / "config.json"
    if not written.is_file() or written.stat().st_mtime < began:
        say(f"this training left no checkpoint at {stages['after']}: nothing is measured but what verl validated")
        return {}
    samples = list(read_samples(spec.out / "data" / "val.parquet"))
    figures: dict[str, float] = {}
    for stage, folder in stages.items():
        say(f"{len(samples)} validation questions, greedy and sampled, {stage} training")
        asked = MeasureSpec(threads=spec.made.warmup.threads)
        lines = answer_lines(folder, spec.out / "policy", samples, asked)
        averages = average(score_lines(lines, spec.folder / f"answers_{stage}.jsonl", spec.made.recipe))
        figures |= {f"{stage}/{name}": value for name, value in averages.items()}
    return figures


def run_settings(spec: DemoSpec) -> dict[str, object]:
    """The settings that a resumed or reused run must share; without the judge's URL and the time limit."""
    overrides = [word for word in spec.overrides if not word.startswith(ADDRESS)]
    same = {"steps": spec.last_step, "seed": spec.seed, "lr": spec.lr, "judge": spec.judge, "overrides": overrides}
    return {**same, "policy": spec.kind, "questions": spec.questions, "warmup_steps": spec.build.warmup.steps}


class _StepPrinter:
    """Reports each training step once, when it appears in the metrics file."""

    def __init__(self, metrics: Path, say: Callable[[str], None], bar: tqdm) -> None:
        self._metrics = metrics
        self._say = say
        self._shown = 0
        self._bar = bar

    def __call__(self) -> None:
        if not self._metrics.exists():
            return
        steps = [step for step in read_steps(self._metrics) if step.is_training]
        for step in steps[self._shown :]:
            self._say(step_line(step))
        self._bar.update(len(steps) - self._shown)
        self._shown = len(steps)


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


def _advice(spec: DemoSpec) -> str:
    """How to resume, if there is a checkpoint."""
    step = last_checkpoint(spec.folder)
    return f"; add --resume to go on after step {step}" if step else ""


def _last_cause(lines: Sequence[str]) -> str:
    """The last line of the log with an error; medix_verl's errors take precedence."""
    for wanted in ("medix_verl.errors.", "medix-verl: error:", "Error"):
        for line in reversed(lines):
            if wanted in line:
                return line.strip()[-400:]
    return lines[-1].strip() if lines else "its log is empty"
