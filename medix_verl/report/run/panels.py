# SPDX-License-Identifier: Apache-2.0
"""Defines the curves of a training run's page: which metrics of verl and of the plugin, in which panel, on which axis.

A share whose denominator is 0 has no point in its curve, such as the hit rate of a cache without requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from medix_verl.report.charts import STYLES, Panel, Series
from medix_verl.report.run.dumps import Dumps
from medix_verl.report.run.files import Metrics
from medix_verl.report.run.signs import REWARD, SUCCESS_ONLY, first_of, validation_accs
from medix_verl.rewards.keys import keys_by_name

__all__ = ["panels_of"]

CUT = "Answers cut at the longest length"
POLICY = {
    "Response length, tokens": {"mean": "response_length/mean", "longest": "response_length/max"},
    CUT: {"share": "response_length/clip_ratio"},
    "Entropy": {"entropy": "actor/entropy"},
    "KL": {
        "update": "actor/ppo_kl",
        "rollout to training": "rollout_corr/kl",
        "loss term": "actor/kl_loss",
        "penalty": "actor/reward_kl_penalty",
    },
}
COST = {
    "Judge: seconds for an answer": {"median": "medix/judge/p50_s", "95 %": "medix/judge/p95_s"},
    "Gradient norm": {"norm": "actor/grad_norm"},
    "Learning rate": {"rate": "actor/lr"},
    "Seconds a step": {"step": "timing_s/step", "answering": "timing_s/gen", "update": "timing_s/update_actor"},
}
COUNTED = ("/filter_groups/evicted_samples", "/filter_groups/discarded_surplus_samples", "/off_policy/evicted_samples")


def panels_of(metrics: Metrics, training: Dumps) -> list[Panel]:
    """Every panel of the page, in order."""
    reward = first_of(metrics, REWARD)
    lines = [line(metrics, "reward", reward)] if reward else []
    lines.append(line(metrics, "acc", "medix/acc/mean"))
    panels = [
        Panel("Reward and acc", tuple(lines), 0.0, 1.0),
        Panel("Validation acc", tuple(validation_lines(metrics)), 0.0, 1.0),
    ]
    # A term without a validity flag is valid for every answer.
    partial = [name for name in metrics.terms if keys_by_name(name).flag]
    return [
        *panels,
        *term_panels(metrics, "Terms of the reward", metrics.terms, "mean"),
        *(panel_of(metrics, title, curves) for title, curves in POLICY.items()),
        *term_panels(metrics, "Share of answers that a term holds for", ["score", *partial], "valid"),
        *service_panels(metrics),
        *judges_panel(metrics),
        group_panel(metrics, training),
        *(panel_of(metrics, title, curves) for title, curves in COST.items()),
    ]


def term_panels(metrics: Metrics, title: str, names: Sequence[str], figure: str) -> Iterator[Panel]:
    """A figure of each term, in panels of at most STYLES curves."""
    lines = [found for name in names if (found := line(metrics, name, f"medix/{name}/{figure}")).points]
    for start in range(0, max(1, len(lines)), STYLES):
        number = f" ({start // STYLES + 1})" if len(lines) > STYLES else ""
        yield Panel(title + number, tuple(lines[start : start + STYLES]), 0.0, 1.0)


def panel_of(metrics: Metrics, title: str, curves: Mapping[str, str]) -> Panel:
    """A panel of some metrics."""
    drawn = tuple(line(metrics, name, key) for name, key in curves.items())
    return Panel(title, drawn, None if title == "KL" else 0.0, 1.0 if title == CUT else None)


def line(metrics: Metrics, name: str, key: str) -> Series:
    """A metric as a curve."""
    return Series(name, tuple((float(step), value) for step, value in metrics.series(key)))


def validation_lines(metrics: Metrics) -> Iterator[Series]:
    """The acc of each data source in validation, named after it."""
    for name, key in validation_accs(metrics).items():
        source, _, kind = name.rpartition("/")
        judged = ", of those judged" if SUCCESS_ONLY in key else ""
        yield Series(f"{source} {kind}{judged}", line(metrics, "", key).points, marks=True)


def service_panels(metrics: Metrics) -> list[Panel]:
    """Answers without a score, failed requests, and the shares of judge and encoder calls that were avoided."""
    kinds = metrics.keys("medix/judge/failures_")
    failures = [Series("without a score", line(metrics, "", "medix/unscored").points)]
    failures += [line(metrics, f"judge: {key.split('failures_')[1]}", key) for key in kinds]
    shares = [
        ("judge: known already", "medix/judge/cache_hits", "medix/judge/asked"),
        ("judge: equal to the reference", "medix/judge/equality", "medix/judge/asked"),
        ("judge: stopped by a guard", "medix/judge/guard_hits", "medix/judge/asked"),
    ]
    lines = [Series(name, ratio(metrics, part, whole)) for name, part, whole in shares]
    # The encoder's hits count texts; each pair has two.
    hits = ratio(metrics, "medix/encoder/cache_hits", "medix/encoder/asked", 2.0)
    return [
        Panel("Answers without a score, failed requests", tuple(failures), 0.0),
        Panel("Share that needed no model", (*lines, Series("encoder: known already", hits)), 0.0, 1.0),
    ]


def judges_panel(metrics: Metrics) -> list[Panel]:
    """Agreement of a panel of judges, and how often each judge was outvoted; empty for a single judge."""
    if not metrics.keys("medix/judge/agreement"):
        return []
    dissents = metrics.keys("medix/judge/member_", "_dissent")
    lines = [line(metrics, "all agree", "medix/judge/agreement")]
    lines += [line(metrics, f"judge {key.split('_')[-2]} outvoted", key) for key in dissents[: STYLES - 1]]
    return [Panel("Panel of judges: share of questions", tuple(lines), 0.0, 1.0)]


def ratio(metrics: Metrics, part: str, whole: str, times: float = 1.0) -> tuple[tuple[float, float], ...]:
    """The ratio of `part` to `times` times `whole`, for the steps in which `whole` is not 0."""
    found = []
    for step, data in sorted(metrics.steps.items()):
        base = times * data.get(whole, 0.0)
        if base > 0 and part in data:
            found.append((float(step), min(1.0, data[part] / base)))
    return tuple(found)


def group_panel(metrics: Metrics, training: Dumps) -> Panel:
    """Groups removed by dynamic sampling, and groups of the dumps whose answers all have the same score."""
    names = {"filtered": COUNTED[0], "surplus": COUNTED[1], "stale": COUNTED[2]}
    lines = [line(metrics, name, key) for name, end in names.items() for key in metrics.keys("training", end)]
    dumped = [(float(step.step), float(step.collapsed)) for step in training.steps if step.groups]
    return Panel("Groups filtered, or with one score throughout", (*lines, Series("one score", tuple(dumped))), 0.0)
