# SPDX-License-Identifier: Apache-2.0
"""What several runs of the demo learnt, as a table and, with `--svg`, as the curve of the README.

    for seed in 0 1 2; do medix-verl demo --seed $seed --out outputs/seed$seed; done
    medix-verl demo --seed 1 --lr 0 --out outputs/control
    python tests/benchmarks/learning.py outputs/seed0 outputs/seed1 outputs/seed2 --control outputs/control --svg FILE

Reads each run's report.json. The means are over the runs that are no control. `--curve sampled` draws the training
answers, sampled at temperature 1, as the mean over five steps, instead of verl's greedy validations.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from medix_verl.demo.summary import read_steps

Curve = list[tuple[int, float]]
"""(training step, accuracy)."""

FIGURES = {
    "acc, greedy": "greedy/acc",
    "acc, sampled": "sampled/acc",
    "acc, greedy, with a picture": "greedy/picture_acc",
    "composite, greedy": "greedy/score",
    "composite, sampled": "sampled/score",
    "format, greedy": "greedy/format",
    "format, sampled": "sampled/format",
}
STEP = "val_acc/step/"
TITLES = {
    "greedy": "greedy acc on 240 validation questions, by training step",
    "sampled": "acc of the sampled training answers, mean of five steps, by training step",
}
WIDE = 5
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 300, 56, 120, 34, 42
STYLE = """text{font:13px system-ui,sans-serif;fill:#1f2328}.grid{stroke:#d1d9e0}path{fill:none;stroke-width:2.2}
.run{stroke:#0969da}.control{stroke:#9a6700;stroke-dasharray:5 4}circle.run{fill:#0969da}circle.control{fill:#9a6700}
@media (prefers-color-scheme:dark){text{fill:#f0f6fc}.grid{stroke:#3d444d}.run{stroke:#4493f8}.control{stroke:#d29922}
circle.run{fill:#4493f8}circle.control{fill:#d29922}}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--control", type=Path)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--curve", choices=tuple(TITLES), default="greedy")
    args = parser.parse_args()
    folders = {folder.name: folder for folder in args.runs}
    controls = {"learning rate 0": args.control} if args.control else {}
    print(table({name: read(folder) for name, folder in folders.items()}, {n: read(f) for n, f in controls.items()}))
    if args.svg:
        curve = validated if args.curve == "greedy" else trained
        runs, control = ({name: curve(folder) for name, folder in group.items()} for group in (folders, controls))
        args.svg.write_text(draw(TITLES[args.curve], runs, control), encoding="utf-8")


def read(folder: Path) -> dict[str, float]:
    return dict(json.loads((folder / "report.json").read_text(encoding="utf-8")))


def table(runs: Mapping[str, Mapping[str, float]], control: Mapping[str, Mapping[str, float]]) -> str:
    names = [*runs, *control]
    lines = [f"| before -> after | {' | '.join([*runs, 'mean', *control])} |", "|---" * (len(names) + 2) + "|"]
    for label, key in FIGURES.items():
        cells = [ends(run, key) for run in runs.values()]
        mean = (fmean(cell[0] for cell in cells), fmean(cell[1] for cell in cells))
        cells += [mean, *(ends(run, key) for run in control.values())]
        lines.append(f"| {label} | " + " | ".join(f"{first:.3f} -> {last:.3f}" for first, last in cells) + " |")
    return "\n".join(lines)


def ends(run: Mapping[str, float], key: str) -> tuple[float, float]:
    return run[f"before/{key}"], run[f"after/{key}"]


def validated(folder: Path) -> Curve:
    """verl's greedy validations of a run."""
    return sorted((int(key.removeprefix(STEP)), value) for key, value in read(folder).items() if key.startswith(STEP))


def trained(folder: Path) -> Curve:
    """The accuracy of the training answers, averaged over the last five steps."""
    steps = [step for step in read_steps(folder / "metrics.jsonl") if step.is_training]
    values = [step.data["medix/acc/mean"] for step in steps]
    return [(steps[end - 1].number, fmean(values[end - WIDE : end])) for end in range(WIDE, len(steps) + 1)]


def draw(title: str, runs: Mapping[str, Curve], control: Mapping[str, Curve]) -> str:
    """The curves, a line a run; readable on a light and on a dark page."""
    last = max(step for curve in runs.values() for step, _ in curve)
    parts = [f'<text x="{LEFT}" y="18">{title}</text>']
    for tenth in range(0, 9, 2):
        y = height_of(tenth / 10)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tenth / 10:.1f}</text>')
    for step in ticks([step for step, _ in next(iter(runs.values()))]):
        parts.append(f'<text x="{place_of(step, last):.1f}" y="{HEIGHT - 16}" text-anchor="middle">{step}</text>')
    lines = [*((name, "run", run) for name, run in runs.items()), *((n, "control", run) for n, run in control.items())]
    for _, kind, curve in lines:
        parts += trace(kind, [(place_of(step, last), height_of(value)) for step, value in curve])
    ends_of_lines = apart([height_of(curve[-1][1]) for _, _, curve in lines])
    for (name, _, curve), y in zip(lines, ends_of_lines, strict=True):
        parts.append(f'<text x="{place_of(curve[-1][0], last) + 10:.1f}" y="{y + 4:.1f}">{name}</text>')
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="learning curve"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def ticks(steps: Sequence[int], most: int = 8) -> list[int]:
    """At most so many of the steps, the last one among them."""
    every = -(-len(steps) // most)
    return [*steps[::-1][::every]][::-1]


def trace(kind: str, points: Sequence[tuple[float, float]]) -> list[str]:
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dots = [f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>' for x, y in points]
    return [f'<path class="{kind}" d="{path}"/>', *dots]


def place_of(step: int, last: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * step / last


def height_of(value: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / 0.8


def apart(heights: Sequence[float], gap: float = 15.0) -> list[float]:
    """The heights, moved down where labels would lie on one another."""
    placed = list(heights)
    order = sorted(range(len(placed)), key=placed.__getitem__)
    for above, below in pairwise(order):
        placed[below] = max(placed[below], placed[above] + gap)
    return placed


if __name__ == "__main__":
    main()
