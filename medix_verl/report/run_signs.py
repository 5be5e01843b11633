# SPDX-License-Identifier: Apache-2.0
"""The warnings of a training run's page, the gravest first; each rule says in its docstring when it speaks.

A drift is told between the first and the last window of steps (`window`): a fifth of the steps, at least 5, at most 20.
With fewer than 10 trained steps no drift is told, and the page says so. A rule without its figures says nothing: what
was not recorded is listed apart, by `gaps`. These are signs to look at answers, no proof of anything.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from medix_verl.report.run_dumps import Dumps, StepAnswers
from medix_verl.report.run_files import Metrics
from medix_verl.rewards.keys import keys_by_name
from medix_verl.rewards.terms import BUILT_IN

__all__ = ["Drift", "drift", "first_of", "gaps", "run_signs", "window"]

REWARD = ("medix/score/mean", "critic/score/mean")
MIN_STEPS = 10
UNSCORED = 0.01
COLLAPSED = 0.5
FORMAT_FALL, FORMAT_LOW, TAG_FALL = 0.05, 0.9, 0.1
LONGER, SHORTER, CUT = 1.5, 0.67, 0.1
ENTROPY_LEFT, ENTROPY_GROWN = 0.2, 3.0
REWARD_RISE, ACC_PART, SURE = 0.05, 0.25, 2.0
VALIDATION_FALL = 0.02
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
    """Standard error of the change, from the scatter of the steps inside the windows."""

    @property
    def change(self) -> float:
        """Last minus first."""
        return self.last - self.first


def window(steps: int) -> int:
    """How many steps are averaged at each end."""
    return max(1, min(20, max(5, steps // 5), steps // 2))


def first_of(metrics: Metrics, keys: Sequence[str]) -> str | None:
    """The first of some keys that a run has."""
    return next((key for key in keys if metrics.values(key)), None)


def drift(metrics: Metrics, *keys: str) -> Drift | None:
    """How the first of some keys that is there changed; None with fewer than 10 values."""
    key = first_of(metrics, keys)
    values = metrics.values(key) if key else []
    if len(values) < MIN_STEPS:
        return None
    size = window(len(values))
    first, last = values[:size], values[-size:]
    error = math.sqrt(sum(statistics.variance(part) / size for part in (first, last)))
    return Drift(statistics.fmean(first), statistics.fmean(last), error)


def run_signs(metrics: Metrics, training: Dumps, validation: Dumps) -> list[str]:
    """What must be known before a figure is read."""
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
        *mismatch(metrics),
        *damaged(metrics, training, validation),
    ]
    if metrics.training and len(metrics.training) < MIN_STEPS:
        found.append(f"Only {len(metrics.training)} steps: from fewer than {MIN_STEPS} no drift can be told.")
    return found


def unscored(metrics: Metrics) -> list[str]:
    """Speaks when any answer has no score, or a term could not be had for more than 1 % of the answers."""
    told = []
    for key, where in (("medix/unscored", "training"), ("medix/val/unscored", "validation")):
        values = [(step, value) for step, value in metrics.series(key) if value]
        if values:
            count = sum(value for _, value in values)
            told.append(f"{count:.0f} answers of {where} have no score, in {len(values)} steps, last {values[-1][0]}.")
    for term in metrics.terms:
        missing = failures_of(metrics, term)
        if missing and statistics.fmean(missing) > UNSCORED:
            told.append(
                f"{statistics.fmean(missing):.1%} of the answers have no {term} term; worst {max(missing):.0%}."
            )
    return told


def failures_of(metrics: Metrics, term: str) -> list[float]:
    """The share of each step's answers for which a term failed; none for a term that cannot fail.

    A log of version 1 has the share that the term holds for, and nothing beside it; a term that holds nowhere was
    switched off.
    """
    told = metrics.values(f"medix/{term}/failed")
    if told or not keys_by_name(term).can_fail:
        return told
    missing = [1 - value for value in metrics.values(f"medix/{term}/valid")]
    return missing if missing and statistics.fmean(missing) < 1 else []


def not_numbers(metrics: Metrics) -> list[str]:
    """Speaks when loss, gradient, entropy or reward was not a finite number in any step."""
    bad = {key: count for key, count in (metrics.not_numbers or {}).items() if key in OVERLOOKED}
    return [f"{key} was not a number in {count} steps." for key, count in sorted(bad.items())]


def reward_without_acc(metrics: Metrics) -> list[str]:
    """Speaks when the reward rose by 0.05 or more, twice its standard error, and acc by less than a quarter of that."""
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
    """Speaks when the last validation's acc is 0.02 or more below the best one before it, for a data source."""
    told = []
    for key in metrics.keys("val-core/"):
        values = metrics.series(key) if "/acc/mean@" in key else []
        if len(values) < 2:
            continue
        step, best = max(values[:-1], key=lambda item: item[1])
        if best - values[-1][1] >= VALIDATION_FALL:
            # A source's name may have a slash of its own.
            name = key.removeprefix("val-core/").partition("/acc/mean@")[0]
            told.append(f"Validation acc of {name} fell from {best:.3f} (step {step}) to {values[-1][1]:.3f}.")
    return told


def last_steps(dumps: Dumps) -> tuple[StepAnswers, ...]:
    """The last window of dumped steps."""
    return dumps.steps[-window(len(dumps.steps)) :] if dumps.steps else ()


def same_answers(dumps: Dumps) -> list[str]:
    """Speaks when one answer is given to over 30 % of the questions, and twice as often as any reference is right."""
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
    """Speaks when more than 5 % of the last steps' answers are missing, or hold no letter and no digit."""
    steps = last_steps(dumps)
    share = statistics.fmean(step.wordless for step in steps) if steps else 0.0
    return (
        [f"{share:.0%} of the last steps' answers are missing, or hold no letter and no digit."]
        if share > WORDLESS
        else []
    )


def collapsed_groups(metrics: Metrics, dumps: Dumps) -> list[str]:
    """Speaks when over half of the last steps' groups have one score throughout, or a step had no advantage at all."""
    steps = [step for step in last_steps(dumps) if step.groups]
    told = []
    if steps:
        share = sum(step.collapsed for step in steps) / sum(step.groups for step in steps)
        if share > COLLAPSED:
            told.append(f"{share:.0%} of the last steps' groups have one score throughout: they teach nothing.")
    spreads = zip(metrics.values("critic/advantages/max"), metrics.values("critic/advantages/min"), strict=False)
    idle = sum(high - low < 1e-9 for high, low in spreads)
    return [*told, f"{idle} steps had no advantage at all: they taught nothing."] if idle else told


def format_drift(metrics: Metrics) -> list[str]:
    """Speaks when the format term fell by more than 0.05 or is below 0.9 at the end, or the tag term fell by 0.1.

    The tag's fall must be twice its standard error too: it is a mean over the rows with a picture only. A term that is
    not built in is held to the rule of the tag.
    """
    told = []
    form, tag = drift(metrics, "medix/format/mean"), drift(metrics, "medix/modality/mean")
    if form and (form.change < -FORMAT_FALL or form.last < FORMAT_LOW):
        told.append(f"Format went from {form.first:.3f} to {form.last:.3f}.")
    if tag and -tag.change >= max(TAG_FALL, SURE * tag.error):
        told.append(f"The modality tag fell from {tag.first:.3f} to {tag.last:.3f}: its weight is small.")
    for term in metrics.terms:
        found = drift(metrics, f"medix/{term}/mean") if term not in BUILT_IN else None
        if found and -found.change >= max(TAG_FALL, SURE * found.error):
            told.append(f"The term {term} fell from {found.first:.3f} to {found.last:.3f}.")
    return told


def length_drift(metrics: Metrics) -> list[str]:
    """Speaks when answers became 1.5 times as long or a third shorter, or over 10 % of the last ones were cut."""
    told = []
    found, cut = drift(metrics, "response_length/mean"), drift(metrics, "response_length/clip_ratio")
    if found and found.first > 0 and not SHORTER <= found.last / found.first <= LONGER:
        told.append(f"Answers went from {found.first:.0f} to {found.last:.0f} tokens.")
    if cut and cut.last > CUT:
        told.append(f"{cut.last:.0%} of the last steps' answers were cut at the longest length.")
    return told


def entropy_drift(metrics: Metrics) -> list[str]:
    """Speaks when the policy's entropy fell below a fifth of what it was, or grew to more than three times it."""
    found = drift(metrics, "actor/entropy")
    if found is None or found.first <= 0:
        return []
    if found.last < ENTROPY_LEFT * found.first:
        return [f"Entropy collapsed from {found.first:.3g} to {found.last:.3g}: answers of a group hardly differ."]
    if found.last > ENTROPY_GROWN * found.first:
        return [f"Entropy grew from {found.first:.3g} to {found.last:.3g}: the policy may be coming apart."]
    return []


def judge_failures(metrics: Metrics) -> list[str]:
    """Speaks when more than 5 % of the requests to the judge failed."""
    calls = sum(metrics.values("medix/judge/calls"))
    kinds = {key.split("failures_")[1]: sum(metrics.values(key)) for key in metrics.keys("medix/judge/failures_")}
    failed = sum(kinds.values())
    if not calls or failed <= JUDGE_FAILURES * calls:
        return []
    told = ", ".join(f"{count:.0f} {kind}" for kind, count in sorted(kinds.items()) if count)
    return [f"{failed:.0f} of {calls:.0f} requests to the judge failed: {told}."]


def mismatch(metrics: Metrics) -> list[str]:
    """Speaks when rollout's and training's probabilities of a token differ by more than 0.05 in the mean of a step."""
    values = metrics.values("training/rollout_probs_diff_mean")
    count = sum(value > MISMATCH for value in values)
    return [f"Rollout and training disagree on probabilities by over {MISMATCH} in {count} steps."] if count else []


def damaged(metrics: Metrics, training: Dumps, validation: Dumps) -> list[str]:
    """Speaks when lines could not be read: the run is in progress, was killed while it wrote, or a file is damaged."""
    named = (("metrics", metrics.broken), ("training", training.broken), ("validation", validation.broken))
    told = ", ".join(f"{count} of {name}" for name, count in named if count)
    return [f"Lines that could not be read, as of a run in progress: {told}."] if told else []


def gaps(metrics: Metrics, training: Dumps, validation: Dumps) -> list[str]:
    """What this run did not record, and how the next one can."""
    told = []
    if not metrics.training:
        told.append("No metrics of a trained step: trainer.logger=[console,file] writes them.")
    elif first_of(metrics, ["medix/acc/mean"]) is None:
        told.append("No terms of the reward in the metrics: they come with the plugin's sampler (see its recipes).")
    if not training.answers:
        told.append("No training answers: trainer.rollout_data_dir=RUN_DIR/rollouts keeps them.")
    elif not any(answer.terms for answer in training.kept):
        told.append("Training answers have a score only: verl's own dump of them has no terms.")
    if not validation.answers:
        told.append("No validation answers: trainer.validation_data_dir=RUN_DIR/validation keeps them.")
    return told
