# SPDX-License-Identifier: Apache-2.0
"""The ablation: the demo's training once for each make-up of the reward, from the same policy, with one table.

The validation answers of every run are measured with the same judge and the full composite, whatever it was trained
on. A run whose figures are there is not run again, so that an ablation that was stopped goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from medix_verl.demo.run import DemoSpec, run_demo
from medix_verl.errors import RunStoppedError

__all__ = ["VARIANTS", "Variant", "bar", "render_table", "run_ablation", "run_once"]

ADDRESS = "reward.medix.judge.url="

BAR = 40
"""Characters of a bar that stands for 1."""

COLUMNS = ("greedy/acc", "sampled/acc", "greedy/score", "greedy/format", "greedy/modality")


@dataclass(frozen=True, slots=True)
class Variant:
    """One make-up of the reward."""

    name: str
    folder: str
    overrides: tuple[str, ...]


def weights(judge: float, semantic: float, modality: float = 0.0) -> tuple[str, ...]:
    shares = {"judge": judge, "semantic": semantic, "modality": modality}
    return tuple(f"reward.medix.weights.{name}={share}" for name, share in shares.items())


VARIANTS = (
    Variant("judge only", "judge", weights(1.0, 0.0)),
    Variant("semantic only", "semantic", weights(0.0, 1.0)),
    Variant("judge + semantic", "judge_semantic", weights(0.6, 0.4)),
    Variant("full composite", "full", ()),
    Variant(
        "multi-reward advantage, equal weights",
        "gdpo",
        ("algorithm.adv_estimator=medix_gdpo", "trainer.v1.sampler.sampler_kwargs.split_terms=true"),
    ),
)
"""Format has the recipe's weight in each."""


def run_ablation(spec: DemoSpec, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Train once for each variant, each in a folder under `spec.out`/ablation, and leave ablation.md there.

    Returns:
        The figures of each variant, by its name.

    Raises:
        RunStoppedError: A training failed, or left nothing to measure.
    """
    home = spec.out / "ablation"
    figures: dict[str, dict[str, float]] = {}
    for variant in VARIANTS:
        say(f"ablation: {variant.name}")
        part = replace(spec, overrides=(*spec.overrides, *variant.overrides), run=home / variant.folder)
        figures[variant.name] = run_once(part, say)
        (home / "ablation.md").write_text(render_table(figures), encoding="utf-8")
    return figures


def run_once(spec: DemoSpec, say: Callable[[str], None]) -> dict[str, float]:
    """The figures of a run, which is not made again where they are there.

    Raises:
        RunStoppedError: The training failed, or left nothing to measure.
    """
    return finished(spec) or run_and_note(spec, say)


def told(spec: DemoSpec) -> dict[str, object]:
    """What makes two runs the same; where a judge is served does not."""
    overrides = [word for word in spec.overrides if not word.startswith(ADDRESS)]
    return {"steps": spec.steps, "seed": spec.seed, "lr": spec.lr, "judge": spec.judge, "overrides": overrides}


def finished(spec: DemoSpec) -> dict[str, float]:
    """The figures of a run that was made as this one would be; nothing where there is none."""
    note = spec.folder / "variant.json"
    if not note.is_file():
        return {}
    known = json.loads(note.read_text(encoding="utf-8"))
    return dict(known["figures"]) if known["told"] == told(spec) else {}


def run_and_note(spec: DemoSpec, say: Callable[[str], None]) -> dict[str, float]:
    """Run one variant and keep its figures."""
    note: Path = spec.folder / "variant.json"
    note.unlink(missing_ok=True)
    figures = run_demo(spec, say)
    if "after/greedy/acc" not in figures:
        raise RunStoppedError(f"the run in {spec.folder} left no checkpoint to measure: leave trainer.save_freq alone")
    note.write_text(json.dumps({"told": told(spec), "figures": figures}, indent=1) + "\n", encoding="utf-8")
    return figures


def render_table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """A table of the validation answers and a figure of greedy `acc`, as Markdown.

    Args:
        figures: By the variant's name; all have the same policy before training.
    """
    head = ["| trained on | acc, greedy | acc, sampled | composite | format | modality tag |", "|---" * 6 + "|"]
    stages = {"the policy before": next(iter(figures.values())) if figures else {}}
    rows = [line(name, run, "before") for name, run in stages.items() if run]
    rows += [line(name, run, "after") for name, run in figures.items()]
    width = max((len(name) for name in figures), default=0)
    bars = [f"{name:{width}}  {bar(run['after/greedy/acc'])}" for name, run in figures.items()]
    parts = ["# Ablation of the reward", "", *head, *rows, "", "acc, greedy, after training:", "", "```", *bars, "```"]
    return "\n".join([*parts, ""])


def line(name: str, run: Mapping[str, float], stage: str) -> str:
    return f"| {name} | " + " | ".join(f"{run[f'{stage}/{column}']:.3f}" for column in COLUMNS) + " |"


def bar(share: float) -> str:
    """A share as a bar with its number."""
    return f"{'#' * round(BAR * share)} {share:.3f}"
