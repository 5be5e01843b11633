# SPDX-License-Identifier: Apache-2.0
"""inspect_ai scorer that judges answers with our protocol.

An answer that could not be judged is unscored in inspect_ai too, so that its metrics exclude it; the reason is stored
in the score. If the judge fails, the answer stays in the log and can be judged again without generating.
"""

from __future__ import annotations

from typing import Any

from inspect_ai.scorer import Score, Scorer, Target, grouped, mean, scorer, stderr
from inspect_ai.solver import TaskState

from medix_verl.errors import JudgeError, MedixError, UnscoredError
from medix_verl.evaluation.inspect.model import whole_text
from medix_verl.evaluation.task_run import TaskRun
from medix_verl.openai_client import RequestError

__all__ = ["build_scorer", "metrics"]


def metrics() -> list[Any]:
    """The metrics of `inspect view`; our tables are computed from records (medix_verl.evaluation.stats.summary)."""
    return [mean(), stderr(cluster="cluster"), grouped(mean(), "answer_type", all=False)]


def build_scorer(run: TaskRun) -> Scorer:
    """The scorer of one task."""

    @scorer(metrics=metrics(), name="medix_judge")
    def medix_judge() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            return await score_one(run, str(state.sample_id), whole_text(state.output))

        return score

    return medix_judge()


async def score_one(run: TaskRun, sample_id: str, response: str) -> Score:
    """Judge one response."""
    try:
        item = run.items[sample_id]
        outcome = await run.protocol.judge(item.sample, response, run.spec.metric, run.shown_to_judges(item))
    except (JudgeError, RequestError, UnscoredError) as error:
        return unscored(run, str(error))
    except MedixError as error:
        # The judge is down or failed; the answer is not counted as wrong.
        return unscored(run, str(error), broke=True)
    if outcome.value is None:
        return unscored(run, outcome.reason, outcome.answer, outcome.votes)
    details = {"votes": list(outcome.votes), "judge": run.protocol.judge_name, "reason": outcome.reason}
    return Score(value=outcome.value, answer=outcome.answer, explanation=outcome.reason or None, metadata=details)


def unscored(
    run: TaskRun, reason: str, answer: str | None = None, votes: tuple[float | None, ...] = (), broke: bool = False
) -> Score:
    """A score without a value."""
    details = {"votes": list(votes), "judge": run.protocol.judge_name, "reason": reason, "broke": broke}
    made: Score = Score.unscored(reason="grader_failed", answer=answer, explanation=reason, metadata=details)
    return made
