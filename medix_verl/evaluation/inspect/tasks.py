# SPDX-License-Identifier: Apache-2.0
"""inspect_ai tasks for all of tasks.json: `inspect eval medix_verl/slake_vqa --model ... -T source=PATH`.

The import is cheap, because inspect_ai imports this module whenever it starts: it loads neither torch nor a data set. A
question is sent as one user turn, pictures first, then the prompt of training; a conversation is sent turn by turn.
Credentialed tasks are rejected here, because `inspect eval` bypasses the protection of logs and caches; use
`medix-verl evaluate` for them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from inspect_ai import Epochs, Task, task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.dataset import Sample as InspectSample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
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
from medix_verl.evaluation.inspect.model import (
    FINISH,
    PER_QUESTION,
    ServedModel,
    request_error,
    tokens_of,
    usage_of,
    whole_text,
)
from medix_verl.evaluation.inspect.scorer import build_scorer
from medix_verl.evaluation.settings import setting
from medix_verl.evaluation.task_run import TaskRun, facts_of, prompt_of, question_key
from medix_verl.evaluation.tasks.conversation import turns_of
from medix_verl.evaluation.tasks.few_shot import answer_shown
from medix_verl.evaluation.tasks.pictures import Item, Picture, data_uri
from medix_verl.evaluation.tasks.table import TaskSpec, tasks
from medix_verl.judge.reply import Reply
from medix_verl.types import Failure

__all__ = ["build_task", "medix", "settings"]


@modelapi(name="medix")
def medix() -> type[ModelAPI]:
    """The provider `medix/NAME`; see medix_verl.evaluation.inspect.model."""
    return ServedModel


def build_task(run: TaskRun) -> Task:
    """Build the inspect_ai task of a run."""
    samples = [
        InspectSample(id=name, input=asked_of(run, item), target=item.sample.answer, metadata=facts_of(run, item))
        for name, item in run.items.items()
    ]
    return Task(
        name=run.spec.name,
        dataset=MemoryDataset(samples, name=run.spec.name),
        solver=build_solver(run),
        scorer=build_scorer(run),
        config=settings(run),
        epochs=Epochs(run.answering.generation.generations, "mean"),
        early_stopping=Stopping(run),
        fail_on_error=False,
        metadata={"condition": run.condition, "judge": run.protocol.judge_name, "template": run.answering.template},
    )


MESSAGES = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}


def asked_of(run: TaskRun, item: Item) -> str | list[ChatMessage]:
    """The prompt of a question, or the unchanged turns of a conversation."""
    turns = turns_of(item.sample)
    return [MESSAGES[role](content=content) for role, content in turns] if turns else prompt_of(run, item)


def settings(run: TaskRun) -> GenerateConfig:
    """Generation settings, timeouts and retries; inspect_ai has no limits on time and retries by default."""
    generation, limits = run.answering.generation, run.answering.limits
    return GenerateConfig(
        temperature=generation.temperature,
        top_p=generation.top_p,
        seed=generation.seed,
        max_tokens=generation.max_tokens,
        stop_seqs=list(generation.stop) or None,
        extra_body=generation.body or None,
        max_retries=limits.retries,
        attempt_timeout=round(limits.timeout_s + 1),
        timeout=round((limits.retries + 1) * (limits.timeout_s + 16)),
        max_connections=limits.connections,
    )


def build_solver(run: TaskRun) -> Solver:
    """The solver: it sends a question to the model, or takes the answer from the cache."""

    @solver(name="medix_answer")
    def medix_answer() -> Solver:
        before = [turn for example in run.examples for turn in solved(run, example)]

        async def solve(state: TaskState, generate: Generate) -> TaskState:
            item = run.items[str(state.sample_id)]
            asked = asked_of(run, item)
            turns = asked if isinstance(asked, list) else [*before, user_turn(asked, item.shown)]
            state.messages = with_system(turns, run.answering.generation.system_prompt)
            key = question_key(run, item, state.epoch)
            found = run.answers.get(key)
            return found_again(state, run, found) if found is not None else await ask(run, key, state, generate)

        return solve

    return medix_answer()


def with_system(messages: list[ChatMessage], prompt: str | None) -> list[ChatMessage]:
    """Prepend the system prompt, merged with the conversation's own: chat templates accept only one."""
    if prompt is None:
        return messages
    own = messages[0] if messages and isinstance(messages[0], ChatMessageSystem) else None
    text = prompt if own is None else f"{prompt}\n\n{own.text}"
    return [ChatMessageSystem(content=text), *messages[own is not None :]]


def user_turn(text: str, pictures: Sequence[Picture]) -> ChatMessage:
    """A question as a user turn, pictures first."""
    shown = [ContentImage(image=data_uri(picture)) for picture in pictures]
    return ChatMessageUser(content=[*shown, ContentText(text=text)] if shown else text)


def solved(run: TaskRun, example: Item) -> list[ChatMessage]:
    """A few-shot example as two turns."""
    answer = answer_shown(example.sample, run.answering.template)
    return [user_turn(prompt_of(run, example), example.pictures), ChatMessageAssistant(content=answer)]


def found_again(state: TaskState, run: TaskRun, kept: Reply) -> TaskState:
    """Restore a cached response of an earlier run."""
    found = json.loads(kept.text)
    state.output = ModelOutput.from_content(run.answering.model, found["text"])
    state.output.usage = usage_of(found.get("tokens"))
    state.messages.append(ChatMessageAssistant(content=found["text"], source="generate"))
    # Older entries may have no finish reason.
    state.metadata |= {"latency_s": found["latency_s"], FINISH: found.get(FINISH)}
    return state


async def ask(run: TaskRun, key: bytes, state: TaskState, generate: Generate) -> TaskState:
    """Ask the model, and cache its response immediately.

    Raises:
        RunStoppedError: The model's server counts as down.
        RequestError: The request failed; after retries, the error of the last attempt.
    """
    if run.model_breaker.stopped:
        raise RunStoppedError(run.model_breaker.stopped)
    start = time.monotonic()
    failure: BaseException | None = None
    try:
        generation = run.answering.generation
        # The first generation at temperature 0 uses the seed of the task's settings, or of `inspect eval`.
        plain = state.epoch == 1 and not generation.temperature
        again: Any = {} if plain else {"seed": generation.seed_of(state.epoch, str(state.sample_id))}
        state = await generate(state, **again)
    except Exception as error:  # noqa: BLE001 - it is raised below, without its wrapper
        note_failure(run, error)
        if is_refusal(error):
            state.metadata[FINISH] = "content_filter"
        failure = cause_of(error)
    if failure is not None:
        # Raised outside the except block, so that the log does not show the wrapper, which does not name the cause.
        raise failure
    if state.output.error:
        raise RunStoppedError(f"the model gave an error: {state.output.error}")
    run.model_breaker.succeed()
    latency = round(time.monotonic() - start, 4)
    finish = (state.output.metadata or {}).get(FINISH)
    state.metadata |= {"latency_s": latency, FINISH: finish}
    reply = {"text": whole_text(state.output), "latency_s": latency, FINISH: finish, "tokens": tokens_of(state.output)}
    run.answers.put(key, Reply(json.dumps(reply)))
    return state


def note_failure(run: TaskRun, error: Exception) -> None:
    """Report a failure to the circuit breaker of the model's server, unless it concerns a single question."""
    failed = request_error(error)
    if failed is not None and failed.failure is Failure.MISCONFIGURED:
        named = f"the model's server refuses {run.answering.model!r} with {one_line(error)}"
        run.model_breaker.stop(
            f"{named}; check the model's address, {setting('model.name')} and {setting('model.api_key_env')}"
        )
    elif failed is None or (failed.status not in PER_QUESTION and failed.failure is not Failure.REFUSED):
        run.model_breaker.fail(time.monotonic(), one_line(error))


def is_refusal(error: BaseException) -> bool:
    """Whether the server answered with status 200 and a content filter or the model refused."""
    failed = request_error(error)
    return failed is not None and failed.failure is Failure.REFUSED and failed.status == 200


def one_line(error: BaseException) -> str:
    """The message of an error, or of the cause that inspect_ai's retries have wrapped, in one line."""
    cause = cause_of(error)
    return " ".join(str(cause).split())[:300] or type(cause).__name__


def cause_of(error: BaseException) -> BaseException:
    """The error of the last attempt if inspect_ai's retries have wrapped it; else the error itself."""
    from tenacity import RetryError

    last = error.last_attempt.exception() if isinstance(error, RetryError) else None
    return last or request_error(error) or error


class Stopping:
    """Implements inspect_ai's EarlyStopping: once a server counts as down, the remaining samples are skipped."""

    def __init__(self, run: TaskRun) -> None:
        self.run = run

    async def start_task(self, task: Any, samples: list[Any], epochs: int) -> str:
        """The name of this stopping manager."""
        return "medix_verl"

    async def schedule_sample(self, id: str | int, epoch: int) -> EarlyStop | None:
        """None to run a sample, or the reason to skip it."""
        return EarlyStop(id=id, epoch=epoch, reason=self.run.stopped) if self.run.stopped else None

    async def complete_sample(self, id: str | int, epoch: int, scores: dict[str, Any]) -> None:
        """Do nothing."""

    async def complete_task(self) -> dict[str, Any]:
        """Close the connections, in the event loop that opened them."""
        await self.run.protocol.close()
        model = get_model().api
        if isinstance(model, ServedModel):
            self.run.adapted.update(model.adapted)
            await model.aclose()
        return {}


def register(spec: TaskSpec) -> Callable[..., Task]:
    """Register one task of the table with inspect_ai under its name."""

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
        few_shot: int = 0,
    ) -> Task:
        if spec.credentialed:
            raise ConfigError(
                f"{spec.name} holds credentialed data, and `inspect eval` would log it unguarded; "
                f"type: medix-verl evaluate MODEL --tasks {spec.name} --sources {spec.name}=PATH --out DIR"
            )
        from medix_verl.evaluation.assemble import TaskChoices, alone

        chosen = TaskChoices(limit, seed, protocol, prompt, images, few_shot)
        asked = {"kind": judge, "url": judge_url, "model": judge_model, "api_key_env": judge_api_key_env}
        return build_task(alone(spec, Path(source) if source else None, asked, chosen))

    made: Callable[..., Task] = offered
    return made


for _name, _spec in tasks().items():
    globals()[_name] = register(_spec)
