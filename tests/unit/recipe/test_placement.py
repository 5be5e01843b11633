# SPDX-License-Identifier: Apache-2.0
"""GPUs and cores are counted before Ray waits for them; a cluster that is up is not asked."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from medix_verl.recipe.checks.placement import check_placement, cores_of_ray, running_cluster

PLACEMENT = {
    **{"device": "cuda", "nodes": 1, "gpus": 8, "words": "8 train, 0 generate, 0 judge"},
    **{"cores_of_gpus": 24, "cores_beside": 9, "num_cpus": None, "num_gpus": None, "address": "local"},
}


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))


def statuses(devices: int, cores: int, **changes: Any) -> dict[str, str]:
    checks = list(check_placement({**PLACEMENT, **changes}, devices, "medix", cores))
    assert all(check.todo for check in checks if check.status == "FAIL")
    return {check.name: check.status for check in checks}


@pytest.mark.parametrize(
    ("devices", "cores", "changes", "expected"),
    [
        (8, 64, {}, {"GPUs": "ok", "cores": "ok"}),
        (8, 33, {}, {"GPUs": "ok", "cores": "ok"}),
        (8, 32, {}, {"GPUs": "ok", "cores": "FAIL"}),
        (8, 4, {"num_cpus": 33}, {"GPUs": "ok", "cores": "ok"}),
        (8, 64, {"num_cpus": 32}, {"GPUs": "ok", "cores": "FAIL"}),
        (4, 64, {}, {"GPUs": "FAIL", "cores": "ok"}),
        (0, 64, {}, {"GPUs": "FAIL", "cores": "ok"}),
        (4, 64, {"num_gpus": 8}, {"GPUs": "FAIL", "cores": "ok"}),
        (0, 64, {"device": "cpu", "gpus": 1, "num_gpus": 1}, {"GPUs": "ok", "cores": "ok"}),
        (0, 64, {"device": "cpu", "gpus": 1}, {"GPUs": "FAIL", "cores": "ok"}),
        (0, 2, {"address": "10.0.0.1:6379", "nodes": 4}, {"GPUs": "ok"}),
        (8, 64, {"nodes": 2}, {"GPUs": "FAIL"}),
    ],
)
def test_what_is_booked_and_what_is_there(
    devices: int, cores: int, changes: dict[str, Any], expected: dict[str, str]
) -> None:
    assert statuses(devices, cores, **changes) == expected


def test_a_machine_without_gpus_gets_the_recipe_for_it() -> None:
    gpus, _ = check_placement(PLACEMENT, 0, "medix", 64)
    assert gpus.todo.startswith("+recipe=medix_cpu")
    gpus, _ = check_placement(PLACEMENT, 4, "medix", 64)
    assert gpus.todo == "trainer.n_gpus_per_node=4"


def test_a_cluster_that_answers_is_joined(tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / "ray" / "ray_current_cluster").write_text(address)
        assert running_cluster() == address
        assert statuses(0, 2, address=None, nodes=4) == {"GPUs": "ok"}
    assert running_cluster() is None
    (tmp_path / "ray" / "ray_current_cluster").write_text("nonsense")
    assert running_cluster() is None


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"sys/fs/cgroup/cpu.max": "150000 100000"}, 2),
        ({"sys/fs/cgroup/cpu.max": "max 100000"}, None),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_cores_of_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int | None
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores_of_ray(tmp_path) == (cores or 64)
