# SPDX-License-Identifier: Apache-2.0
"""Assembles a TaskRun: loads a task's questions, applies the picture condition, sets up the judging."""

from __future__ import annotations

import contextlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import PlainValidator

from medix_verl.credentialed import is_credentialed
from medix_verl.data.prompts import is_template, template_names
from medix_verl.errors import DataError
from medix_verl.evaluation.grading.judge_settings import judge_specs, judgeable
from medix_verl.evaluation.grading.spec import PROTOCOLS, ProtocolSpec, build_protocol
from medix_verl.evaluation.models.generation import GenerationSpec
from medix_verl.evaluation.settings import named, setting
from medix_verl.evaluation.store.records import CONDITIONS
from medix_verl.evaluation.task_run import Answering, TaskRun
from medix_verl.evaluation.tasks.expected import SourceFacts
from medix_verl.evaluation.tasks.few_shot import POOL, draw, splits_for
from medix_verl.evaluation.tasks.pictures import Item, prepare, show_as
from medix_verl.evaluation.tasks.rotation import rotate
from medix_verl.evaluation.tasks.table import TaskSpec
from medix_verl.judge.cache import ReplyCache, Store
from medix_verl.judge.reply import Reply
from medix_verl.runtime.files import read_json_lines
from medix_verl.specs import Choice, Count, Natural, Section, spec
from medix_verl.types import Sample

__all__ = ["Load", "TaskChoices", "alone", "load_examples", "load_items", "open_replies"]

logger = logging.getLogger(__name__)
NO_PICTURE = "picture cannot be used"
"""Reason for refusing a row whose picture is corrupt, truncated or too large."""
NAMED = 3
"""Most refused rows of a task that are logged with their cause."""
Load = Callable[[TaskSpec, "Path | None", "int | None", "int | None"], Iterable[Sample]]
"""Task, source, limit, seed -> its samples; medix_verl.evaluation.tasks.load.load."""


def read_template(value: Any) -> Any:
    """Check the name or the path of a prompt; raises Refused."""
    return value if isinstance(value, str) and is_template(value) else Choice(template_names).func(value)  # type: ignore[call-arg]


@spec("choices", label=named("choices"))
class TaskChoices(Section):
    """The settings of a task besides model and judge."""

    limit: Count | None = None
    """Questions of each task, sampled by `seed`; None for all."""
    seed: Natural = 0
    protocol: Annotated[str, Choice(PROTOCOLS)] = "published"
    template: Annotated[str, PlainValidator(read_template)] = "medix"
    """The prompt: a name, or the path of a .jinja file."""
    condition: Annotated[str, Choice(CONDITIONS)] = "real"
    """The pictures that are shown: the real ones, or what replaces them."""
    few_shot: Natural = 0
    """Solved examples before each question."""
    rotations: Natural | None = None
    """Most rotations of a question's options (medix_verl.evaluation.tasks.rotation); 0 for all, None for none."""


def load_items(
    task: TaskSpec,
    source: Path | None,
    choices: TaskChoices,
    folder: Path | None,
    load: Load | None = None,
    refused: Counter[str] | None = None,
    facts: SourceFacts | None = None,
) -> dict[str, Item]:
    """A task's questions with the pictures to show.

    Args:
        task: The task.
        source: A local copy of its set; None for the published one.
        choices: Limit, seed and condition.
        folder: Where pictures are kept; None keeps them in memory.
        load: Loads the samples; None for the converters.
        refused: Filled with the number of refused rows of the source, by reason.
        facts: Filled with the origin of the questions.

    A row whose picture cannot be used is refused, like a row whose picture is missing.

    Raises:
        DataError: The task has no question, an id occurs twice, or a row is credentialed and the task is not.
    """
    if load is None:
        from medix_verl.evaluation.tasks import load as loading

        load = partial(loading.load, refused=refused, facts=facts)
    kept, base = place_of_pictures(task, source, folder)
    items: dict[str, Item] = {}
    lost = Counter[str]() if refused is None else refused
    for sample in load(task, source, choices.limit, choices.seed):
        check_stays(task, sample)
        if sample.id in items:
            raise DataError(f"{task.name}: the id {sample.id!r} is there twice; fix the converter or the source")
        try:
            items[sample.id] = prepare(sample, kept, base)
        except DataError as error:
            lost[NO_PICTURE] += 1
            if lost[NO_PICTURE] <= NAMED:
                logger.warning("%s: a row is left out: %s", task.name, error)
    if not items:
        cause = f"; the pictures of {lost[NO_PICTURE]} cannot be used" if lost[NO_PICTURE] else ""
        raise DataError(
            f"{task.name} has no question in {source or task.hub_id}{cause}; check the source and "
            f"{setting('choices.limit')}"
        )
    shown = show_as(list(items.values()), choices.condition, choices.seed)
    turned = shown if choices.rotations is None else rotate(shown, choices.rotations)
    return {item.sample.id: item for item in turned}


def load_examples(
    task: TaskSpec,
    source: Path | None,
    choices: TaskChoices,
    folder: Path | None,
    items: Mapping[str, Item],
    load: Load | None = None,
) -> tuple[Item, ...]:
    """The solved examples shown before a task's questions; none if `few_shot` is 0.

    Args:
        task: The task.
        source: A local copy of its set; None for the published one.
        choices: Number of examples, and the seed.
        folder: Where pictures are kept; None keeps them in memory.
        items: The task's questions.
        load: Loads the samples; None for the converters.

    Raises:
        ConfigError: The task cannot have examples.
        DataError: The source has no other split, or too few of its rows are left.
    """
    if not choices.few_shot:
        return ()
    from medix_verl.evaluation.tasks.load import load as loaded
    from medix_verl.evaluation.tasks.load import rank

    kept, base = place_of_pictures(task, source, folder)

    def ready(sample: Sample) -> Item | None:
        with contextlib.suppress(DataError):
            return prepare(sample, kept, base)
        return None

    lacking: list[str] = []
    for other in splits_for(task):
        try:
            rows = list((load or loaded)(other, source, POOL, None))
        except DataError as error:
            lacking.append(str(error))
            continue
        for sample in rows:
            check_stays(task, sample)
        rows.sort(key=lambda sample: rank(sample.id, choices.seed))
        return draw(task, choices.few_shot, rows, items.values(), ready)
    raise DataError(f"{task.name}: {setting('choices.few_shot')} needs its train or val split: {'; '.join(lacking)}")


def place_of_pictures(task: TaskSpec, source: Path | None, folder: Path | None) -> tuple[Path | None, Path]:
    """The folder for pictures given by value (None: in memory), and the base folder of relative paths."""
    base = Path() if source is None else (source if source.is_dir() else source.parent)
    return None if task.credentialed else folder, base


def check_stays(task: TaskSpec, sample: Sample) -> None:
    """Refuse a credentialed row in a task that is not credentialed: it could be sent to remote models and judges.

    Raises:
        DataError: The row is credentialed and the task is not.
    """
    if not task.credentialed and is_credentialed(sample.data_source, sample.meta):
        raise DataError(
            f"{task.name}: the row {sample.id!r} is credentialed, and the task is not; write `credentialed: true` in "
            "the task, so that only local models and judges see it"
        )


def open_replies(folder: Path) -> ReplyCache:
    """Open the cache of the model's answers and the judges' replies. Each is written before use, so that no paid call
    is repeated. inspect_ai's own cache has the server's address in its key, and its sample buffer costs a third of the
    throughput.

    Raises:
        ConfigError: The file is damaged or is not a cache.
    """
    path = folder / "cache" / "replies.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    store = Store(path, write_through=True, instead="move the file away, and its calls are made again")
    kept, before = ReplyCache(0, store), path.with_name("answers.jsonl")
    if before.exists():  # the file of answers of an earlier version
        for line in read_json_lines(before):
            if line is not None:
                kept.put(bytes.fromhex(line["key"]), Reply(json.dumps(line["value"])))
        before.unlink()
    return kept


def alone(
    task: TaskSpec, source: Path | None, judge: Mapping[str, Any], choices: TaskChoices, load: Load | None = None
) -> TaskRun:
    """A task for `inspect eval`, which writes its own logs: without a reply cache, with pictures in memory.

    Raises:
        ConfigError: The judge cannot grade the task, or its settings do not fit together.
    """
    judgeable([task], judge, lambda line: None)
    protocol = build_protocol(ProtocolSpec(choices.protocol), judge_specs(judge))
    items = load_items(task, source, choices, None, load)
    answering = Answering(model="", template=choices.template, generation=GenerationSpec(seed=choices.seed))
    examples = load_examples(task, source, choices, None, items, load)
    return TaskRun(task, items, protocol, answering, choices.condition, examples=examples)
