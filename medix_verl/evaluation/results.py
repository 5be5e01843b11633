# SPDX-License-Identifier: Apache-2.0
"""Writes the output of evaluating and of re-judging: a task's records, its counts, its failure, and the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medix_verl.errors import RunStoppedError
from medix_verl.evaluation.reports.table import count_line, write_summary
from medix_verl.evaluation.settings import setting
from medix_verl.evaluation.stats.costs import judge_tokens, model_tokens
from medix_verl.evaluation.stats.missing import Counting, cause_of
from medix_verl.evaluation.store.manifest import Manifest, missing, write_manifest
from medix_verl.evaluation.store.records import STATUSES, Record, cut_off, entry_name, record_path, write_records
from medix_verl.evaluation.task_run import TaskRun

__all__ = ["Results"]


@dataclass(frozen=True, slots=True)
class Results:
    """An evaluation's folder while it is written."""

    out: Path
    manifest: Manifest
    counting: Counting
    say: Callable[[str], None]

    def save(self) -> None:
        """Write the current eval.json, summary.json and table.md."""
        write_manifest(self.out, self.manifest)
        write_summary(self.out, self.manifest)

    def finish(self) -> dict[str, str]:
        """Record whether everything is done; returns task -> why it has no figure."""
        lost = missing(self.manifest)
        self.manifest["finished"] = not lost
        self.save()
        return lost

    def note_adapted(self, model: Iterable[str], judge: Iterable[str]) -> None:
        """Record the parameters that the servers refused."""
        known = self.manifest.setdefault("adapted", {"model": [], "judge": []})
        for who, names in (("model", model), ("judge", judge)):
            known[who] = sorted({*known[who], *names})

    def keep(self, run: TaskRun, records: Sequence[Record], source: Mapping[str, Any], failure: str = "") -> None:
        """Write a task's records and counts; a task without any answer has failed.

        Args:
            run: The finished task.
            records: One for each answer.
            source: Other manifest entries of the task: `refused`, `deviations`.
            failure: Why it has no figure, used if questions have no answer.

        Raises:
            RunStoppedError: A server went down permanently during the run.
        """
        name = entry_name(run.spec.name, run.condition)
        write_records(record_path(self.out, run.spec.name, run.condition), records)
        states = Counter(record.status for record in records)
        counts = {state: states[state] for state in STATUSES}
        cut = cut_off(records)
        tokens = {"model": model_tokens(records), "judge": judge_tokens(run.protocol.tokens, len(run.judged_before))}
        numbers = {"questions": len({it.id for it in records}), **counts, "cut_off": cut, "tokens": tokens}
        self.manifest["done"][name] = {**source, **numbers}
        self.note_adapted(run.adapted, run.protocol.adapted)
        self.manifest["failed"].pop(name, None)
        none, lost = counts["error"] == len(records), cause_of(records, self.counting)
        cause = (
            run.stopped
            or (failure if counts["error"] else "")
            or (f"no question was answered, the first: {records[0].reason}" if none else "")
            or lost
        )
        # Another judge may give such a task a figure.
        self.manifest["done"][name]["withheld"] = bool(lost) and cause == lost
        if cause:
            self.manifest["failed"][name] = cause
        self.save()
        self.say(count_line(name, counts, source.get("refused", {}), cut))
        if run.stopped:
            raise RunStoppedError(
                f"{name}: {run.stopped}; what was done is kept in {self.out}: fix the cause and "
                f"add {setting('resume', True)}"
            )
