# SPDX-License-Identifier: Apache-2.0
"""Judges a finished evaluation again, with another judge or protocol; the evaluated model is not called.

The result is a separate evaluation in another folder, so that the two can be compared. Responses come from the logs,
which inspect_ai scores again. Each reply is saved immediately, so a killed run continues with `--resume`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from medix_verl.errors import ConfigError, DataError, RunStoppedError
from medix_verl.evaluation.assemble import open_replies
from medix_verl.evaluation.credentials import (
    check_judges,
    direct_connections,
    guarded_judges,
    inside,
    parse_networks,
)
from medix_verl.evaluation.grading.judge_settings import check_judging, facts_of_judging, judgeable
from medix_verl.evaluation.grading.preflight import ask_judges
from medix_verl.evaluation.grading.spec import ProtocolSpec, build_protocol
from medix_verl.evaluation.inspect.run import rescore
from medix_verl.evaluation.results import Results
from medix_verl.evaluation.settings import setting
from medix_verl.evaluation.stats.costs import Prices
from medix_verl.evaluation.stats.missing import Counting, facts_of_counting
from medix_verl.evaluation.store.manifest import Manifest, asked_of, begin, held, read_manifest, versions
from medix_verl.evaluation.store.read import spec_of
from medix_verl.evaluation.store.records import Record, entry_name, place_of, read_records, record_path
from medix_verl.evaluation.task_run import Answering, TaskRun
from medix_verl.evaluation.tasks.facets import AXIS
from medix_verl.evaluation.tasks.pictures import Item, kept_refs
from medix_verl.evaluation.tasks.table import TaskSpec, find
from medix_verl.judge.cache import ReplyCache
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import ImageRef

__all__ = ["RejudgeSpec", "rejudge"]

VERDICT = ("answer", "value", "status", "reason", "votes", "judge")
"""Fields of a record that depend on the judge."""


@dataclass(frozen=True, slots=True)
class RejudgeSpec:
    """What to judge again, and how."""

    source: Path
    out: Path
    judge: Mapping[str, Any]
    protocol: ProtocolSpec = field(default_factory=lambda: ProtocolSpec("published"))
    counting: Counting = field(default_factory=Counting)
    prices: Prices = field(default_factory=Prices)
    """If no price of the model is given, that of the evaluation is used."""
    networks: tuple[str, ...] = ()
    allow_remote: bool = False
    resume: bool = False

    @property
    def judges(self) -> list[JudgeSpec]:
        """The judges, with the limits for credentialed rows; ConfigError if the settings are inconsistent."""
        return guarded_judges(self.judge, self.networks, self.allow_remote)


def rejudge(spec: RejudgeSpec, say: Callable[[str], None]) -> Manifest:
    """Judge every task of an evaluation again.

    Raises:
        ConfigError: The judge must not receive the data, or the folders do not match.
        DataError: The folder is not an evaluation, or a question is missing in its logs.
        JudgeError: The judge cannot be called.
        RunStoppedError: The judge is permanently down, a task is missing in the evaluation, or a task has too many
            unscored questions; finished work is kept.
    """
    check_judging(spec.judge, spec.protocol)
    old = read_manifest(spec.source)
    if spec.out.absolute() == spec.source.absolute():
        raise ConfigError(f"{setting('out', spec.out)} is the evaluation itself; give another folder")
    tasks = judgeable([task_of_evaluation(name, old) for name in old["tasks"]], spec.judge, say)
    credentialed = [task.name for task in tasks if task.credentialed]
    guard(spec, credentialed)
    ask_judges(spec.judges, spec.protocol)
    with contextlib.ExitStack() as stack:
        stack.enter_context(held(spec.out))
        if credentialed:
            stack.enter_context(direct_connections())
        wanted = wanted_manifest(spec, old, [task.name for task in tasks])
        # Tasks that were missing when re-judging began may exist now.
        manifest = {**begin(spec.out, wanted, spec.resume), "failed": wanted["failed"]}
        replies = stack.enter_context(contextlib.closing(open_replies(spec.out)))
        into = Results(spec.out, manifest, spec.counting, say)
        for task in manifest["tasks"]:
            for condition in old["conditions"]:
                if record_path(spec.source, task, condition).is_file():
                    one_task(spec, task, condition, replies, old, into)
        lost = into.finish()
    check_whole(spec, lost)
    return manifest


def task_of_evaluation(name: str, manifest: Manifest) -> TaskSpec:
    """The spec of a task of the evaluation.

    Raises:
        ConfigError: The task is neither in its manifest nor in the table.
    """
    return spec_of(name, manifest) or find(name)


def guard(spec: RejudgeSpec, credentialed: Sequence[str]) -> None:
    """Refuse a judge that credentialed data must not reach.

    Raises:
        ConfigError: Its address is not local.
    """
    networks = parse_networks(spec.networks, setting("networks"))
    if credentialed and not spec.allow_remote:
        check_judges(spec.judges, credentialed, networks)


def check_whole(spec: RejudgeSpec, lost: Mapping[str, str]) -> None:
    """Check that every task has a figure.

    Raises:
        RunStoppedError: A task has none.
    """
    if lost:
        name, cause = next(iter(lost.items()))
        raise RunStoppedError(
            f"{len(lost)} tasks of {spec.source} have no figure, the first {name}: {cause}; where questions were not "
            f"asked, finish it with {setting('resume', True)}, then rejudge it into {spec.out} "
            f"with {setting('resume', True)}"
        )


def wanted_manifest(spec: RejudgeSpec, old: Manifest, tasks: Sequence[str]) -> Manifest:
    """The manifest at the start of re-judging: the evaluation's, except for the judge and the finished tasks."""
    begun = dict.fromkeys(tasks)
    return {
        **old,
        **facts_of_judging(spec.judges, spec.protocol),
        "tasks": list(tasks),
        "asked": [name for name in asked_of(old) if place_of(name)[0] in begun],
        "adapted": {"model": (old.get("adapted") or {}).get("model", []), "judge": []},
        "done": {},
        "versions": versions(),
        "counting": facts_of_counting(spec.counting),
        "prices": {**asdict(spec.prices), **({} if spec.prices.model else {"model": model_price(old)})},
        "finished": False,
        "failed": {name: cause for name, cause in old["failed"].items() if place_of(name)[0] in begun},
    }


def model_price(old: Manifest) -> Any:
    """The model's price in the evaluation."""
    return (old.get("prices") or {}).get("model")


def one_task(spec: RejudgeSpec, task: str, condition: str, replies: ReplyCache, old: Manifest, into: Results) -> None:
    """Judge one task again, and write its records.

    Raises:
        DataError: A question with an answer is missing in the logs.
        RunStoppedError: The judge is permanently down.
    """
    records, logs = read_records(record_path(spec.source, task, condition)), spec.source / "logs"
    protocol = build_protocol(spec.protocol, spec.judges, replies)
    sees = any(judge.images for judge in spec.judges)
    shown = partial(kept_pictures, spec.source / "images") if sees else no_pictures
    answering = Answering(old["model"], old["settings"]["template"])
    run = TaskRun(task_of_evaluation(task, old), {}, protocol, answering, condition, shown_to_judges=shown)
    with inside(spec.out / "library"):
        judged = {record.key: record for record in rescore(run, logs, spec.out / "logs")}
    absent = next((record.id for record in records if record.response and record.key not in judged), None)
    if absent is not None:
        raise DataError(f"{task}: the log has no question {absent!r}; its logs/ folder is needed to rejudge")
    name = entry_name(task, condition)
    cause = old["failed"].get(name, "")
    # Another judge or another max_unscored may give a withheld task a figure. Questions that were not asked are still
    # missing, so other causes stay.
    stays = "" if (old["done"].get(name) or {}).get("withheld") else cause
    again = [with_verdict(record, judged[record.key]) if record.response else record for record in records]
    into.keep(run, again, old["done"].get(name) or {}, stays)


def with_verdict(record: Record, judged: Record) -> Record:
    """A record with another judge's verdict on its response."""
    texts = {name: value for name, value in record.metrics.items() if not name.startswith(AXIS)}
    return replace(record, **{name: getattr(judged, name) for name in VERDICT}, metrics={**texts, **judged.metrics})


def kept_pictures(folder: Path, item: Item) -> tuple[ImageRef, ...]:
    """A question's pictures, from the evaluation's folder."""
    return kept_refs([picture.hash for picture in item.pictures], folder, item.sample.id)


def no_pictures(item: Item) -> tuple[ImageRef, ...]:
    """No pictures, for judges that get none: the evaluation need not have kept them."""
    return ()
