# SPDX-License-Identifier: Apache-2.0
"""Computes the content of a training run's page: figures of the first and last steps, validations, selected answers.

What was not recorded is left out and listed by `gaps`. Answers without a verdict are excluded from accuracies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medix_verl.errors import DataError
from medix_verl.evaluation.audit.agreement import Estimate
from medix_verl.evaluation.stats.intervals import clustered_mean
from medix_verl.judge.rule.equality import equal
from medix_verl.judge.rule.guards import guard
from medix_verl.report.charts import Panel
from medix_verl.report.run.dumps import HIGH, Answer, Dumps, read_dumps
from medix_verl.report.run.files import Metrics, RunFiles, read_metrics
from medix_verl.report.run.panels import panels_of
from medix_verl.report.run.rows import DataRow, DataRows, agreed, draw_pictures, rows_of_run, withheld
from medix_verl.report.run.signs import MIN_STEPS, REWARD, Drift, drift, first_of, gaps, run_signs, unrecorded, window
from medix_verl.rewards.reading import parse_ground_truth
from medix_verl.runs.saves.outcomes import Outcome, read_outcomes

__all__ = ["Ends", "Run", "ShownAnswer", "Validation", "read_run"]


@dataclass(frozen=True, slots=True)
class Ends:
    """One figure in the first and in the last steps of the run."""

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
    """Answers of the last validation without a verdict."""


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """One answer on the page."""

    answer: Answer
    parsed: str | None
    question: str | None
    """The row's question; None if it is not known, and the whole prompt is shown."""
    source: str | None
    modality: str | None
    pictures: tuple[str, ...]
    hidden_pictures: int
    fitting: int
    """Number of matching rows; pictures are shown only if it is 1."""
    said: str | None
    """The verdict, and what decided it if that is certain; None if the dump has no verdict."""


@dataclass(frozen=True, slots=True)
class Run:
    """The content of the page."""

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
    """(name of the split, its lines)."""
    shown: tuple[tuple[str, tuple[ShownAnswer, ...]], ...]
    """(`Training` or `Validation`, selected answers)."""
    saves: tuple[Outcome, ...]
    """Results of medix.on_save for each checkpoint."""
    withheld: int
    """Selected answers that are not shown because their data is, or may be, credentialed."""


def read_run(files: RunFiles, data: Sequence[Path] = (), samples: int = 60) -> Run:
    """Read a run and compute the content of its page.

    Args:
        files: Where its records are.
        data: Parquet files of training and validation, if the run's record does not name them or they were moved.
            Answers whose rows are in no readable file are not shown, because they may be credentialed.
        samples: Most answers shown of training and of validation.

    Raises:
        DataError: A data file cannot be used.
        SetupError: The metrics are TensorBoard's, and it is not installed.
    """
    metrics = read_metrics(files.metrics)
    training = read_dumps(files.rollouts, files.parts, samples)
    validation = read_dumps(files.validation, files.parts, samples, whole=True)
    rows = rows_of_run(files, data)
    known = {key.removeprefix("val-core/").rsplit("/", 2)[0] for key in metrics.keys("val-core/")}
    shown, hidden = [], 0
    for name, dumps in (("Validation", validation), ("Training", training)):
        open_ones = [answer for answer in dumps.kept if not withheld(answer, rows, known)]
        hidden += len(dumps.kept) - len(open_ones)
        if open_ones:
            shown.append((name, tuple(show(open_ones, rows))))
    listed = without_texts(training) if hidden or any(rows.sources.values()) else training
    return Run(
        files=files,
        metrics=metrics,
        training=training,
        validation=validation,
        signs=(*unrecorded(files, metrics), *run_signs(metrics, listed, validation)),
        gaps=tuple(gaps(metrics, training, validation)),
        ends=tuple(ends_of(metrics)),
        width=window(len(metrics.training)),
        panels=tuple(panels_of(metrics, training)),
        validations=tuple(validations_of(validation, rows)),
        shown=tuple(shown),
        saves=tuple(saves_of(files.folder)),
        withheld=hidden,
    )


def saves_of(folder: Path) -> list[Outcome]:
    """The outcomes in a run's folder, or in its folder of checkpoints."""
    return read_outcomes(folder) or read_outcomes(folder / "checkpoints")


def without_texts(dumps: Dumps) -> Dumps:
    """The dumps without the text of the most frequent answer, since it may come from credentialed data."""
    return replace(dumps, steps=tuple(replace(step, common="") for step in dumps.steps))


def ends_of(metrics: Metrics) -> list[Ends]:
    """Reward, acc, every term, length and entropy in the first and in the last steps."""
    wanted: list[tuple[str, Sequence[str]]] = [("reward", REWARD)]
    wanted += [(name, (f"medix/{name}/mean",)) for name in ("acc", *metrics.terms)]
    wanted += [("response length", ("response_length/mean",)), ("entropy", ("actor/entropy",))]
    found = []
    for name, keys in wanted:
        key = first_of(metrics, keys)
        values = metrics.values(key) if key else []
        if values:
            size = window(len(values))
            first, last = sum(values[:size]) / size, sum(values[-size:]) / size
            found.append(Ends(name, first, last, drift(metrics, *keys) if len(values) >= MIN_STEPS else None))
    return found


def validations_of(dumps: Dumps, rows: DataRows) -> Iterable[tuple[str, tuple[Validation, ...]]]:
    """acc of the first and the last dumped validation: overall, by data source and by modality."""
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
    """Mean acc of the answers that have one, clustered by prompt."""
    judged = [(acc, answer) for answer in answers if (acc := answer.terms.get("acc")) is not None and 0 <= acc <= 1]
    clusters = [answer.group or (answer.input, answer.reference) for _, answer in judged]
    return clustered_mean([acc for acc, _ in judged], clusters)


def judge_said(answer: Answer) -> str | None:
    """The verdict, YES or NO, with the reason if no judge was asked.

    A dump does not record what decided. Equality with the reference and guards can be recomputed from the two texts.
    Any other verdict is from the judge, or from a match with a synonym, which the dump does not contain.
    """
    others = {name for name in answer.terms if name != "acc"}
    if "acc" not in answer.terms or (others and "judge" not in others):
        return None
    acc, grade = answer.terms["acc"], answer.terms.get("judge")
    if acc is not None and grade is None and others:
        # Another term decides acc.
        return "none"
    if acc is None:
        return "none"
    word = "YES" if acc >= HIGH else "NO"
    candidate = answer.parsed
    if candidate is None:
        return f"{word}, not asked: there is no answer"
    try:
        reference = parse_ground_truth(answer.reference)
    except DataError:
        return word
    if acc >= HIGH and equal(candidate, reference):
        return f"{word}, not asked: the reference's own words"
    if acc < HIGH and (reason := guard(candidate, reference)):
        return f"{word}, not asked: {reason}"
    return word if grade in (None, 0.0, 1.0) else f"{word}, P(YES) {grade:.2f}"


def show(answers: Sequence[Answer], rows: DataRows) -> list[ShownAnswer]:
    """Answers with the fields from their data rows."""
    fitting = [rows.fitting(answer) for answer in answers]
    single: set[DataRow] = {found[0] for found in fitting if len(found) == 1}
    pictures = draw_pictures(single)
    shown = []
    for answer, found in zip(answers, fitting, strict=True):
        drawn, hidden = pictures[found[0]] if len(found) == 1 else ((), 0)
        shown.append(
            ShownAnswer(
                answer=answer,
                parsed=answer.parsed,
                question=agreed(row.question for row in found),
                source=rows.source_of(answer),
                modality=rows.modality_of(answer),
                pictures=drawn,
                hidden_pictures=hidden,
                fitting=len(found),
                said=judge_said(answer),
            )
        )
    return shown
