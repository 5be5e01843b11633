# SPDX-License-Identifier: Apache-2.0
"""Checks GPUs and cores before Ray starts: Ray waits silently for missing ones (in TransferQueue or placement groups).

verl reserves 3 cores for each GPU; TransferQueue reserves one for its controller and one for each storage unit. If set,
`ray_kwargs.ray_init.num_cpus` is the number of cores available. A running cluster is not checked.
"""

from __future__ import annotations

import math
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medix_verl.recipe.check import Check

__all__ = ["check_placement", "cores_of_ray", "running_cluster"]

PATIENCE_S = 1.0


def check_placement(
    placement: Mapping[str, Any], devices: int, recipe: str, cores: int | None = None
) -> Iterator[Check]:
    """Whether this machine has the GPUs and cores that the run reserves.

    Args:
        placement: From medix_verl.recipe.facts.
        devices: Accelerators that verl sees on this machine.
        recipe: Recipe name.
        cores: Number of cores as Ray counts them; None counts them.
    """
    cluster = placement["address"] or running_cluster()
    if cluster and cluster != "local":
        found = f"{placement['nodes']} x {placement['gpus']} ({placement['words']}); not counted: Ray is at {cluster}"
        yield Check("GPUs", "ok", found)
        return
    if placement["nodes"] > 1:
        found = f"{placement['nodes']} nodes ({recipe}), and no Ray cluster is up: this machine is one"
        yield Check("GPUs", "FAIL", found, "ray start --head, and ray start --address=HEAD:6379 on the others")
        return
    yield _gpus(placement, devices, recipe)
    yield _cores(placement, cores, recipe)


def _gpus(placement: Mapping[str, Any], devices: int, recipe: str) -> Check:
    asked, on_cpu = placement["gpus"], placement["device"] == "cpu"
    if on_cpu and placement["num_gpus"] is None:
        found = f"ray_kwargs.ray_init.num_gpus is not set, and verl asks Ray for {asked}"
        return Check("GPUs", "FAIL", found, f"ray_kwargs.ray_init.num_gpus={asked}")
    here = devices if placement["num_gpus"] is None else int(placement["num_gpus"])
    found = f"{asked} ({placement['words']}) of {here} {'logical' if on_cpu else 'here'} ({recipe})"
    if asked > here:
        if on_cpu:
            return Check("GPUs", "FAIL", found, f"ray_kwargs.ray_init.num_gpus={asked}")
        todo = "+recipe=medix_cpu, or start this where the GPUs are" if here == 0 else _fewer(placement, here)
        return Check("GPUs", "FAIL", found, todo)
    if not on_cpu and asked > devices:
        found = f"{asked} asked, {devices} here: ray_kwargs.ray_init.num_gpus={here} adds none"
        return Check("GPUs", "FAIL", found, "+recipe=medix_cpu, or leave ray_kwargs.ray_init.num_gpus out")
    return Check("GPUs", "ok", found)


def _fewer(placement: Mapping[str, Any], here: int) -> str:
    return (
        f"trainer.n_gpus_per_node={here}" if "0 generate, 0 judge" in placement["words"] else "fewer GPUs for each part"
    )


def _cores(placement: Mapping[str, Any], cores: int | None, recipe: str) -> Check:
    asked = placement["cores_of_gpus"] + placement["cores_beside"]
    configured = placement["num_cpus"]
    here = int(configured) if configured is not None else cores_of_ray() if cores is None else cores
    origin = "of ray_kwargs.ray_init.num_cpus" if configured is not None else "here"
    found = (
        f"{asked} ({placement['cores_of_gpus']} beside GPUs, {placement['cores_beside']} for TransferQueue) of {here}"
    )
    if asked <= here:
        return Check("cores", "ok", f"{found} {origin} ({recipe})")
    units = "transfer_queue.backend.SimpleStorage.num_data_storage_units=1"
    todo = f"ray_kwargs.ray_init.num_cpus={asked} (places, not cores), or {units}"
    return Check("cores", "FAIL", f"{found} {origin}: Ray would wait for the others without a word ({recipe})", todo)


def cores_of_ray(root: Path = Path("/")) -> int:
    """Cores as Ray counts them: the machine's or the container's quota (ray/_private/utils.py, get_num_cpus)."""
    count = os.cpu_count() or 1
    quota = _numbers(root / "sys/fs/cgroup/cpu.max")
    if len(quota) != 2:
        quota = [
            *_numbers(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
            *_numbers(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us"),
        ]
    if len(quota) == 2 and quota[0] > 0 and quota[1] > 0:
        return min(count, max(1, math.ceil(quota[0] / quota[1])))
    return count


def running_cluster() -> str | None:
    """Address of the cluster started by `ray start` that ray.init() would join; None if none answers."""
    place = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray" / "ray_current_cluster"
    try:
        host, _, port = place.read_text(encoding="utf-8").strip().rpartition(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S):
            return f"{host}:{port}"
    except (OSError, ValueError):
        return None


def _numbers(path: Path) -> list[int]:
    try:
        return [int(word) for word in path.read_text(encoding="utf-8").split()]
    except (OSError, ValueError):  # no such file, or `max` (no limit)
        return []
