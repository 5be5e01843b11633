# SPDX-License-Identifier: Apache-2.0
"""Puts a TaskRun together: loads a task's questions, shows pictures under the chosen condition, sets up the judging."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.journal import Journal
from medix_verl.evaluation.judge_facts import judgeable
from medix_verl.evaluation.pictures import Item, prepare, show_as
from medix_verl.evaluation.protocol import Protocol
from medix_verl.evaluation.protocol_spec import ProtocolSpec, build_voters
from medix_verl.evaluation.remembered import RememberedJudge
from medix_verl.evaluation.task_run import Answering, Limits, TaskRun
from medix_verl.evaluation.tasks import TaskSpec
from medix_verl.evaluation.watch import Watch
from medix_verl.judge.prompt import load_prompt
from medix_verl.judge.rule.judge import RuleJudge
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Sample

__all__ = ["Load", "TaskChoices", "alone", "judge_specs", "load_items", "remembering"]

Load = Callable[[TaskSpec, "Path | None", "int | None", int], Iterable[Sample]]
"""Task, source, limit, seed -> its samples; medix_verl.evaluation.loading.load."""

VERDICT_FIELDS = (
    "prompt",
    "structured",
    "soft",
    "swap",
    "tolerance",
    "temperature",
    "seed",
    "guard",
    "max_candidate_chars",
)
"""The settings of a judge that change what it says."""
NEVER = 1_000_000_000
JUDGE_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class TaskChoices:
    """What a user can choose for a task, besides model and judge."""

    limit: int | None = None
    seed: int = 0
    protocol: str = "published"
    template: str = "medix"
    condition: str = "real"


def load_items(
    spec: TaskSpec,
    source: Path | None,
    choices: TaskChoices,
    folder: Path | None,
    load: Load | None = None,
    refused: Counter[str] | None = None,
) -> dict[str, Item]:
    """A task's questions with the pictures to show.

    Args:
        spec: The task.
        source: A local copy of its set; None is the published place.
        choices: Limit, seed and condition.
        folder: Where pictures are kept; None keeps them in memory.
        load: Where samples come from; None is the converters.
        refused: Filled with how many rows of the source were refused, by reason.

    Raises:
        DataError: The task has no question, an id is there twice, or a picture cannot be used.
    """
    if load is None:
        from medix_verl.evaluation import loading

        load = partial(loading.load, refused=refused)
    kept = None if spec.credentialed else folder
    base = Path() if source is None else (source if source.is_dir() else source.parent)
    items: dict[str, Item] = {}
    for sample in load(spec, source, choices.limit, choices.seed):
        if sample.id in items:
            raise DataError(f"{spec.name}: the id {sample.id!r} is there twice; mend the converter or the source")
        items[sample.id] = prepare(sample, kept, base)
    if not items:
        raise DataError(f"{spec.name} has no question in {source or spec.hub_id}; check the source and --limit")
    return {item.sample.id: item for item in show_as(list(items.values()), choices.condition, choices.seed)}


def judge_specs(settings: Mapping[str, Any]) -> list[JudgeSpec]:
    """The judges that settings name: `model` may name several with commas, then they are a panel.

    Raises:
        ConfigError: They do not fit together.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    names = [name.strip() for name in str(given.pop("model", "")).split(",") if name.strip()]
    urls = [url.strip() for url in str(given.pop("url", "")).split(",") if url.strip()]
    # Somebody waits: a breaker would make a run wait minutes for a server to come back; a watch ends it instead.
    given = {"breaker_failures": NEVER, "timeout_s": JUDGE_TIMEOUT_S, **given}
    if given.get("kind", "rule") == "rule":
        if names or urls:
            raise ConfigError("--judge-url or --judge-model was given with --judge rule; type --judge openai")
        return [JudgeSpec.from_mapping(given)]
    if not names or not urls:
        lacking = "model" if urls else "url"
        raise ConfigError(f"--judge openai got no --judge-{lacking}; type --judge-url URL --judge-model NAME")
    if len(urls) not in (1, len(names)):
        raise ConfigError(f"--judge-url names {len(urls)} servers for {len(names)} models; give one, or one for each")
    places = urls * len(names) if len(urls) == 1 else urls
    return [
        JudgeSpec.from_mapping({**given, "model": name, "url": url}) for name, url in zip(names, places, strict=True)
    ]


def remembering(spec: ProtocolSpec, judges: Sequence[JudgeSpec], journal: Journal | None, watch: Watch) -> Protocol:
    """A protocol whose judges ask nothing twice."""
    voters = []
    for voter in build_voters(spec, judges):
        if isinstance(voter.judge, RuleJudge):
            voters.append(voter)
            continue
        pool: Any = voter.judge
        said = {name: value for name, value in asdict(pool.spec).items() if name in VERDICT_FIELDS}
        identity = {**said, "model": pool.model, "text": load_prompt(pool.spec.prompt, pool.spec.show_question)}
        voters.append(replace(voter, judge=RememberedJudge(pool, identity, journal, watch)))
    return Protocol(spec, voters)


def alone(
    spec: TaskSpec, source: Path | None, judge: Mapping[str, Any], choices: TaskChoices, load: Load | None = None
) -> TaskRun:
    """A task for `inspect eval`, which keeps its own logs: no journal, and pictures in memory.

    Raises:
        ConfigError: The judge cannot grade the task, or its settings do not fit together.
    """
    judgeable([spec], judge, lambda line: None)
    watch = Watch("the judge", Limits().down_after)
    protocol = remembering(ProtocolSpec(choices.protocol), judge_specs(judge), None, watch)
    items = load_items(spec, source, choices, None, load)
    answering = Answering(model="", template=choices.template, seed=choices.seed)
    return TaskRun(spec, items, protocol, answering, choices.condition, judge_watch=watch)
