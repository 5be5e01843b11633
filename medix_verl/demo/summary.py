# SPDX-License-Identifier: Apache-2.0
"""The demo's figures: read from verl's metrics file, averaged over the first and last steps, shown as a table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medix_verl.errors import DataError
from medix_verl.rewards.metrics import terms_found
from medix_verl.runtime.files import read_json_lines

__all__ = ["Step", "read_steps", "render_report", "step_line", "summarise"]

VALIDATED = {
    "acc": "val-core/medix_demo/acc/mean@1",
    "reward": "val-aux/medix_demo/score/mean@1",
    "format": "val-aux/medix_demo/format/mean@1",
}
MEASURED = {
    "greedy/acc": "acc, greedy",
    "sampled/acc": "acc, sampled",
    "greedy/picture_acc": "acc, greedy, questions about a picture",
    "sampled/picture_acc": "acc, sampled, questions about a picture",
    "greedy/score": "composite, greedy",
    "sampled/score": "composite, sampled",
    "greedy/format": "format, greedy",
    "sampled/format": "format, sampled",
    "greedy/modality": "modality tag, greedy",
}
"""Rows of the report's table, for the averages of medix_verl.demo.measure."""
KIND = "before/greedy/acc/"
_STEP_S = "timing_s/step"
_BUSY_S = "medix/reward/busy_s"


@dataclass(frozen=True)
class Step:
    """A line of verl's file logger."""

    number: int
    data: Mapping[str, float]

    @property
    def is_training(self) -> bool:
        """False for the validation before the first step."""
        return _STEP_S in self.data


def read_steps(path: Path) -> list[Step]:
    """Read the metrics written so far; an incomplete last line is skipped.

    Raises:
        DataError: There is no such file.
    """
    if not path.exists():
        raise DataError(f"there are no metrics at {path}: the run ended before its first step, see its log")
    steps = []
    for entry in read_json_lines(path):
        if entry is None:
            break
        steps.append(Step(int(entry["step"]), entry["data"]))
    return steps


def parts_of(steps: Sequence[Step]) -> dict[str, str]:
    """The reward, acc and every term of the steps, each with its metric."""
    terms = terms_found(key for step in steps for key in step.data)
    return {"reward": "medix/score/mean", **{name: f"medix/{name}/mean" for name in ("acc", *terms)}}


def step_line(step: Step) -> str:
    """One training step in one line."""
    parts = "  ".join(f"{name} {step.data[key]:.3f}" for name, key in parts_of([step]).items() if key in step.data)
    return f"step {step.number:3d}  {parts}  {step.data[_STEP_S]:.1f} s"


def summarise(steps: Sequence[Step], width: int = 5) -> dict[str, float]:
    """Means of each part over the first and last `width` steps, step time after step 2, and the reward's share of it.

    Raises:
        DataError: There are no training steps.
    """
    training = [step for step in steps if step.is_training]
    if not training:
        raise DataError("the run's metrics hold no training step: see its log")
    figures: dict[str, float] = {"steps": float(len(training))}
    for name, key in parts_of(training).items():
        for place, chosen in (("first", training[:width]), ("last", training[-width:])):
            values = [step.data[key] for step in chosen if key in step.data]
            if values:
                figures[f"{name}/{place}"] = statistics.fmean(values)
    settled = training[2:] or training
    figures["step_s"] = statistics.fmean(step.data[_STEP_S] for step in settled)
    busy = statistics.fmean(step.data.get(_BUSY_S, 0.0) for step in settled)
    figures["reward_share"] = busy / figures["step_s"]
    figures["unscored"] = sum(step.data.get("medix/unscored", 0.0) for step in training)
    figures |= _validation(steps)
    return figures


def _validation(steps: Sequence[Step]) -> dict[str, float]:
    """verl's own greedy validation averages, first and last, and `acc` at each validation."""
    figures: dict[str, float] = {}
    for name, key in VALIDATED.items():
        values = {step.number: step.data[key] for step in steps if key in step.data}
        if values:
            figures[f"val_{name}/first"], figures[f"val_{name}/last"] = values[min(values)], values[max(values)]
        if name == "acc":
            figures |= {f"val_acc/step/{number}": value for number, value in values.items()}
    return figures


def render_report(figures: Mapping[str, float], facts: Mapping[str, str], width: int = 5) -> str:
    """The report as Markdown.

    Args:
        figures: From `summarise`.
        facts: Further lines, name to value.
        width: Number of steps averaged at each end, as given to `summarise`.
    """
    rows = [*measured_rows(figures), f"| training | first {width} steps | last {width} steps |", "|---|---|---|"]
    validated = {f"val_{name}/first" for name in VALIDATED}
    for name in (key.removesuffix("/first") for key in figures if key.endswith("/first") and key not in validated):
        rows.append(f"| {name} | {figures[f'{name}/first']:.3f} | {figures[f'{name}/last']:.3f} |")
    rows += curve_rows(figures)
    lines = [
        f"- steps: {figures['steps']:.0f}",
        f"- step time after the second step: {figures['step_s']:.2f} s",
        f"- share of it spent in reward: {100 * figures['reward_share']:.1f} %",
        f"- unscored answers: {figures['unscored']:.0f}",
        *(f"- {name}: {value}" for name, value in facts.items()),
    ]
    return "\n".join(["# medix_verl demo", "", *rows, "", *lines, ""])


def measured_rows(figures: Mapping[str, float]) -> list[str]:
    """The table of the validation answers before and after training; empty if they were not measured."""
    if "before/greedy/acc" not in figures:
        return []
    kinds = [name.removeprefix(KIND) for name in figures if name.startswith(KIND)]
    names = {**MEASURED, **{f"greedy/acc/{kind}": f"acc, greedy, {kind}" for kind in kinds}}
    rows = ["| validation questions | before | after |", "|---|---|---|"]
    rows += [
        f"| {title} | {with_interval(figures, f'before/{key}')} | {with_interval(figures, f'after/{key}')} |"
        for key, title in names.items()
        if f"before/{key}" in figures and f"after/{key}" in figures
    ]
    return [*rows, ""]


def with_interval(figures: Mapping[str, float], key: str) -> str:
    """A figure, with its 95 % interval if it has one."""
    ends = [figures[f"{key}_{end}"] for end in ("low", "high") if f"{key}_{end}" in figures]
    return f"{figures[key]:.3f}" + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")


def curve_rows(figures: Mapping[str, float]) -> list[str]:
    """verl's own validation: `acc` at each of its steps, composite and format at the first and last."""
    steps = [name.removeprefix("val_acc/step/") for name in figures if name.startswith("val_acc/step/")]
    if not steps:
        return []
    values = " | ".join(f"{figures[f'val_acc/step/{step}']:.3f}" for step in steps)
    rows = ["", f"| verl's validation, step | {' | '.join(steps)} |", "|---" * (len(steps) + 1) + "|"]
    rows.append(f"| acc, greedy | {values} |")
    for name in ("reward", "format"):
        if f"val_{name}/first" in figures:
            ends = f"{figures[f'val_{name}/first']:.3f} to {figures[f'val_{name}/last']:.3f}"
            rows += ["", f"{name} of verl's validation: {ends}"]
    return rows
