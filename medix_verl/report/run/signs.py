# SPDX-License-Identifier: Apache-2.0
"""Computes the warnings of a training run's page, most severe first; each rule's docstring has its condition.

Drift is measured between the first and the last window of steps (`window`): a fifth of the steps, at least 5, at most
20. With fewer than 10 trained steps no drift is reported, and the page says so. A rule without data gives no warning;
what was not recorded is listed separately by `gaps`. The warnings are hints to look at answers, not proof of a fault.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from medix_verl.report.run.dumps import Dumps, StepAnswers
from medix_verl.report.run.files import Metrics, RunFiles
from medix_verl.rewards.keys import keys_by_name
from medix_verl.rewards.terms import BUILT_IN
from medix_verl.types import Failure

__all__ = ["Drift", "drift", "first_of", "gaps", "run_signs", "unrecorded", "validation_accs", "window"]

REWARD = ("medix/score/mean", "critic/score/mean")
MIN_STEPS = 10
UNSCORED = 0.01
COLLAPSED = 0.5
FORMAT_FALL, FORMAT_LOW, TAG_FALL = 0.05, 0.9, 0.1
LONGER, SHORTER, CUT = 1.5, 0.67, 0.1
ENTROPY_LEFT, ENTROPY_GROWN = 0.2, 3.0
REWARD_RISE, ACC_PART, SURE = 0.05, 0.25, 2.0
VALIDATION_FALL = 0.02
SUCCESS_ONLY = "acc_success_only"
"""verl's name for the acc over the answers with a verdict."""
SAME_ANSWER, WORDLESS = 0.3, 0.05
JUDGE_FAILURES = 0.05
MISMATCH = 0.05
OVERLOOKED = ("actor/grad_norm", "actor/pg_loss", "actor/loss", "actor/entropy", *REWARD)


@dataclass(frozen=True, slots=True)
class Drift:
    """A figure in the first and in the last window."""

    first: float
    last: float
    error: float
    """Standard error of the change, from the variance of the steps inside the windows."""

    @property
    def change(self) -> float:
        """Last minus first."""
        return self.last - self.first


def window(steps: int) -> int:
    """Number of steps averaged at each end."""
    return max(1, min(20, max(5, steps // 5), steps // 2))


def first_of(metrics: Metrics, keys: Sequence[str]) -> str | None:
    """The first of `keys` that a run has; None without any."""
    return next((key for key in keys if metrics.values(key)), None)


def drift(metrics: Metrics, *keys: str) -> Drift | None:
    """The drift of the first of `keys` that a run has; None with fewer than 10 values."""
    key = first_of(metrics, keys)
    values = metrics.values(key) if key else []
    if len(values) < MIN_STEPS:
        return None
    size = window(len(values))
    first, last = values[:size], values[-size:]
    error = math.sqrt(sum(statistics.variance(part) / size for part in (first, last)))
    return Drift(statistics.fmean(first), statistics.fmean(last), error)


def run_signs(metrics: Metrics, training: Dumps, validation: Dumps) -> list[str]:
    """All warnings of the page."""
    found = [
        *unscored(metrics),
        *not_numbers(metrics),
        *reward_without_acc(metrics),
        *validation_falls(metrics),
        *same_answers(training),
        *wordless_answers(training),
        *collapsed_groups(metrics, training),
        *format_drift(metrics),
        *length_drift(metrics),
        *entropy_drift(metrics),
        *judge_failures(metrics),
        *panel_splits(metrics),
        *mismatch(metrics),
        *damaged(metrics, training, validation),
    ]
    if metrics.training and len(metrics.training) < MIN_STEPS:
        found.append(f"Only {len(metrics.training)} steps: from fewer than {MIN_STEPS} no drift can be seen.")
    return found


def unscored(metrics: Metrics) -> list[str]:
    """Warns if any answer has no score, or a term failed for more than 1 % of the answers."""
    lines = []
    for key, where in (("medix/unscored", "training"), ("medix/val/unscored", "validation")):
        values = [(step, value) for step, value in metrics.series(key) if value]
        if values:
            count = sum(value for _, value in values)
            lines.append(f"{count:.0f} answers of {where} have no score, in {len(values)} steps, last {values[-1][0]}.")
    for term in metrics.terms:
        missing = failures_of(metrics, term)
        if missing and statistics.fmean(missing) > UNSCORED:
            lines.append(
                f"{statistics.fmean(missing):.1%} of the answers have no {term} term; worst {max(missing):.0%}."
            )
    return lines


def failures_of(metrics: Metrics, term: str) -> list[float]:
    """The share of each step's answers for which a term failed; empty for a term that cannot fail.

    A log of version 1 has only the share of answers for which the term is valid. A term that is valid for no answer was
    disabled.
    """
    failed = metrics.values(f"medix/{term}/failed")
    if failed or not keys_by_name(term).can_fail:
        return failed
    missing = [1 - value for value in metrics.values(f"medix/{term}/valid")]
    return missing if missing and statistics.fmean(missing) < 1 else []


def not_numbers(metrics: Metrics) -> list[str]:
    """Warns if loss, gradient, entropy or reward was not a finite number in any step."""
    bad = {key: count for key, count in (metrics.not_numbers or {}).items() if key in OVERLOOKED}
    return [f"{key} was not a number in {count} steps." for key, count in sorted(bad.items())]


def reward_without_acc(metrics: Metrics) -> list[str]:
    """Warns if the reward rose and acc rose by less than a quarter of that.

    The reward's rise must be at least 0.05 and at least twice its standard error.
    """
    reward, acc = drift(metrics, *REWARD), drift(metrics, "medix/acc/mean")
    if reward is None or acc is None or reward.change < max(REWARD_RISE, SURE * reward.error):
        return []
    if acc.change >= ACC_PART * reward.change:
        return []
    return [
        f"The reward rose from {reward.first:.3f} to {reward.last:.3f}, and acc went from {acc.first:.3f} to "
        f"{acc.last:.3f}: a sign that the other terms are gamed. Look at answers with a high score."
    ]


def validation_falls(metrics: Metrics) -> list[str]:
    """Warns if the last validation's acc of a data source is at least 0.02 below its best earlier one."""
    lines = []
    for name, key in validation_accs(metrics).items():
        values = metrics.series(key)
        if len(values) < 2:
            continue
        step, best = max(values[:-1], key=lambda item: item[1])
        if best - values[-1][1] >= VALIDATION_FALL:
            source, last = name.rpartition("/")[0], values[-1][1]
            lines.append(f"Validation acc of {source} fell from {best:.3f} (step {step}) to {last:.3f}.")
    return lines


def validation_accs(metrics: Metrics) -> dict[str, str]:
    """`SOURCE/mean@N` -> the metric of its validation's acc.

    verl 0.9.1 counts an answer without a verdict as wrong in `acc`, and excludes it from `acc_success_only`. The latter
    is used if it exists, because a temporary outage of the judge does not make the policy worse.
    """
    found = {}
    for key in metrics.keys("val-core/"):
        # A source's name may have a slash of its own.
        source, of_acc, number = key.removeprefix("val-core/").partition("/acc/mean@")
        if of_acc:
            judged = f"val-aux/{source}/{SUCCESS_ONLY}/mean@{number}"
            found[f"{source}/mean@{number}"] = judged if metrics.series(judged) else key
    return found


def last_steps(dumps: Dumps) -> tuple[StepAnswers, ...]:
    """The last window of dumped steps."""
    return dumps.steps[-window(len(dumps.steps)) :] if dumps.steps else ()


def same_answers(dumps: Dumps) -> list[str]:
    """Warns if one answer is given to over 30 % of the questions, and twice as often as the most frequent reference."""
    steps = [step for step in last_steps(dumps) if step.references > 1]
    if not steps:
        return []
    share = statistics.fmean(step.common_share for step in steps)
    right = statistics.fmean(step.reference_share for step in steps)
    if share <= SAME_ANSWER or share < 2 * right:
        return []
    # A run with credentialed data has no text here.
    text = f", such as “{steps[-1].common[:60]}”" if steps[-1].common else ""
    return [f"{share:.0%} of the last steps' answers are the same{text}; no reference is so common."]


def wordless_answers(dumps: Dumps) -> list[str]:
    """Warns if more than 5 % of the last steps' answers are missing, or contain no letter and no digit."""
    steps = last_steps(dumps)
    share = statistics.fmean(step.wordless for step in steps) if steps else 0.0
    return (
        [f"{share:.0%} of the last steps' answers are missing, or hold no letter and no digit."]
        if share > WORDLESS
        else []
    )


def collapsed_groups(metrics: Metrics, dumps: Dumps) -> list[str]:
    """Warns if over half of the last steps' groups have a single score, or a step had zero advantage everywhere."""
    steps = [step for step in last_steps(dumps) if step.groups]
    lines = []
    if steps:
        share = sum(step.collapsed for step in steps) / sum(step.groups for step in steps)
        if share > COLLAPSED:
            lines.append(f"{share:.0%} of the last steps' groups all have one score: they give no gradient.")
    spreads = zip(metrics.values("critic/advantages/max"), metrics.values("critic/advantages/min"), strict=False)
    idle = sum(high - low < 1e-9 for high, low in spreads)
    return [*lines, f"{idle} steps had no advantage at all: they changed nothing."] if idle else lines


def format_drift(metrics: Metrics) -> list[str]:
    """Warns if the format term fell by more than 0.05 or is below 0.9 at the end, or the tag term fell by 0.1.

    The tag's fall must also be twice its standard error, because it is a mean over the rows with a picture only. The
    tag's rule also applies to terms that are not built in.
    """
    lines = []
    form, tag = drift(metrics, "medix/format/mean"), drift(metrics, "medix/modality/mean")
    if form and (form.change < -FORMAT_FALL or form.last < FORMAT_LOW):
        lines.append(f"Format went from {form.first:.3f} to {form.last:.3f}.")
    if tag and -tag.change >= max(TAG_FALL, SURE * tag.error):
        lines.append(f"The modality tag fell from {tag.first:.3f} to {tag.last:.3f}: its weight is small.")
    for term in metrics.terms:
        found = drift(metrics, f"medix/{term}/mean") if term not in BUILT_IN else None
        if found and -found.change >= max(TAG_FALL, SURE * found.error):
            lines.append(f"The term {term} fell from {found.first:.3f} to {found.last:.3f}.")
    return lines


def length_drift(metrics: Metrics) -> list[str]:
    """Warns if answers became 1.5 times as long or a third shorter, or over 10 % of the last ones were truncated."""
    lines = []
    found, cut = drift(metrics, "response_length/mean"), drift(metrics, "response_length/clip_ratio")
    if found and found.first > 0 and not SHORTER <= found.last / found.first <= LONGER:
        lines.append(f"Answers went from {found.first:.0f} to {found.last:.0f} tokens.")
    if cut and cut.last > CUT:
        lines.append(f"{cut.last:.0%} of the last steps' answers were cut at the longest length.")
    return lines


def entropy_drift(metrics: Metrics) -> list[str]:
    """Warns if the policy's entropy fell below a fifth of its first value, or rose above three times that value."""
    found = drift(metrics, "actor/entropy")
    if found is None or found.first <= 0:
        return []
    if found.last < ENTROPY_LEFT * found.first:
        return [f"Entropy collapsed from {found.first:.3g} to {found.last:.3g}: answers of a group hardly differ."]
    if found.last > ENTROPY_GROWN * found.first:
        return [f"Entropy grew from {found.first:.3g} to {found.last:.3g}: the policy may be coming apart."]
    return []


def judge_failures(metrics: Metrics) -> list[str]:
    """Warns if more than 5 % of the requests to the judge failed."""
    calls = sum(metrics.values("medix/judge/calls"))
    kinds = {key.split("failures_")[1]: sum(metrics.values(key)) for key in metrics.keys("medix/judge/failures_")}
    kinds.pop(Failure.DISAGREEMENT.value, None)  # counts questions, not failed requests
    failed = sum(kinds.values())
    if not calls or failed <= JUDGE_FAILURES * calls:
        return []
    kinds_line = ", ".join(f"{count:.0f} {kind}" for kind, count in sorted(kinds.items()) if count)
    return [f"{failed:.0f} of {calls:.0f} requests to the judge failed: {kinds_line}."]


def panel_splits(metrics: Metrics) -> list[str]:
    """Warns if a panel of judges had no majority on more than 5 % of the questions with compared votes."""
    compared = sum(metrics.values("medix/judge/panel_compared"))
    split = sum(metrics.values(f"medix/judge/failures_{Failure.DISAGREEMENT.value}"))
    if not compared or split <= JUDGE_FAILURES * compared:
        return []
    return [f"The panel of judges could not agree on {split:.0f} of {compared:.0f} questions, which have no score."]


def mismatch(metrics: Metrics) -> list[str]:
    """Warns if the mean difference of rollout and training probabilities of a token exceeds 0.05 in a step."""
    values = metrics.values("training/rollout_probs_diff_mean")
    count = sum(value > MISMATCH for value in values)
    return [f"Rollout and training disagree on probabilities by over {MISMATCH} in {count} steps."] if count else []


def damaged(metrics: Metrics, training: Dumps, validation: Dumps) -> list[str]:
    """Warns if lines could not be read: the run is in progress, was killed during a write, or a file is damaged."""
    named = (("metrics", metrics.broken), ("training", training.broken), ("validation", validation.broken))
    files = ", ".join(f"{count} of {name}" for name, count in named if count)
    return [f"Lines that could not be read, as of a run in progress: {files}."] if files else []


def unrecorded(files: RunFiles, metrics: Metrics) -> list[str]:
    """Warns if there is no curve to draw: no log was found, or it has no trained step."""
    if metrics.training:
        return []
    if files.metrics is not None:
        return [
            f"The log {files.metrics.name} has no trained step, so there are no curves: the run may have just begun."
        ]
    if files.record is None:
        return ["No log of the run was found, so there are no curves; give it with --metrics FILE."]
    places = files.record.places
    looked = " or ".join(str(path) for path in places.metrics)
    where = f"this run's log is not at {looked}" if looked else f"trainer.logger was {list(places.loggers)}"
    return [f"No log of the run was found, so there are no curves: {where}; give it with --metrics FILE."]


def gaps(metrics: Metrics, training: Dumps, validation: Dumps) -> list[str]:
    """What this run did not record, and the setting that records it."""
    lines = []
    if not metrics.training:
        lines.append("No metrics of a trained step: trainer.logger=[console,file] writes them.")
    elif first_of(metrics, ["medix/acc/mean"]) is None:
        lines.append("No terms of the reward in the metrics: they come with the plugin's sampler (see its recipes).")
    if not training.answers:
        lines.append("No training answers: trainer.rollout_data_dir=RUN_DIR/rollouts keeps them.")
    elif not any(answer.terms for answer in training.kept):
        lines.append("Training answers have a score only: verl's own dump of them has no terms.")
    if not validation.answers:
        lines.append("No validation answers: trainer.validation_data_dir=RUN_DIR/validation keeps them.")
    return lines
