# SPDX-License-Identifier: Apache-2.0
"""A converter's items, each with what was found out about it, in order; the checks run in worker processes.

A check decodes pictures and takes milliseconds, so it is what a pool helps with. A few batches are in flight at once
and no more, so memory does not grow with the set. A worker that dies (a picture may ask for more memory than there is)
ends the preparation with an error; it is not tried again, because it would die again.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from medix_verl.data.checks import Checked
from medix_verl.data.converters.base import Refused
from medix_verl.data.fingerprints import Fingerprint
from medix_verl.errors import SetupError
from medix_verl.runtime.processes import end_with_parent
from medix_verl.types import Sample

__all__ = ["Check", "Outcome", "outcomes"]

Check = Callable[[Sample], Checked]

BATCH_ROWS = 32
BATCH_BYTES = 8 << 20
BATCHES_A_WORKER = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """One item after its check: a sample that is accepted, or a Refused."""

    item: Sample | Refused
    flags: tuple[str, ...] = ()
    fingerprint: Fingerprint | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    """Width and height of each picture, in pixels."""


def outcomes(items: Iterable[Sample | Refused], check: Check, workers: int) -> Iterator[Outcome]:
    """Check each item; Refused ones pass through.

    Args:
        items: What a converter reads.
        check: Says what is wrong with a sample; with several workers it must be picklable.
        workers: Processes; 1 checks in this one.

    Raises:
        SetupError: A worker process died.
    """
    if workers <= 1:
        for item in items:
            yield outcome(item, None if isinstance(item, Refused) else check(item))
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker)
    try:
        yield from pooled(items, check, pool, workers * BATCHES_A_WORKER)
    except BrokenProcessPool as cause:
        remedy = "free some memory or give --workers 1, and type the same command again: it goes on where it was"
        raise SetupError(f"a process that checks pictures died, perhaps out of memory; {remedy}") from cause
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def pooled(
    items: Iterable[Sample | Refused], check: Check, pool: ProcessPoolExecutor, in_flight: int
) -> Iterator[Outcome]:
    waiting: deque[tuple[list[Sample | Refused], Future[list[Checked]]]] = deque()
    for batch in batches(items):
        samples = [item for item in batch if isinstance(item, Sample)]
        waiting.append((batch, pool.submit(check_all, check, samples)))
        if len(waiting) >= in_flight:
            yield from joined(*waiting.popleft())
    while waiting:
        yield from joined(*waiting.popleft())


def joined(batch: list[Sample | Refused], future: Future[list[Checked]]) -> Iterator[Outcome]:
    checked = iter(future.result())
    for item in batch:
        yield outcome(item, None if isinstance(item, Refused) else next(checked))


def outcome(item: Sample | Refused, checked: Checked | None) -> Outcome:
    if checked is None:
        return Outcome(item)
    if checked.reason is not None:
        return Outcome(Refused(item.id, checked.reason, checked.detail))
    return Outcome(item, checked.flags, checked.fingerprint, checked.sizes)


def batches(items: Iterable[Sample | Refused]) -> Iterator[list[Sample | Refused]]:
    """Items in batches of bounded number and size."""
    batch: list[Sample | Refused] = []
    size = 0
    for item in items:
        batch.append(item)
        size += sum(len(ref.bytes or b"") for ref in item.images) if isinstance(item, Sample) else 0
        if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def check_all(check: Check, samples: list[Sample]) -> list[Checked]:
    return [check(sample) for sample in samples]


def start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
