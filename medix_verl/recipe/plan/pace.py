# SPDX-License-Identifier: Apache-2.0
"""Plans time: the throughput (answers per second) that judge, encoder and rollouts need so that no GPU waits.

Rollouts, judge and encoder form a pipeline, so the slowest of them determines how long the answers of a step take. If
it is not the rollouts, GPUs wait. If a step time is given, all three must meet it.

Assumptions: every answer reaches the services (equality, guards and caches reduce this), throughput is proportional to
the number of replicas, and the answers of a step arrive evenly. A long tail of slow answers and images in prompts make
rollouts slower than measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medix_verl.recipe.bench.record import BenchRecord, differences
from medix_verl.recipe.check import Check

__all__ = ["Demand", "pace_checks"]


@dataclass(frozen=True, slots=True)
class Demand:
    """The load of a run on its services."""

    answers: int
    """Answers of one step, before filtering."""
    gpus: Mapping[str, int]
    """Service -> GPUs of the run that serve it; 0 if it is served elsewhere."""
    settings: Mapping[str, Mapping[str, Any]]
    """Service -> its settings in the recipe; services that are not listed are not used."""
    waiting_gpus: int
    """GPUs that wait if answers are late."""
    command: str
    """Arguments after `medix-verl bench KIND`."""
    apart: bool = False
    """Whether the trainer has its own GPUs (separate_async)."""


def pace_checks(demand: Demand, records: Sequence[BenchRecord], step_s: float | None = None) -> Iterator[Check]:
    """One check for each service that the recipe uses, and one for the GPUs that wait."""
    measured = {record.kind: record for record in records}
    held = {kind: _held(measured[kind], demand.gpus.get(kind, 0)) for kind in demand.settings if kind in measured}
    rollouts = held.get("rollout")
    needed = demand.answers / step_s if step_s else rollouts
    for kind, settings in demand.settings.items():
        if kind not in measured:
            needs = f"; {needed:.1f} answers a second are needed" if needed else ""
            todo = f"medix-verl bench {kind} {demand.command} --out {kind}.json, then --bench {kind}.json"
            yield Check(f"{kind} pace", "warn", f"not measured{needs}", todo)
        else:
            # Without a step time, the rollouts' own rate is the required rate.
            yield _one(kind, demand, measured[kind], held[kind], needed, settings)
    yield _waits(demand, held, needed, bool(step_s))


def _held(record: BenchRecord, gpus: int) -> float:
    """Answers per second of the whole run: the measured rate scaled to the number of GPUs."""
    return record.answers_per_second * (gpus / record.gpus if gpus and record.gpus else 1)


def _one(
    kind: str,
    demand: Demand,
    record: BenchRecord,
    held: float,
    needed: float | None,
    settings: Mapping[str, Any],
) -> Check:
    gpus = demand.gpus.get(kind, 0)
    copies = f" ({gpus} GPUs, measured on {record.gpus})" if gpus and record.gpus else ""
    found = f"holds {held:.1f} answers a second{copies}"
    found += f", {needed:.1f} are needed" if needed else ""
    found += _lengths(record)
    found += f"; {record.failed} of {record.answers + record.failed} failed" if record.failed else ""
    others = differences(record, settings)
    if others:
        again = f"medix-verl bench {kind} {demand.command} --out {record.file or kind + '.json'}"
        return Check(f"{kind} pace", "warn", f"{found}; measured with {'; '.join(others[:3])}", again)
    # Tolerance for floating point: the rollouts may be compared with themselves.
    slow = needed is not None and held < 0.999 * needed
    todo = _FASTER[kind] if slow else ""
    return Check(f"{kind} pace", "warn" if slow or record.failed else "ok", found, todo or _failed(kind, record))


def _lengths(record: BenchRecord) -> str:
    """Lengths of prompts and answers in the rollout measurement, as text."""
    prompt, response = record.workload.get("prompt_tokens"), record.workload.get("response_tokens")
    return f" (prompts of {prompt} tokens, answers of {response})" if prompt and response else ""


def _failed(kind: str, record: BenchRecord) -> str:
    return f"lower --at-once than {record.at_once}, or fix the {kind}" if record.failed else ""


_FASTER = {
    "judge": "more servers in reward.medix.judge.url, or reward.medix.judge.max_concurrent higher, or a smaller judge",
    "encoder": "reward.medix.semantic.device=cuda:0, or kind=openai with a server of its own, or a smaller model",
    "rollout": "more GPUs, or shorter answers (data.max_response_length)",
}


def _waits(demand: Demand, held: Mapping[str, float], needed: float | None, timed: bool) -> Check:
    """Which service makes GPUs wait, and for how long per step."""
    answers = f"{demand.answers} answers of a step"
    if not held:
        return Check("GPUs wait", "warn", f"not known: nothing is measured for the {answers}", "see the lines above")
    slowest = min(held, key=lambda kind: held[kind])
    takes = demand.answers / held[slowest]
    if needed is None:
        todo = f"medix-verl bench rollout {demand.command} --out rollout.json, or --step-seconds S"
        return Check(
            "GPUs wait", "warn", f"not known: {answers} take {slowest} {takes:.0f} s, rollouts unmeasured", todo
        )
    ready = demand.answers / needed
    missing = [kind for kind in demand.settings if kind not in held]
    of_others = f"; {', '.join(missing)} not measured" if missing else ""
    if takes <= 1.001 * ready:
        why = f"the {answers} are judged within the {ready:.0f} s of {'a step' if timed else 'their rollouts'}"
        why += "" if timed or not demand.apart else "; whether the trainer waits, --step-seconds S says"
        return Check("GPUs wait", "warn" if missing else "ok", f"for nothing: {why}{of_others}", _measure(missing))
    lost = takes - ready
    found = (
        f"for the {slowest}: the {answers} take it {takes:.0f} s instead of {ready:.0f} s; "
        f"{demand.waiting_gpus} GPUs wait {lost:.0f} s a step, {100 * lost / takes:.0f} % of it{of_others}"
    )
    return Check("GPUs wait", "warn", found, _FASTER[slowest])


def _measure(missing: Sequence[str]) -> str:
    return f"measure {' and '.join(missing)} as well" if missing else ""
