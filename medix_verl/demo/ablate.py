# SPDX-License-Identifier: Apache-2.0
"""The ablation: trains the demo once for each variant of the reward, from the same policy, and writes one table.

The validation answers of every run are scored with the same judge and the full composite, independent of the training
reward. Runs with saved figures are skipped, so a stopped ablation can be resumed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from medix_verl.demo.run import DemoSpec, run_demo, run_settings
from medix_verl.errors import RunStoppedError

__all__ = ["VARIANTS", "Variant", "bar", "render_table", "run_ablation", "run_once"]

BAR = 40
"""Characters of a bar for the value 1."""

COLUMNS = ("greedy/acc", "sampled/acc", "greedy/score", "greedy/format", "greedy/modality")


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant of the reward."""

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
"""The format weight is the recipe's in each."""


def run_ablation(spec: DemoSpec, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Train once for each variant, each in a folder under `spec.out`/ablation, and write ablation.md there.

    Returns:
        The figures of each variant, by name.

    Raises:
        RunStoppedError: A training failed, or wrote no checkpoint to measure.
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
    """The figures of a run; saved figures are reused.

    Raises:
        RunStoppedError: The training failed, or wrote no checkpoint to measure.
    """
    return finished(spec) or run_and_note(spec, say)


def finished(spec: DemoSpec) -> dict[str, float]:
    """The saved figures of a run with the same settings; empty if there are none."""
    note = spec.folder / "variant.json"
    if not note.is_file():
        return {}
    known = json.loads(note.read_text(encoding="utf-8"))
    return dict(known["figures"]) if known.get("settings") == run_settings(spec) else {}


def run_and_note(spec: DemoSpec, say: Callable[[str], None]) -> dict[str, float]:
    """Run one variant and save its figures."""
    note: Path = spec.folder / "variant.json"
    note.unlink(missing_ok=True)
    figures = run_demo(spec, say)
    if "after/greedy/acc" not in figures:
        raise RunStoppedError(f"the run in {spec.folder} left no checkpoint to measure: leave trainer.save_freq alone")
    note.write_text(json.dumps({"settings": run_settings(spec), "figures": figures}, indent=1) + "\n", encoding="utf-8")
    return figures


def render_table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """A Markdown table of the validation answers, with a bar chart of greedy `acc`.

    Args:
        figures: By the variant's name; all start from the same policy.
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
