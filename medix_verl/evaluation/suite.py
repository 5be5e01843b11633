# SPDX-License-Identifier: Apache-2.0
"""Runs an evaluation: task after task, every finished answer kept at once, so that it can be killed at any moment.

What must not leave the machine is checked before anything is asked. A task whose records are whole is not run again;
one that was under way is, with its finished answers from the journal and its judges' replies from their cache. A
server that is down for good ends the run with its cause, and what was done stays. Nothing of the framework below is
known here.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medix_verl.errors import ConfigError, DataError, RunStoppedError
from medix_verl.evaluation.assemble import Load, TaskChoices, load_items, open_replies
from medix_verl.evaluation.credentials import check_address, direct_connections, inside, parse_networks
from medix_verl.evaluation.journal import Journal
from medix_verl.evaluation.judge_facts import check_judging, facts_of_judging, judge_specs, judgeable
from medix_verl.evaluation.manifest import FORMAT, Manifest, begin, entry_name, held, missing, versions, write_manifest
from medix_verl.evaluation.model_source import Model, check_served, connected
from medix_verl.evaluation.protocol_spec import ProtocolSpec, build_protocol
from medix_verl.evaluation.records import Record, record_path, write_records
from medix_verl.evaluation.table import told_counts, write_summary
from medix_verl.evaluation.task_run import Answering, Limits, TaskRun
from medix_verl.evaluation.tasks import TaskSpec
from medix_verl.judge.cache import ReplyCache
from medix_verl.judge.judge import endpoints_of
from medix_verl.judge.spec import JudgeSpec
from medix_verl.runtime.dispatch import Breaker

__all__ = ["SuiteSpec", "askable", "run_suite"]

FEWEST = 4
"""Failures in a row that are never taken for the end of a server with fewer."""
LIBRARY = "library"
"""Folder for what the framework writes for itself."""


@dataclass(frozen=True, slots=True)
class SuiteSpec:
    """What is to be evaluated, and how."""

    model: Model
    tasks: tuple[TaskSpec, ...]
    out: Path
    judge: Mapping[str, Any] = field(default_factory=lambda: {"kind": "rule"})
    """The settings of medix_verl.evaluation.judge_facts.judge_specs."""
    protocol: ProtocolSpec = field(default_factory=lambda: ProtocolSpec("published"))
    choices: TaskChoices = field(default_factory=TaskChoices)
    sources: Mapping[str, Path] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    networks: tuple[str, ...] = ()
    """Private networks that count as local (see medix_verl.evaluation.credentials)."""
    allow_remote: bool = False
    resume: bool = False

    @property
    def down_after(self) -> int:
        """Failures in a row after which a server counts as down for good."""
        # With few questions under way at once, many failures in a row would take minutes to come together.
        return max(FEWEST, min(self.limits.down_after, self.limits.connections))

    @property
    def judges(self) -> list[JudgeSpec]:
        """The judges, with what credentialed rows may reach; ConfigError where the settings do not fit together."""
        guard = {"local_networks": list(self.networks), "allow_credentialed": self.allow_remote}
        return judge_specs({"breaker_failures": self.down_after, **self.judge, **guard})


def run_suite(spec: SuiteSpec, say: Callable[[str], None], load: Load | None = None) -> Manifest:
    """Evaluate; leaves eval.json, records/, logs/, summary.json and table.md in `spec.out`.

    Args:
        spec: What and how.
        say: Takes one line of progress.
        load: Where samples come from; None is the converters.

    Raises:
        ConfigError: Something does not fit together, or must not be asked; nothing was.
        JudgeError: The judge cannot be asked at all.
        SetupError: The model's server could not be started.
        RunStoppedError: A server was down for good, or a task could not be run; what was done is kept.
    """
    tasks, credentialed = askable(spec, say)
    with contextlib.ExitStack() as stack:
        stack.enter_context(held(spec.out))
        if credentialed:
            stack.enter_context(direct_connections())
        manifest = begin(spec.out, wanted_manifest(spec, tasks), spec.resume)
        Suite(spec, manifest, say, load).run(tasks)
        return manifest


def askable(spec: SuiteSpec, say: Callable[[str], None]) -> tuple[list[TaskSpec], list[str]]:
    """The tasks that can be asked and judged, and the names of the credentialed ones; nothing is asked or written yet.

    Raises:
        ConfigError: Something does not fit together, or must not be asked.
    """
    check_judging(spec.judge, spec.protocol)
    credentialed = guard(spec)
    return judgeable(shown_tasks(spec, say), spec.judge, say), credentialed


def guard(spec: SuiteSpec) -> list[str]:
    """Check what credentialed tasks need, before anything is asked; returns their names.

    Raises:
        ConfigError: A local copy was not named, or an address is not local.
    """
    names = [task.name for task in spec.tasks if task.credentialed]
    for task in spec.tasks:
        source = spec.sources.get(task.name)
        if task.credentialed and source is None:
            raise ConfigError(
                f"{task.name} needs {task.credential}; name your copy with --sources {task.name}=PATH, "
                f"or leave the task out with --without {task.name}"
            )
        if source is not None and not source.exists():
            raise ConfigError(f"--sources {task.name}={source}: there is no such file or folder; check the path")
    networks = parse_networks(spec.networks)
    if names and not spec.allow_remote:
        if spec.model.url is not None:
            check_address("the model", spec.model.url, names, networks)
        for judge in spec.judges:
            for url in endpoints_of(judge):
                check_address("the judge", url, names, networks)
    return names


def shown_tasks(spec: SuiteSpec, say: Callable[[str], None]) -> list[TaskSpec]:
    """The tasks that the condition makes sense for.

    Raises:
        ConfigError: There is none.
    """
    condition = spec.choices.condition
    if condition == "real":
        return list(spec.tasks)
    with_pictures = [task for task in spec.tasks if task.pictures]
    if not with_pictures:
        raise ConfigError(f"--images {condition} for tasks without pictures; name vlm tasks")
    if len(with_pictures) < len(spec.tasks):
        say(f"--images {condition}: {len(spec.tasks) - len(with_pictures)} tasks without pictures are left out")
    return with_pictures


def wanted_manifest(spec: SuiteSpec, tasks: Sequence[TaskSpec]) -> Manifest:
    """The manifest of a run that begins."""
    choices, limits = spec.choices, spec.limits
    return {
        "format": FORMAT,
        "model": spec.model.name,
        **facts_of_judging(spec.judges, spec.protocol),
        "seed": choices.seed,
        "settings": {
            "template": choices.template,
            "limit": choices.limit,
            "max_tokens": limits.max_tokens,
            "temperature": Answering("").temperature,
        },
        "tasks": [task.name for task in tasks],
        "asked": [entry_name(task.name, choices.condition) for task in tasks],
        "condition": choices.condition,
        "conditions": [choices.condition],
        "done": {},
        "versions": versions(),
        "limits": {"timeout_s": limits.timeout_s, "retries": limits.retries, "connections": limits.connections},
        "finished": False,
        "failed": {},
    }


class Suite:
    """A run that is under way."""

    def __init__(self, spec: SuiteSpec, manifest: Manifest, say: Callable[[str], None], load: Load | None) -> None:
        self.spec = spec
        self.manifest = manifest
        self.say = say
        self.load = load
        self.model_breaker = Breaker(spec.down_after, what="the model")

    def run(self, tasks: Sequence[TaskSpec]) -> None:
        """Run what is not done yet."""
        left = [task for task in tasks if not self.is_done(task)]
        if len(left) < len(tasks):
            self.say(f"{len(tasks) - len(left)} of {len(tasks)} tasks are done already")
        if left:
            self.preflight()
            with (
                self.kept() as (answers, replies),
                connected(self.spec.model, self.spec.out / "server.log", self.model_breaker.stop, self.say) as served,
            ):
                for task in left:
                    self.run_one(task, served, answers, replies)
        lost = missing(self.manifest)
        self.manifest["finished"] = not lost
        self.save()
        names = [entry_name(task.name, self.spec.choices.condition) for task in tasks]
        failed = [name for name in names if name in lost]
        if failed:
            cause = f"the first {failed[0]}: {lost[failed[0]]}"
            raise RunStoppedError(f"{len(failed)} of {len(tasks)} tasks have no figure, {cause}")
        if lost:
            self.say(f"not finished: {', '.join(lost)} of earlier runs; name them with --tasks, and --resume")

    def is_done(self, task: TaskSpec) -> bool:
        """Whether a task has its records, none of them lost to a failure that may have passed."""
        name = entry_name(task.name, self.spec.choices.condition)
        counts = self.manifest["done"].get(name)
        whole = counts is not None and not counts["error"] and not counts["unscored"]
        return whole and record_path(self.spec.out, task.name, self.spec.choices.condition).is_file()

    def preflight(self) -> None:
        """Ask model and judge one thing, so that a wrong name is told in seconds and not after hours of generating."""
        from medix_verl.evaluation.preflight import ask_judges

        check_served(self.spec.model)
        ask_judges(self.spec.judges)

    @contextlib.contextmanager
    def kept(self) -> Iterator[tuple[Journal, ReplyCache]]:
        """The model's answers and the judges' replies."""
        with contextlib.ExitStack() as stack:
            answers = Journal(self.spec.out / "cache" / "answers.jsonl")
            stack.callback(answers.close)
            replies = open_replies(self.spec.out)
            stack.callback(replies.close)
            yield answers, replies

    def run_one(self, task: TaskSpec, served: Any, answers: Journal, replies: ReplyCache) -> None:
        """Run one task and write its records; a task that cannot be loaded is noted, and the next one is run."""
        from medix_verl.evaluation.inspect_run import read_logs, run_task

        choices, name = self.spec.choices, entry_name(task.name, self.spec.choices.condition)
        self.manifest["failed"].pop(name, None)
        try:
            source, images, refused = self.spec.sources.get(task.name), self.spec.out / "images", Counter[str]()
            items = load_items(task, source, choices, images, self.load, refused)
        except (DataError, ConfigError, OSError) as error:
            self.manifest["failed"][name] = " ".join(str(error).split())
            self.say(f"{name}: {self.manifest['failed'][name]}")
            self.save()
            return
        protocol = build_protocol(self.spec.protocol, self.spec.judges, replies)
        limits = self.spec.limits
        answering = Answering(self.spec.model.name, choices.template, seed=choices.seed, limits=limits)
        run = TaskRun(task, items, protocol, answering, choices.condition, answers, self.model_breaker)
        self.say(f"{name}: {len(items)} questions")
        with inside(self.spec.out / LIBRARY):
            records = read_logs(run, run_task(run, served, self.spec.out / "logs"))
        self.finish(run, name, records, refused)

    def finish(self, run: TaskRun, name: str, records: list[Record], refused: Counter[str]) -> None:
        """Write the records and the counts; a task none of whose questions was answered has failed.

        Raises:
            RunStoppedError: A server went down for good meanwhile.
        """
        write_records(record_path(self.spec.out, run.spec.name, run.condition), records)
        counts = {state: sum(record.status == state for record in records) for state in ("scored", "unscored", "error")}
        self.manifest["done"][name] = {"questions": len(records), **counts, "refused": dict(sorted(refused.items()))}
        if run.stopped:
            self.manifest["failed"][name] = run.stopped
        elif counts["error"] == len(records):
            self.manifest["failed"][name] = f"no question was answered, the first: {records[0].reason}"
        self.save()
        self.say(told_counts(name, counts, refused))
        if run.stopped:
            raise RunStoppedError(
                f"{name}: {run.stopped}; what was done is kept in {self.spec.out}: mend the cause and add --resume"
            )

    def save(self) -> None:
        """Bring eval.json, summary.json and table.md up to date."""
        write_manifest(self.spec.out, self.manifest)
        write_summary(self.spec.out, self.manifest)
