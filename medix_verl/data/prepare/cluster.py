# SPDX-License-Identifier: Apache-2.0
"""Run the first stage of a preparation on a Ray cluster with Ray Data: read here, check anywhere, write here.

One task reads the set in groups of rows, on the machine of the command, where its files are. Actors check the groups,
each in a child process with the same limits as on one machine. The results are returned in row order. Ray Data keeps
few groups in flight, so memory does not grow with the set. The parts are the same as without Ray, so a preparation that
was stopped can continue with or without it.

Rows are sent to the other machines of the cluster. Credentialed rows must not leave this machine, so they are an error
if the cluster has other machines.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medix_verl.credentialed import is_credentialed
from medix_verl.data.converters.base import Refused
from medix_verl.data.io.parquet import in_groups
from medix_verl.data.prepare.check_pool import BATCH_BYTES, BATCH_ROWS, Batches, Check, Outcome, outcome
from medix_verl.data.prepare.job import Job
from medix_verl.errors import DataError, MedixError, SetupError
from medix_verl.runtime.bounded import Bounded, own_child
from medix_verl.types import Sample

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Notes", "Reading", "cluster_outcomes", "connect", "machines", "only_here"]

COLUMN = "group"
"""Column of the tables sent between steps: pickled lists of items or outcomes, Notes, or the error of a failed step."""
BLOCK_BYTES = 4 << 20
CONNECT_S = 10
Item = Sample | Refused


@dataclass(frozen=True, slots=True)
class Reading:
    """Input of the reading task."""

    job: Job
    commit: str
    options: dict[str, str]
    skip: int
    """Rows of the set that are already in finished parts."""
    folder: str
    """Base folder of relative paths."""
    machines: int
    """Number of machines in the cluster."""


@dataclass(frozen=True, slots=True)
class Notes:
    """The source's notes, sent after its last row."""

    lines: list[str] = field(default_factory=list)


def connect(address: str) -> None:
    """Connect this process to a running cluster if it is not connected yet.

    Args:
        address: `HOST:PORT`, or `auto` for the cluster of this machine or of RAY_ADDRESS.

    Raises:
        SetupError: No cluster answers.
    """
    import ray

    if ray.is_initialized():
        return
    if address.startswith("ray://"):
        raise SetupError(f"--ray {address} is a client's address; type the command on a machine of the cluster")
    try:
        if address != "auto":
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=CONNECT_S).close()  # Ray itself would wait for minutes
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (OSError, ValueError, RuntimeError) as cause:
        remedy = "type `ray start --head` on this machine first, give --ray HOST:PORT, or leave out --ray"
        raise SetupError(f"--ray {address}: no Ray cluster answers ({first_sentence(cause)}); {remedy}") from cause


def machines() -> int:
    """Number of machines in the cluster."""
    import ray

    return len({node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]})


def first_sentence(cause: BaseException) -> str:
    return " ".join(str(cause).split()).split(". ")[0][:200]


def cluster_outcomes(reading: Reading, check: Check) -> Iterator[Outcome | Notes]:
    """The result of each item of the set, in order, and at the end the source's notes.

    Raises:
        MedixError: Reading or checking failed.
    """
    import ray.data

    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    most = max(1, int(ray.cluster_resources().get("CPU", 1)))
    with ordered():
        rows = (
            ray.data.from_items([{COLUMN: pickle.dumps(reading)}], override_num_blocks=1)
            .map_batches(read_groups, batch_size=1, batch_format="pyarrow", num_cpus=0, label_selector=here)
            .map_batches(
                CheckGroups,
                batch_size=1,
                batch_format="pyarrow",
                num_cpus=1,
                concurrency=(1, most),
                fn_constructor_args=(check,),
            )
        )
        for batch in rows.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=2):
            found = pickle.loads(batch.column(COLUMN)[0].as_py())
            if isinstance(found, BaseException):
                raise found
            yield from [found] if isinstance(found, Notes) else found


@contextlib.contextmanager
def ordered() -> Iterator[None]:
    """Ray Data's settings within the block: blocks in order, small blocks, no output."""
    from ray.data import DataContext

    logger, context = logging.getLogger("ray.data"), DataContext.get_current()
    level = logger.level
    before = context.execution_options.preserve_order, context.target_max_block_size, context.enable_progress_bars
    context.execution_options.preserve_order = True
    context.target_max_block_size, context.enable_progress_bars = BLOCK_BYTES, False
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        context.execution_options.preserve_order, context.target_max_block_size, context.enable_progress_bars = before


def packed(value: Any) -> pa.Table:
    import pyarrow as pa

    return pa.table({COLUMN: pa.array([pickle.dumps(value)], pa.large_binary())})


def read_groups(table: pa.Table) -> Iterator[pa.Table]:
    """The reading task: one table for each group of rows, and one with the notes."""
    from medix_verl.data.prepare.prepare import items_of
    from medix_verl.data.source import Source

    reading: Reading = pickle.loads(table.column(COLUMN)[0].as_py())
    before = os.getcwd()
    try:
        os.chdir(reading.folder)
        source = Source(reading.job.place or "", reading.commit or None, reading.options)
        with own_child(reading.job.bounded):
            items = only_here(items_of(reading.job, source, reading.skip), reading.machines)
            for group in in_groups(items, BATCH_ROWS, BATCH_BYTES):
                yield packed(group)
        yield packed(Notes(source.notes))
    except (MedixError, OSError) as cause:
        yield packed(cause)
    finally:
        os.chdir(before)


def only_here(items: Iterator[Item], machines: int) -> Iterator[Item]:
    """Pass the items through; a credentialed one is an error if the cluster has other machines.

    Raises:
        DataError: A credentialed row would leave this machine.
    """
    for item in items:
        if machines > 1 and isinstance(item, Sample) and is_credentialed(item.data_source, item.meta):
            raise DataError(
                f"row {item.id!r} is credentialed and must not leave this machine, and the Ray cluster has {machines} "
                "machines; leave out --ray"
            )
        yield item


class CheckGroups:
    """Actor that checks groups of rows in its own limited child process."""

    def __init__(self, check: Check) -> None:
        """Create the actor; the child process starts with the first group.

        Args:
            check: As in `check_pool.outcomes`.
        """
        self._check_all = Batches(check, [Bounded()])

    def __call__(self, table: pa.Table) -> pa.Table:
        """Check a group of items; notes and errors pass through."""
        group = pickle.loads(table.column(COLUMN)[0].as_py())
        if not isinstance(group, list):
            return table
        try:
            checked = iter(self._check_all([item for item in group if isinstance(item, Sample)]))
            return packed([outcome(item, None if isinstance(item, Refused) else next(checked)) for item in group])
        except MedixError as cause:
            return packed(cause)
