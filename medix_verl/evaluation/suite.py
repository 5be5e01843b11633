# SPDX-License-Identifier: Apache-2.0
"""Runs an evaluation: task by task, each finished answer saved immediately, so that it can be killed at any time.

The guard for credentialed data runs before any question is asked. A task with complete records is not run again. An
interrupted task is run again, with finished answers and judges' replies from the cache. A server that is permanently
down ends the run with its cause; finished work is kept. This module is independent of inspect_ai.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from medix_verl.data.prompts import prompt_sha256
from medix_verl.data.source import Source
from medix_verl.errors import ConfigError, DataError, RunStoppedError
from medix_verl.evaluation.assemble import Load, TaskChoices, load_examples, load_items, open_replies
from medix_verl.evaluation.credentials import (
    check_address,
    check_judges,
    direct_connections,
    guarded_judges,
    inside,
    parse_networks,
)
from medix_verl.evaluation.grading.judge_settings import check_judging, facts_of_judging, judge_specs, judgeable
from medix_verl.evaluation.grading.spec import ProtocolSpec, build_protocol
from medix_verl.evaluation.grading.text_metrics import TextMetrics, check_installed, with_text_metrics
from medix_verl.evaluation.models.generation import GenerationSpec
from medix_verl.evaluation.models.source import Model, check_served, connected
from medix_verl.evaluation.results import Results
from medix_verl.evaluation.settings import setting
from medix_verl.evaluation.stats.costs import Prices
from medix_verl.evaluation.stats.missing import Counting, facts_of_counting
from medix_verl.evaluation.store.identity import ask_probes, is_another
from medix_verl.evaluation.store.manifest import (
    FORMAT,
    Manifest,
    begin,
    compare,
    compare_known,
    held,
    versions,
    write_manifest,
)
from medix_verl.evaluation.store.provenance import (
    IDENTITY,
    checkpoint_facts,
    place_of,
    rows_sha256,
    server_facts,
    source_facts,
)
from medix_verl.evaluation.store.records import entry_name, read_records, record_path, write_records
from medix_verl.evaluation.store.unused import removed_if_unused
from medix_verl.evaluation.task_run import Answering, Limits, TaskRun, question_of
from medix_verl.evaluation.tasks.expected import SourceFacts, deviations
from medix_verl.evaluation.tasks.few_shot import splits_for
from medix_verl.evaluation.tasks.pictures import Item
from medix_verl.evaluation.tasks.table import TaskSpec, facts_of
from medix_verl.evaluation.tasks.table import tasks as table
from medix_verl.judge.cache import ReplyCache
from medix_verl.judge.spec import JudgeSpec
from medix_verl.runtime.dispatch import Breaker

__all__ = ["SuiteSpec", "askable", "run_suite"]

FEWEST = 4
"""Least number of consecutive failures after which a server counts as down."""
LIBRARY = "library"
"""Folder for inspect_ai's internal files."""


@dataclass(frozen=True, slots=True)
class SuiteSpec:
    """The settings of an evaluation."""

    model: Model
    tasks: tuple[TaskSpec, ...]
    out: Path
    judge: Mapping[str, Any] = field(default_factory=lambda: {"kind": "rule"})
    """The settings of medix_verl.evaluation.grading.judge_settings.judge_specs."""
    protocol: ProtocolSpec = field(default_factory=lambda: ProtocolSpec("published"))
    choices: TaskChoices = field(default_factory=TaskChoices)
    sources: Mapping[str, Path] = field(default_factory=dict)
    generation: GenerationSpec = field(default_factory=GenerationSpec)
    limits: Limits = field(default_factory=Limits)
    counting: Counting = field(default_factory=Counting)
    """How questions without a score are counted."""
    text_metrics: TextMetrics = field(default_factory=TextMetrics)
    """Metrics of reports, in addition to the judge's grade."""
    prices: Prices = field(default_factory=Prices)
    networks: tuple[str, ...] = ()
    """Private networks that count as local (see medix_verl.evaluation.credentials)."""
    allow_remote: bool = False
    resume: bool = False
    notes: tuple[str, ...] = ()
    """Warnings that are reported after all checks (medix_verl.evaluation.models.trained)."""

    @property
    def down_after(self) -> int:
        """Consecutive failures after which a server counts as permanently down."""
        # With few concurrent questions, many consecutive failures would take minutes.
        return max(FEWEST, min(self.limits.down_after, self.limits.connections))

    def source_of(self, task: TaskSpec) -> Path | None:
        """The named copy of a task's questions, or the task's own source; None for the published set."""
        own = None if task.source is None else Path(task.source)
        return self.sources.get(task.name, own)

    def metrics_of(self, task: TaskSpec) -> TextMetrics:
        """The metrics of a task's reports: the task's own, or those of the run."""
        return replace(self.text_metrics, names=task.metrics) if task.metrics else self.text_metrics

    @property
    def judges(self) -> list[JudgeSpec]:
        """The judges, with the limits for credentialed rows; ConfigError if the settings are inconsistent."""
        settings = {"breaker_failures": self.down_after, **self.judge}
        return guarded_judges(settings, self.networks, self.allow_remote)


def run_suite(spec: SuiteSpec, say: Callable[[str], None], load: Load | None = None) -> Manifest:
    """Evaluate; writes eval.json, records/, logs/, summary.json and table.md to `spec.out`.

    Args:
        spec: The settings.
        say: Called with one line of progress.
        load: Loads the samples; None for the converters.

    Raises:
        ConfigError: The settings are inconsistent or not permitted; no question was asked.
        JudgeError: The judge cannot be called, or its replies cannot be parsed.
        SetupError: The model's server could not be started.
        RunStoppedError: A server was permanently down, a task could not be run, or one has too many unscored questions
            (see medix_verl.evaluation.stats.missing); finished work is kept.
    """
    tasks, credentialed = askable(spec, say)
    with contextlib.ExitStack() as stack:
        stack.enter_context(held(spec.out))
        stack.enter_context(removed_if_unused(spec.out))
        if credentialed:
            stack.enter_context(direct_connections())
        manifest = begin(spec.out, wanted_manifest(spec, tasks), spec.resume)
        Suite(spec, manifest, say, load).run(tasks)
        return manifest


def askable(spec: SuiteSpec, say: Callable[[str], None]) -> tuple[list[TaskSpec], list[str]]:
    """The tasks that can be asked and judged, and the names of the credentialed ones; asks and writes nothing.

    Raises:
        ConfigError: The settings are inconsistent or not permitted.
    """
    check_judging(spec.judge, spec.protocol)
    judge_specs(spec.judge)
    credentialed = guard(spec)
    for task in spec.tasks if spec.choices.few_shot else ():
        splits_for(task)
    for task in spec.tasks:
        if task.metric == "report05":
            check_installed(spec.metrics_of(task))
    return judgeable(shown_tasks(spec, say), spec.judge, say), credentialed


def guard(spec: SuiteSpec) -> list[str]:
    """Check sources and the guard for credentialed tasks, before any question is asked; returns their names.

    Raises:
        ConfigError: A local copy was not named or does not exist, or an address is not local.
    """
    names = [task.name for task in spec.tasks if task.credentialed]
    for task in spec.tasks:
        source = spec.source_of(task)
        if task.credentialed and source is None:
            raise ConfigError(
                f"{task.name} needs {task.credential}; name your copy with "
                f"{setting('sources', 'PATH', task.name)}, "
                f"or leave the task out"
            )
        if source is not None and not source.exists():
            raise ConfigError(
                f"{setting('sources', source, task.name)}: there is no such file or folder; check the path"
            )
    networks = parse_networks(spec.networks, setting("networks"))
    if names and not spec.allow_remote:
        if spec.model.url is not None:
            check_address("the model", spec.model.url, names, networks)
        check_judges(spec.judges, names, networks)
    return names


def shown_tasks(spec: SuiteSpec, say: Callable[[str], None]) -> list[TaskSpec]:
    """The tasks to which the picture condition applies.

    Raises:
        ConfigError: It applies to no task.
    """
    condition = spec.choices.condition
    if condition == "real":
        return list(spec.tasks)
    with_pictures = [task for task in spec.tasks if task.pictures]
    if not with_pictures:
        raise ConfigError(f"{setting('choices.condition', condition)} for tasks without pictures; name vlm tasks")
    if len(with_pictures) < len(spec.tasks):
        say(
            f"{setting('choices.condition', condition)}: "
            f"{len(spec.tasks) - len(with_pictures)} tasks without pictures are left out"
        )
    return with_pictures


def wanted_manifest(spec: SuiteSpec, tasks: Sequence[TaskSpec]) -> Manifest:
    """The manifest at the start of a run."""
    choices, limits = spec.choices, spec.limits
    return {
        "format": FORMAT,
        "model": spec.model.name,
        **facts_of_judging(spec.judges, spec.protocol),
        "seed": choices.seed,
        "settings": {
            "template": choices.template,
            "prompt_sha256": prompt_sha256(choices.template),
            "limit": choices.limit,
            **({"few_shot": choices.few_shot} if choices.few_shot else {}),
            **({} if choices.rotations is None else {"rotations": choices.rotations}),
            **spec.generation.facts,
        },
        "tasks": [task.name for task in tasks],
        "own": {task.name: facts_of(task) for task in tasks if task.name not in table()},
        "asked": [entry_name(task.name, choices.condition) for task in tasks],
        "condition": choices.condition,
        "conditions": [choices.condition],
        "done": {},
        "versions": versions(),
        "limits": {"timeout_s": limits.timeout_s, "retries": limits.retries, "connections": limits.connections},
        "checkpoint": checkpoint_facts(spec.model),
        "counting": facts_of_counting(spec.counting),
        "text_metrics": asdict(spec.text_metrics),
        "prices": asdict(spec.prices),
        "finished": False,
        "failed": {},
    }


class Suite:
    """A run in progress."""

    def __init__(self, spec: SuiteSpec, manifest: Manifest, say: Callable[[str], None], load: Load | None) -> None:
        self.spec = spec
        self.manifest = manifest
        # A manifest of an earlier version has no sources.
        self.sources: dict[str, Any] = manifest.setdefault("sources", {})
        self.say = say
        self.load = load
        self.results = Results(spec.out, manifest, spec.counting, say)
        self.model_breaker = Breaker(spec.down_after, what="the model")

    def run(self, tasks: Sequence[TaskSpec]) -> None:
        """Run the tasks that are not done.

        Raises:
            ConfigError: Something that an earlier run into the folder depended on has changed.
        """
        self.check_sources(tasks)
        left = [task for task in tasks if not self.is_done(task)]
        for task in tasks:
            if task not in left:
                self.add_text_metrics(task)
        if len(left) < len(tasks):
            self.say(f"{len(tasks) - len(left)} of {len(tasks)} tasks are done already")
        if left:
            self.preflight()
            for note in self.spec.notes:
                self.say(f"warning: {note}")
            with (
                contextlib.closing(open_replies(self.spec.out)) as replies,
                connected(
                    self.spec.model,
                    self.spec.out / "server.log",
                    self.model_breaker.stop,
                    self.say,
                    self.spec.generation,
                ) as served,
            ):
                self.note_server(served)
                for task in left:
                    self.run_one(task, served, replies)
        lost = self.results.finish()
        names = [entry_name(task.name, self.spec.choices.condition) for task in tasks]
        failed = [name for name in names if name in lost]
        if failed:
            cause = f"the first {failed[0]}: {lost[failed[0]]}"
            raise RunStoppedError(f"{len(failed)} of {len(tasks)} tasks have no figure, {cause}")
        if lost:
            self.say(
                f"not finished: {', '.join(lost)} of earlier runs; name them with "
                f"{setting('tasks')}, and {setting('resume', True)}"
            )

    def check_sources(self, tasks: Sequence[TaskSpec]) -> None:
        """Refuse other questions than those of an earlier run, before any question is asked.

        Raises:
            ConfigError: The source is another one, or a done task's local files have changed and contain other rows.
        """
        for task in tasks:
            was, source = self.sources.get(task.name), self.spec.source_of(task)
            if was is None:
                continue
            compare(self.spec.out, f"sources.{task.name}.place", was["place"], place_of(task, source))
            # A task that is not done is compared when it is loaded.
            if source is None or self.load is not None or not self.is_done(task):
                continue
            if Source(source).digest() != was["digest"]:
                rows = rows_sha256(load_items(task, source, self.spec.choices, self.spec.out / "images").values())
                compare(self.spec.out, f"sources.{task.name}.rows_sha256", was["rows_sha256"], rows)

    def note_source(
        self, task: TaskSpec, facts: SourceFacts, items: Iterable[Item], examples: Sequence[Item] = ()
    ) -> None:
        """Record the origin and hashes of a task's questions, before they are asked.

        Raises:
            ConfigError: An earlier run had others.
        """
        now = source_facts(task, self.spec.source_of(task), facts, items)
        now |= {"few_shot_sha256": rows_sha256(examples)} if examples else {}
        was = self.sources.get(task.name, {})
        keys = ("revision", "rows_sha256", "prompt_sha256", "few_shot_sha256")
        compare_known(self.spec.out, f"sources.{task.name}", {key: was[key] for key in keys if key in was}, now)
        self.sources[task.name] = now
        write_manifest(self.spec.out, self.manifest)

    def note_server(self, served: Any) -> None:
        """Record server and checkpoint, before any question is asked.

        Raises:
            ConfigError: An earlier run was answered by another model.
        """
        now = server_facts(served.url, served.model, self.spec.model.api_key_env)
        was = self.manifest.get("server") or {}
        if self.spec.model.url is not None and not set(IDENTITY) & now["model"].keys():
            now["answers"] = self.note_answers(served, was.get("answers"))
        known = {name: value for name, value in (was.get("model") or {}).items() if name in IDENTITY}
        compare_known(self.spec.out, "server.model", known, now["model"])
        checkpoint = checkpoint_facts(self.spec.model)
        compare_known(self.spec.out, "checkpoint", self.manifest.get("checkpoint") or {}, checkpoint)
        self.manifest |= {"server": now, "checkpoint": checkpoint}
        write_manifest(self.spec.out, self.manifest)

    def note_answers(self, served: Any, was: Mapping[str, str] | None) -> Mapping[str, str]:
        """Identify the model of a server that lists only a name by its answers to fixed questions; returns the first
        run's answers if there are any.

        Raises:
            ConfigError: The answers differ from those of an earlier run.
        """
        now = asyncio.run(ask_probes(served.url, served.model, served.api_key))
        another = None if was is None else is_another(was, now)
        if another:
            compare(self.spec.out, "server.answers", was, now)
        if another is None and (was is not None or not now):
            self.say("warning: the server lists only the model's name; --resume cannot check that it is the same one")
        return was or now

    def is_done(self, task: TaskSpec) -> bool:
        """Whether a task has its records, all of them scored."""
        name = entry_name(task.name, self.spec.choices.condition)
        counts = self.manifest["done"].get(name)
        whole = counts is not None and not counts["error"] and not counts["unscored"]
        return whole and record_path(self.spec.out, task.name, self.spec.choices.condition).is_file()

    def add_text_metrics(self, task: TaskSpec) -> None:
        """Add metrics to the records of a done task that were not requested when it was run."""
        path = record_path(self.spec.out, task.name, self.spec.choices.condition)
        before = read_records(path)
        after = with_text_metrics(before, self.spec.metrics_of(task))
        if after != before:
            write_records(path, after)

    def preflight(self) -> None:
        """Send one request to model and judge, so that a wrong name is an error in seconds, not after hours of
        generation."""
        from medix_verl.evaluation.grading.preflight import ask_judges

        check_served(self.spec.model, self.spec.generation)
        ask_judges(self.spec.judges, self.spec.protocol)

    def run_one(self, task: TaskSpec, served: Any, replies: ReplyCache) -> None:
        """Run one task and write its records; a task that cannot be loaded is recorded as failed."""
        from medix_verl.evaluation.inspect.run import read_logs, run_task

        choices, name = self.spec.choices, entry_name(task.name, self.spec.choices.condition)
        self.manifest["failed"].pop(name, None)
        try:
            source, images = self.spec.source_of(task), self.spec.out / "images"
            refused, facts = Counter[str](), SourceFacts()
            items = load_items(task, source, choices, images, self.load, refused, facts)
            examples = load_examples(task, source, choices, images, items, self.load)
        except (DataError, ConfigError, OSError) as error:
            self.manifest["failed"][name] = " ".join(str(error).split())
            self.say(f"{name}: {self.manifest['failed'][name]}")
            self.results.save()
            return
        self.note_source(task, facts, items.values(), examples)
        protocol = build_protocol(self.spec.protocol, self.spec.judges, replies)
        template = task.prompt or choices.template
        answering = Answering(self.spec.model.name, template, self.spec.generation, self.spec.limits)
        run = TaskRun(task, items, protocol, answering, choices.condition, examples, replies, self.model_breaker)
        asked = len({question_of(item.sample) for item in items.values()})
        other = deviations(task, facts, asked, sum(refused.values()), choices.limit)
        turned = f" in {len(items)} orders of their options" if len(items) > asked else ""
        for line in [*facts.notes, "; ".join([f"{asked} questions{turned}", *other])]:
            self.say(f"{name}: {line}")
        with inside(self.spec.out / LIBRARY):
            records = read_logs(run, run_task(run, served, self.spec.out / "logs"))
        records = with_text_metrics(records, self.spec.metrics_of(task))
        self.results.keep(run, records, {"refused": dict(sorted(refused.items())), "deviations": other})
