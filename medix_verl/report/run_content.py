# SPDX-License-Identifier: Apache-2.0
"""Works out what the page of a training run says: curves, the two ends in figures, validations and chosen answers.

What was not recorded is not there, and `gaps` names it. A share of nothing is no share: a cache that nobody asked has
no point in its curve, and an answer without a verdict is in no accuracy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medix_verl.evaluation.agreement import Estimate
from medix_verl.evaluation.intervals import clustered_mean
from medix_verl.report.charts import Panel, Series
from medix_verl.report.run_dumps import Answer, Dumps, read_dumps
from medix_verl.report.run_files import Metrics, RunFiles, read_metrics
from medix_verl.report.run_rows import DataRow, DataRows, agreed, draw_pictures, read_rows, withheld
from medix_verl.report.run_signs import MIN_STEPS, REWARD, Drift, drift, first_of, gaps, run_signs, window
from medix_verl.response import parse_response

__all__ = ["Ends", "Run", "ShownAnswer", "Validation", "read_run"]

PARTS = {
    "reward": REWARD,
    **{name: (f"medix/{name}/mean",) for name in ("acc", "judge", "semantic", "format", "modality")},
}
CURVES = {
    "Terms of the reward": {name: f"medix/{name}/mean" for name in ("judge", "semantic", "format", "modality")},
    "Response length, tokens": {"mean": "response_length/mean", "longest": "response_length/max"},
    "Answers cut at the longest length": {"share": "response_length/clip_ratio"},
    "Entropy": {"entropy": "actor/entropy"},
    "KL": {
        "update": "actor/ppo_kl",
        "rollout to training": "rollout_corr/kl",
        "loss term": "actor/kl_loss",
        "penalty": "actor/reward_kl_penalty",
    },
    "Share of answers that a term holds for": {
        name: f"medix/{name}/valid" for name in ("score", "judge", "semantic", "modality")
    },
    "Judge: seconds for an answer": {"median": "medix/judge/p50_s", "95 %": "medix/judge/p95_s"},
    "Gradient norm": {"norm": "actor/grad_norm"},
    "Learning rate": {"rate": "actor/lr"},
    "Seconds a step": {"step": "timing_s/step", "answering": "timing_s/gen", "update": "timing_s/update_actor"},
}
SHARES = {"Terms of the reward", "Answers cut at the longest length", "Share of answers that a term holds for"}
COUNTED = ("/filter_groups/evicted_samples", "/filter_groups/discarded_surplus_samples", "/off_policy/evicted_samples")


@dataclass(frozen=True, slots=True)
class Ends:
    """One figure at both ends of the run."""

    name: str
    first: float
    last: float
    drift: Drift | None
    """None with too few steps."""


@dataclass(frozen=True, slots=True)
class Validation:
    """One line of the validation table: acc of the first and of the last dumped validation."""

    name: str
    first: Estimate | None
    last: Estimate | None
    unscored: int
    """Answers of the last one without a verdict."""


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """One answer on the page."""

    answer: Answer
    parsed: str | None
    question: str | None
    """The row's; None where it is not known, and the whole prompt is shown."""
    source: str | None
    modality: str | None
    pictures: tuple[str, ...]
    hidden_pictures: int
    fitting: int
    """Rows that fit; a picture is shown of one only."""


@dataclass(frozen=True, slots=True)
class Run:
    """The whole page, but for its words."""

    files: RunFiles
    metrics: Metrics
    training: Dumps
    validation: Dumps
    signs: tuple[str, ...]
    gaps: tuple[str, ...]
    ends: tuple[Ends, ...]
    width: int
    """Steps that are averaged at each end."""
    panels: tuple[Panel, ...]
    validations: tuple[tuple[str, tuple[Validation, ...]], ...]
    """(what it is split by, its lines)."""
    shown: tuple[tuple[str, tuple[ShownAnswer, ...]], ...]
    """(`Training` or `Validation`, chosen answers)."""
    withheld: int
    """Chosen answers that are not shown, because their data is credentialed."""


def read_run(files: RunFiles, data: Sequence[Path] = (), samples: int = 60) -> Run:
    """Read a run and work out its page.

    Args:
        files: Where its records are.
        data: Parquet files that it trained and validated on, for pictures and modalities.
        samples: Answers shown of training and of validation.

    Raises:
        DataError: A data file cannot be used.
        SetupError: TensorBoard's files without TensorBoard.
    """
    metrics = read_metrics(files.metrics)
    training = read_dumps(files.rollouts, files.parts, samples)
    validation = read_dumps(files.validation, files.parts, samples, whole=True)
    rows = read_rows(data)
    known = {key.split("/")[1] for key in metrics.keys("val-core/")} | {
        r.data_source for rs in rows.by_id.values() for r in rs
    }
    shown, hidden = [], 0
    for name, dumps in (("Validation", validation), ("Training", training)):
        open_ones = [answer for answer in dumps.kept if not withheld(rows.source_of(answer), known)]
        hidden += len(dumps.kept) - len(open_ones)
        if open_ones:
            shown.append((name, tuple(show(open_ones, rows))))
    return Run(
        files=files,
        metrics=metrics,
        training=training,
        validation=validation,
        signs=tuple(run_signs(metrics, training, validation)),
        gaps=tuple(gaps(metrics, training, validation)),
        ends=tuple(ends_of(metrics)),
        width=window(len(metrics.training)),
        panels=tuple(panels_of(metrics, training)),
        validations=tuple(validations_of(validation, rows)),
        shown=tuple(shown),
        withheld=hidden,
    )


def ends_of(metrics: Metrics) -> list[Ends]:
    """Each part of the reward, its length and entropy, in the first and in the last steps."""
    wanted = {**PARTS, "response length": ("response_length/mean",), "entropy": ("actor/entropy",)}
    found = []
    for name, keys in wanted.items():
        key = first_of(metrics, keys)
        values = metrics.values(key) if key else []
        if values:
            size = window(len(values))
            first, last = sum(values[:size]) / size, sum(values[-size:]) / size
            found.append(Ends(name, first, last, drift(metrics, *keys) if len(values) >= MIN_STEPS else None))
    return found


def panels_of(metrics: Metrics, training: Dumps) -> list[Panel]:
    """Every picture of the page, in order."""
    reward = first_of(metrics, REWARD)
    lines = [line(metrics, "reward", reward)] if reward else []
    lines.append(line(metrics, "acc", "medix/acc/mean"))
    checks = [key for key in metrics.keys("val-core/") if "/acc/mean@" in key]
    panels = [
        Panel("Reward and acc", tuple(lines), 0.0, 1.0),
        Panel("Validation acc", tuple(validation_line(metrics, key) for key in checks), 0.0, 1.0),
    ]
    for title, curves in CURVES.items():
        drawn = tuple(line(metrics, name, key) for name, key in curves.items())
        low, high = (0.0, 1.0 if title in SHARES else None)
        panels.append(Panel(title, drawn, low if title != "KL" else None, high))
    return [*panels[:8], *service_panels(metrics), group_panel(metrics, training), *panels[8:]]


def line(metrics: Metrics, name: str, key: str) -> Series:
    """A metric as a curve."""
    return Series(name, tuple((float(step), value) for step, value in metrics.series(key)))


def validation_line(metrics: Metrics, key: str) -> Series:
    """A validation's metric, named after its data source."""
    _, source, _, kind = key.split("/", 3)
    return Series(f"{source} {kind}", line(metrics, "", key).points, marks=True)


def service_panels(metrics: Metrics) -> list[Panel]:
    """What the judge and the encoder were spared, latency, and failures."""
    kinds = metrics.keys("medix/judge/failures_")
    failures = [Series("without a score", line(metrics, "", "medix/unscored").points)]
    failures += [line(metrics, f"judge: {key.split('failures_')[1]}", key) for key in kinds]
    shares = [
        ("judge: known already", "medix/judge/cache_hits", "medix/judge/asked"),
        ("judge: equal to the reference", "medix/judge/equality", "medix/judge/asked"),
        ("judge: stopped by a guard", "medix/judge/guard_hits", "medix/judge/asked"),
    ]
    lines = [
        Series(name, ratio(metrics, part, lambda step, whole=whole: step.get(whole, 0.0)))
        for name, part, whole in shares
    ]
    # The encoder's hits are texts, and it compares two a pair.
    hits = ratio(metrics, "medix/encoder/cache_hits", lambda step: 2 * step.get("medix/encoder/asked", 0.0))
    return [
        Panel("Answers without a score, failed requests", tuple(failures), 0.0),
        Panel("Share that needed no model", (*lines, Series("encoder: known already", hits)), 0.0, 1.0),
    ]


def ratio(metrics: Metrics, part: str, whole: Callable[[dict[str, float]], float]) -> tuple[tuple[float, float], ...]:
    """One count over another, in the steps in which the other is not 0."""
    found = []
    for step, data in sorted(metrics.steps.items()):
        base = whole(dict(data))
        if base > 0 and part in data:
            found.append((float(step), min(1.0, data[part] / base)))
    return tuple(found)


def group_panel(metrics: Metrics, training: Dumps) -> Panel:
    """Groups that dynamic sampling took out, and those of the dumps that taught nothing."""
    names = {"filtered": COUNTED[0], "surplus": COUNTED[1], "stale": COUNTED[2]}
    lines = [line(metrics, name, key) for name, end in names.items() for key in metrics.keys("training", end)]
    dumped = [(float(step.step), float(step.collapsed)) for step in training.steps if step.groups]
    return Panel("Groups filtered, or with one score throughout", (*lines, Series("one score", tuple(dumped))), 0.0)


def validations_of(dumps: Dumps, rows: DataRows) -> Iterable[tuple[str, tuple[Validation, ...]]]:
    """acc of the first and the last dumped validation, in all, by data source and by modality."""
    splits: list[tuple[str, Callable[[Answer], str]]] = [
        ("All", lambda _: "all"),
        ("By data source", lambda answer: rows.source_of(answer) or "not known"),
        ("By modality", lambda answer: rows.modality_of(answer) or "not known"),
    ]
    for title, name_of in splits:
        groups: dict[str, tuple[list[Answer], list[Answer]]] = defaultdict(lambda: ([], []))
        for place, answers in enumerate((dumps.first, dumps.last)):
            for answer in answers:
                groups[name_of(answer)][place].append(answer)
        if groups and (title == "All" or set(groups) != {"not known"}):
            yield title, tuple(validation_of(name, *groups[name]) for name in sorted(groups))


def validation_of(name: str, first: Sequence[Answer], last: Sequence[Answer]) -> Validation:
    """One line of the table."""
    unscored = sum(answer.terms.get("acc") is None for answer in last)
    return Validation(name, accuracy(first), accuracy(last), unscored)


def accuracy(answers: Sequence[Answer]) -> Estimate | None:
    """Mean acc of the answers that have one, those to one prompt taken together."""
    judged = [(acc, answer) for answer in answers if (acc := answer.terms.get("acc")) is not None and 0 <= acc <= 1]
    clusters = [answer.group or (answer.input, answer.reference) for _, answer in judged]
    return clustered_mean([acc for acc, _ in judged], clusters)


def show(answers: Sequence[Answer], rows: DataRows) -> list[ShownAnswer]:
    """Answers with what the data rows add."""
    fitting = [rows.fitting(answer) for answer in answers]
    single: set[DataRow] = {found[0] for found in fitting if len(found) == 1}
    pictures = draw_pictures(single)
    shown = []
    for answer, found in zip(answers, fitting, strict=True):
        drawn, hidden = pictures[found[0]] if len(found) == 1 else ((), 0)
        shown.append(
            ShownAnswer(
                answer=answer,
                parsed=parse_response(answer.output).answer,
                question=agreed(row.question for row in found),
                source=rows.source_of(answer),
                modality=rows.modality_of(answer),
                pictures=drawn,
                hidden_pictures=hidden,
                fitting=len(found),
            )
        )
    return shown
