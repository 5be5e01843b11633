# SPDX-License-Identifier: Apache-2.0
"""Every task of tasks.json as a task of inspect_ai: `inspect eval medix_verl/slake_vqa --model ... -T source=PATH`.

Importing it is cheap: inspect_ai does so whenever it starts, and neither torch nor a data set is touched. A question
goes out as one user turn, its pictures first, then the prompt of training. Credentialed tasks are refused here, because
this way leads past the guard of logs and caches: `medix-verl evaluate` runs them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.dataset import Sample as InspectSample
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageUser,
    ContentImage,
    ContentText,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    get_model,
    modelapi,
)
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import EarlyStop

from medix_verl.errors import ConfigError, RunStoppedError
from medix_verl.evaluation.inspect_model import PER_QUESTION, ServedModel, request_error, whole_text
from medix_verl.evaluation.inspect_scorer import build_scorer
from medix_verl.evaluation.pictures import data_uri
from medix_verl.evaluation.task_run import TaskRun, facts_of, prompt_of, question_key
from medix_verl.evaluation.tasks import TaskSpec, tasks
from medix_verl.types import Failure

__all__ = ["build_task", "medix", "settings"]


@modelapi(name="medix")
def medix() -> type[ModelAPI]:
    """The provider `medix/NAME`; see medix_verl.evaluation.inspect_model."""
    return ServedModel


def build_task(run: TaskRun) -> Task:
    """A task of inspect_ai."""
    samples = [
        InspectSample(id=name, input=prompt_of(run, item), target=item.sample.answer, metadata=facts_of(run, item))
        for name, item in run.items.items()
    ]
    return Task(
        name=run.spec.name,
        dataset=MemoryDataset(samples, name=run.spec.name),
        solver=build_solver(run),
        scorer=build_scorer(run),
        config=settings(run),
        early_stopping=Stopping(run),
        fail_on_error=False,
        metadata={"condition": run.condition, "judge": run.protocol.judge_name, "template": run.answering.template},
    )


def settings(run: TaskRun) -> GenerateConfig:
    """How the model is asked; the library's own limits on time and retries are none."""
    answering, limits = run.answering, run.answering.limits
    return GenerateConfig(
        temperature=answering.temperature,
        seed=answering.seed,
        max_tokens=limits.max_tokens,
        max_retries=limits.retries,
        attempt_timeout=round(limits.timeout_s + 1),
        timeout=round((limits.retries + 1) * (limits.timeout_s + 16)),
        max_connections=limits.connections,
    )


def build_solver(run: TaskRun) -> Solver:
    """Shows the model one question, or finds its answer in the journal."""

    @solver(name="medix_answer")
    def medix_answer() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            item = run.items[str(state.sample_id)]
            pictures = [ContentImage(image=data_uri(picture)) for picture in item.shown]
            content: Any = [*pictures, ContentText(text=prompt_of(run, item))] if pictures else prompt_of(run, item)
            state.messages = [ChatMessageUser(content=content)]
            key = question_key(run, item)
            found = run.answers.get(key) if run.answers is not None else None
            return from_journal(state, run, found) if found is not None else await ask(run, key, state, generate)

        return solve

    return medix_answer()


def from_journal(state: TaskState, run: TaskRun, found: dict[str, Any]) -> TaskState:
    """A response that an earlier run has got."""
    state.output = ModelOutput.from_content(run.answering.model, found["text"])
    state.messages.append(ChatMessageAssistant(content=found["text"], source="generate"))
    state.metadata["latency_s"] = found["latency_s"]
    return state


async def ask(run: TaskRun, key: str, state: TaskState, generate: Generate) -> TaskState:
    """Ask the model, and keep what it says before anything else is done with it.

    Raises:
        RunStoppedError: The model's server counts as down.
    """
    if run.model_breaker.stopped:
        raise RunStoppedError(run.model_breaker.stopped)
    start = time.monotonic()
    try:
        state = await generate(state)
    except Exception as error:
        note_failure(run, error)
        raise
    if state.output.error:
        raise RunStoppedError(f"the model gave an error: {state.output.error}")
    run.model_breaker.succeed()
    latency = round(time.monotonic() - start, 4)
    state.metadata["latency_s"] = latency
    if run.answers is not None:
        run.answers.put(key, {"text": whole_text(state.output), "latency_s": latency})
    return state


def note_failure(run: TaskRun, error: Exception) -> None:
    """Tell the breaker of the model's server, unless the failure speaks of one question only."""
    failed = request_error(error)
    if failed is not None and failed.failure is Failure.MISCONFIGURED:
        named = f"the model's server refuses {run.answering.model!r} with {one_line(error)}"
        run.model_breaker.stop(f"{named}; check MODEL's address, --model-name and --api-key-env")
    elif failed is None or failed.status not in PER_QUESTION:
        run.model_breaker.fail(time.monotonic(), one_line(error))


def one_line(error: BaseException) -> str:
    """The cause of an error that inspect_ai's retries have wrapped."""
    cause = error.__cause__ or error
    last = getattr(error, "last_attempt", None)
    if last is not None and last.failed:
        cause = last.exception() or cause
    return " ".join(str(cause).split())[:300] or type(cause).__name__


class Stopping:
    """Satisfies inspect_ai's EarlyStopping: once a server is down for good, what is left is not begun."""

    def __init__(self, run: TaskRun) -> None:
        self.run = run

    async def start_task(self, task: Any, samples: list[Any], epochs: int) -> str:
        """Name the manager."""
        return "medix_verl"

    async def schedule_sample(self, id: str | int, epoch: int) -> EarlyStop | None:
        """Whether to begin with a sample."""
        return EarlyStop(id=id, epoch=epoch, reason=self.run.stopped) if self.run.stopped else None

    async def complete_sample(self, id: str | int, epoch: int, scores: dict[str, Any]) -> None:
        """Nothing to note."""

    async def complete_task(self) -> dict[str, Any]:
        """Close the connections, in the event loop that opened them."""
        await self.run.protocol.close()
        model = get_model().api
        if isinstance(model, ServedModel):
            await model.aclose()
        return {}


def register(spec: TaskSpec) -> Callable[..., Task]:
    """Offer one task of the table under its name."""

    @task(name=spec.name)
    def offered(
        source: str = "",
        limit: int | None = None,
        seed: int = 0,
        judge: str = "rule",
        judge_url: str | None = None,
        judge_model: str | None = None,
        judge_api_key_env: str | None = None,
        protocol: str = "published",
        prompt: str = "medix",
        images: str = "real",
    ) -> Task:
        if spec.credentialed:
            raise ConfigError(
                f"{spec.name} holds credentialed data, and `inspect eval` would log it unguarded; "
                f"type: medix-verl evaluate MODEL --tasks {spec.name} --sources {spec.name}=PATH --out DIR"
            )
        from medix_verl.evaluation.assemble import TaskChoices, alone

        chosen = TaskChoices(limit=limit, seed=seed, protocol=protocol, template=prompt, condition=images)
        asked = {"kind": judge, "url": judge_url, "model": judge_model, "api_key_env": judge_api_key_env}
        return build_task(alone(spec, Path(source) if source else None, asked, chosen))

    made: Callable[..., Task] = offered
    return made


for _name, _spec in tasks().items():
    globals()[_name] = register(_spec)
