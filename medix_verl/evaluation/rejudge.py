# SPDX-License-Identifier: Apache-2.0
"""Judges a finished evaluation again, with another judge or protocol; the evaluated model is not asked.

The result is an evaluation of its own in another folder, so that the two can be compared. Responses come from the
records, questions with everything a judge may use from the logs. Replies are kept at once: a killed re-judging goes
on with `--resume`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medix_verl.errors import ConfigError, DataError, JudgeError, RunStoppedError
from medix_verl.evaluation.assemble import open_replies
from medix_verl.evaluation.credentials import check_address, direct_connections, inside, parse_networks
from medix_verl.evaluation.inspect_run import logged_samples
from medix_verl.evaluation.judge_facts import check_judging, facts_of_judging, judge_specs, judgeable
from medix_verl.evaluation.manifest import (
    Manifest,
    asked_of,
    begin,
    entry_name,
    held,
    missing,
    read_manifest,
    task_of,
    versions,
    write_manifest,
)
from medix_verl.evaluation.preflight import ask_judges
from medix_verl.evaluation.protocol import Protocol
from medix_verl.evaluation.protocol_spec import ProtocolSpec, build_protocol
from medix_verl.evaluation.records import Record, read_records, record_path, write_records
from medix_verl.evaluation.table import told_counts, write_summary
from medix_verl.evaluation.tasks import find
from medix_verl.judge.cache import ReplyCache
from medix_verl.judge.judge import endpoints_of
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Sample

__all__ = ["RejudgeSpec", "rejudge"]

AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class RejudgeSpec:
    """What to judge again, and how."""

    source: Path
    out: Path
    judge: Mapping[str, Any]
    protocol: ProtocolSpec = field(default_factory=lambda: ProtocolSpec("published"))
    networks: tuple[str, ...] = ()
    allow_remote: bool = False
    resume: bool = False

    @property
    def judges(self) -> list[JudgeSpec]:
        """The judges, with what credentialed rows may reach; ConfigError where the settings do not fit together."""
        guard = {"local_networks": list(self.networks), "allow_credentialed": self.allow_remote}
        return judge_specs({**self.judge, **guard})


def rejudge(spec: RejudgeSpec, say: Callable[[str], None]) -> Manifest:
    """Judge every task of an evaluation again.

    Raises:
        ConfigError: The judge must not see the data, or the folders do not fit.
        DataError: The folder is no evaluation, or its logs lack a question.
        JudgeError: The judge cannot be asked.
        RunStoppedError: The judge went down for good, or the evaluation itself lacks a task; what was done is kept.
    """
    check_judging(spec.judge, spec.protocol)
    old = read_manifest(spec.source)
    if spec.out.absolute() == spec.source.absolute():
        raise ConfigError(f"--out {spec.out} is the evaluation itself; give another folder")
    tasks = judgeable([find(name) for name in old["tasks"]], spec.judge, say)
    credentialed = [task.name for task in tasks if task.credentialed]
    guard(spec, credentialed)
    ask_judges(spec.judges)
    with contextlib.ExitStack() as stack:
        stack.enter_context(held(spec.out))
        if credentialed:
            stack.enter_context(direct_connections())
        wanted = wanted_manifest(spec, old, [task.name for task in tasks])
        # What the evaluation lacked when re-judging began may be there now.
        manifest = {**begin(spec.out, wanted, spec.resume), "failed": wanted["failed"]}
        replies = open_replies(spec.out)
        stack.callback(replies.close)
        for task in manifest["tasks"]:
            for condition in old["conditions"]:
                if record_path(spec.source, task, condition).is_file():
                    one_task(spec, task, condition, replies, manifest, say)
        lost = missing(manifest)
        manifest["finished"] = not lost
        write_manifest(spec.out, manifest)
        write_summary(spec.out, manifest)
    check_whole(spec, lost)
    return manifest


def guard(spec: RejudgeSpec, credentialed: Sequence[str]) -> None:
    """Refuse a judge that credentialed tasks must not reach.

    Raises:
        ConfigError: Its address is not local.
    """
    networks = parse_networks(spec.networks)
    if credentialed and not spec.allow_remote:
        for judge in spec.judges:
            for url in endpoints_of(judge):
                check_address("the judge", url, credentialed, networks)


def check_whole(spec: RejudgeSpec, lost: Mapping[str, str]) -> None:
    """Say what the evaluation itself lacks.

    Raises:
        RunStoppedError: There is something.
    """
    if lost:
        name, cause = next(iter(lost.items()))
        raise RunStoppedError(
            f"{len(lost)} tasks of {spec.source} have no figure, the first {name}: {cause}; finish it with --resume, "
            f"then rejudge it into {spec.out} with --resume"
        )


def wanted_manifest(spec: RejudgeSpec, old: Manifest, tasks: Sequence[str]) -> Manifest:
    """The manifest of a re-judging that begins: the evaluation's own, but for the judge and for what is done."""
    begun = dict.fromkeys(tasks)
    return {
        **old,
        **facts_of_judging(spec.judges, spec.protocol),
        "tasks": list(tasks),
        "asked": [name for name in asked_of(old) if task_of(name) in begun],
        "done": {},
        "versions": versions(),
        "finished": False,
        "failed": {name: cause for name, cause in old["failed"].items() if task_of(name) in begun},
    }


def one_task(
    spec: RejudgeSpec, task: str, condition: str, replies: ReplyCache, manifest: Manifest, say: Callable[[str], None]
) -> None:
    """Judge one task again, and write its records.

    Raises:
        RunStoppedError: The judge is down for good.
    """
    records = read_records(record_path(spec.source, task, condition))
    with inside(spec.out / "library"):
        samples = {sample.id: sample for sample in logged_samples(spec.source / "logs", task, condition)}
    protocol = build_protocol(spec.protocol, spec.judges, replies)
    judged = asyncio.run(judge_all(protocol, records, samples, find(task).metric))
    write_records(record_path(spec.out, task, condition), judged)
    counts = {state: sum(record.status == state for record in judged) for state in ("scored", "unscored", "error")}
    name = entry_name(task, condition)
    refused = (read_manifest(spec.source)["done"].get(name) or {}).get("refused", {})
    manifest["done"][name] = {"questions": len(judged), **counts, "refused": refused}
    write_manifest(spec.out, manifest)
    say(told_counts(name, counts, refused))
    if protocol.stopped:
        raise RunStoppedError(f"{task}: {protocol.stopped}; what was done is kept in {spec.out}: add --resume to go on")


async def judge_all(
    protocol: Protocol, records: list[Record], samples: Mapping[str, Sample], metric: str
) -> list[Record]:
    """Judge every record that has a response."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(record: Record) -> Record:
        if not record.response:
            return record
        if record.id not in samples:
            raise DataError(
                f"{record.task}: the log has no question {record.id!r}; its logs/ folder is needed to rejudge"
            )
        async with places:
            return await judge_one(protocol, record, samples[record.id], metric)

    try:
        return list(await asyncio.gather(*(one(record) for record in records)))
    finally:
        await protocol.close()


async def judge_one(protocol: Protocol, record: Record, sample: Sample, metric: str) -> Record:
    """Judge one record."""
    told: dict[str, Any] = {"judge": protocol.judge_name, "votes": (), "value": None, "answer": record.answer}
    try:
        outcome = await protocol.judge(sample, record.response, metric)
    except (JudgeError, DataError) as error:
        return replace(record, **told, status="unscored", reason=str(error))
    told |= {"votes": outcome.votes, "value": outcome.value, "answer": outcome.answer}
    return replace(record, **told, status="unscored" if outcome.value is None else "scored", reason=outcome.reason)
