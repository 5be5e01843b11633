# SPDX-License-Identifier: Apache-2.0
"""`medix_verl.evaluate`: the Python interface of `medix-verl evaluate run`, configured by specs.

from medix_verl import JudgeSpec, evaluate

judge = JudgeSpec(kind="openai", url="http://127.0.0.1:8085/v1", model="Qwen/Qwen3-14B")
found = evaluate("http://127.0.0.1:8000/v1", ["slake_vqa", "mine.yaml"], "outputs/evaluation/mine", judge=judge)
print(found.table())
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from medix_verl.evaluation.assemble import TaskChoices
from medix_verl.evaluation.grading.spec import ProtocolSpec
from medix_verl.evaluation.grading.text_metrics import TextMetrics
from medix_verl.evaluation.models.generation import GenerationSpec
from medix_verl.evaluation.models.source import Model, read_model
from medix_verl.evaluation.models.trained import as_trained
from medix_verl.evaluation.stats.costs import Prices
from medix_verl.evaluation.stats.missing import Counting
from medix_verl.evaluation.store.read import Evaluation, read_evaluation
from medix_verl.evaluation.suite import SuiteSpec, run_suite
from medix_verl.evaluation.task_run import Limits
from medix_verl.evaluation.tasks.table import TaskSpec, by_task, select
from medix_verl.judge.spec import JudgeSpec

__all__ = ["evaluate"]

logger = logging.getLogger(__name__)


def evaluate(
    model: str | Model,
    tasks: str | TaskSpec | Sequence[str | TaskSpec],
    out: str | Path,
    *,
    judge: JudgeSpec | None = None,
    protocol: ProtocolSpec | None = None,
    choices: TaskChoices | None = None,
    generation: GenerationSpec | None = None,
    limits: Limits | None = None,
    counting: Counting | None = None,
    text_metrics: TextMetrics | None = None,
    prices: Prices | None = None,
    sources: Mapping[str, str | Path] | None = None,
    networks: Sequence[str] = (),
    allow_remote: bool = False,
    resume: bool = False,
    say: Callable[[str], None] | None = None,
) -> Evaluation:
    """Evaluate a model on medical tasks.

    Args:
        model: A hub id or a checkpoint's folder (a server is started for it), the URL of a server, or a Model.
        tasks: As accepted by medix_verl.evaluation.tasks.table.select.
        out: The evaluation's folder.
        judge: The judge, or a panel. None for the rule judge, which counts differently worded free answers as wrong.
        protocol: How judges are asked; None for `published`, with thinking as in the model's chat template.
        choices: Limit, seed, prompt and pictures. None uses the settings of training, for a model of this package.
        generation: Temperature, tokens, number of answers and other sampling settings; None for greedy decoding.
        limits: Timeouts, retries and concurrency of the requests to the model.
        counting: How questions without a score are counted.
        text_metrics: Metrics of reports, in addition to the judge's grade.
        prices: Token prices, for the cost.
        sources: Task -> a local copy of its set.
        networks: Private networks that count as local for credentialed data.
        allow_remote: Whether credentialed data may be sent to remote addresses, at the user's own responsibility.
        resume: Whether to continue the evaluation in `out`.
        say: Called with one line of progress; None logs it.

    Returns:
        The finished evaluation: its records, its manifest and its table.

    Raises:
        ConfigError: The arguments are inconsistent or not permitted; the message names the argument's field.
        JudgeError, SetupError, RunStoppedError: See medix_verl.evaluation.suite.run_suite.
    """
    served = read_model(model) if isinstance(model, str) else model
    chosen = select(tasks)
    picked = choices or TaskChoices()
    asked = as_trained(
        served,
        picked.template if choices is not None else None,
        protocol.thinking if protocol is not None else "auto",
        generation or GenerationSpec(seed=picked.seed),
    )
    protocol = protocol or ProtocolSpec("published", thinking=asked.thinking)
    spec = SuiteSpec(
        model=served,
        tasks=tuple(chosen),
        out=Path(out),
        judge=settings_of(judge),
        protocol=protocol,
        choices=replace(picked, protocol=protocol.name, template=asked.template),
        sources={name: Path(place).expanduser() for name, place in by_task(sources or {}, chosen).items()},
        generation=asked.generation,
        limits=limits or Limits(),
        counting=counting or Counting(),
        text_metrics=text_metrics or TextMetrics(),
        prices=prices or Prices(),
        networks=tuple(networks),
        allow_remote=allow_remote,
        resume=resume,
        notes=asked.notes,
    )
    outside_of_a_loop(lambda: run_suite(spec, say or logger.info))
    return read_evaluation(spec.out)


def settings_of(judge: JudgeSpec | None) -> dict[str, Any]:
    """A judge's settings for judge_specs; defaults are omitted, since it treats each key as given by the user."""
    if judge is None:
        return {"kind": "rule"}
    given = {item.name: getattr(judge, item.name) for item in fields(judge)}  # type: ignore[arg-type]
    changed = {name: value for name, value in given.items() if value != default_of(name)}
    return {**changed, "kind": judge.kind, **({"url": ",".join(judge.urls)} if judge.urls else {})}


def default_of(name: str) -> Any:
    """The default of a judge's setting."""
    item = next(item for item in fields(JudgeSpec) if item.name == name)  # type: ignore[arg-type]
    return item.default_factory() if item.default_factory is not MISSING else item.default


def outside_of_a_loop(work: Callable[[], Any]) -> None:
    """Run code that starts its own event loop; in another thread if a loop is already running, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        work()
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(copy_context().run, work).result()
