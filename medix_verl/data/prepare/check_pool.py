# SPDX-License-Identifier: Apache-2.0
"""Check a converter's items in worker processes and return the results in order.

A check decodes pictures and takes milliseconds, so it is the step that runs in a pool. The number of batches in flight
is limited, so memory does not grow with the set. A picture that takes too long or crashes its worker refuses its row
(see `runtime.bounded`); a worker that crashes repeatedly ends the preparation with an error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

from medix_verl.data.converters.base import Refused
from medix_verl.data.duplicates.fingerprints import Fingerprint
from medix_verl.data.io.parquet import in_groups
from medix_verl.data.prepare.checks import Checked
from medix_verl.runtime.bounded import Bounded, Lost
from medix_verl.types import Sample

__all__ = ["Check", "Outcome", "outcomes"]

Check = Callable[[Sample], Checked]

BATCH_ROWS = 32
BATCH_BYTES = 8 << 20
BATCHES_A_WORKER = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """One checked item: an accepted sample or a Refused."""

    item: Sample | Refused
    flags: tuple[str, ...] = ()
    fingerprint: Fingerprint | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    """Width and height of each picture, in pixels."""


def outcomes(items: Iterable[Sample | Refused], check: Check, workers: int, bounded: bool = False) -> Iterator[Outcome]:
    """Check each item; Refused items pass through unchanged.

    Args:
        items: The converter's output.
        check: Checks one sample; must be picklable unless it runs in this process.
        workers: Number of processes.
        bounded: Use a child process with limited time and memory even for one worker; otherwise one worker runs here.

    Raises:
        SetupError: A worker process does not start, or crashes repeatedly.
    """
    if workers <= 1 and not bounded:
        for item in items:
            yield outcome(item, None if isinstance(item, Refused) else check(item))
        return
    children = [Bounded() for _ in range(workers)]
    pool = ThreadPoolExecutor(workers)
    try:
        yield from pooled(items, Batches(check, children), pool, workers * BATCHES_A_WORKER)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.close()


class Batches:
    """Checks batches of samples in the next free child process; called from as many threads as there are children."""

    def __init__(self, check: Check, children: Iterable[Bounded]) -> None:
        self._check = check
        self._free: SimpleQueue[Bounded] = SimpleQueue()
        for child in children:
            self._free.put(child)

    def __call__(self, samples: list[Sample]) -> list[Checked]:
        child = self._free.get()
        try:
            found = child.each(self._check, samples)
            return [checked_of(sample, one) for sample, one in zip(samples, found, strict=True)]
        finally:
            self._free.put(child)


def checked_of(sample: Sample, found: Checked | Lost) -> Checked:
    if not isinstance(found, Lost):
        return found
    many = f"one of its {len(sample.images)} pictures" if len(sample.images) > 1 else "its picture"
    return Checked("picture unreadable", f"row {sample.id!r}: {many} {found.why}; fix or drop the row")


def pooled(
    items: Iterable[Sample | Refused], check_all: Batches, pool: ThreadPoolExecutor, in_flight: int
) -> Iterator[Outcome]:
    waiting: deque[tuple[list[Sample | Refused], Future[list[Checked]]]] = deque()
    for batch in in_groups(items, BATCH_ROWS, BATCH_BYTES):
        samples = [item for item in batch if isinstance(item, Sample)]
        waiting.append((batch, pool.submit(check_all, samples)))
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
