# SPDX-License-Identifier: Apache-2.0
"""Free memory: a limit less what is used of it, in both versions of control groups, and without any."""

from pathlib import Path

import pytest

from medix_verl.recipe.checks.memory import free_memory_gib, memory_limit_gib

GIB = 1024**3
MEMINFO = "MemTotal: 67108864 kB\nMemAvailable:   33554432 kB\n"  # 32 GiB available
V1 = "sys/fs/cgroup/memory"
V2 = "sys/fs/cgroup"


def machine(root: Path, own: str = "", meminfo: str = MEMINFO) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(meminfo)
    (root / "proc/self/cgroup").write_text(own)
    return root


def group(root: Path, place: str, limit: str | float, used: float, droppable: float = 0.0) -> None:
    """A group's files; sizes in GiB."""
    folder = root / place
    folder.mkdir(parents=True, exist_ok=True)
    first = place.startswith(V1)
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if first else ("memory.max", "memory.current")
    word = "total_inactive_file" if first else "inactive_file"
    (folder / names[0]).write_text(f"{limit if isinstance(limit, str) else int(limit * GIB)}\n")
    (folder / names[1]).write_text(f"{int(used * GIB)}\n")
    (folder / "memory.stat").write_text(f"anon 12\n{word} {int(droppable * GIB)}\nactive_file 7\n")


@pytest.mark.parametrize("place", [V1, V2])
@pytest.mark.parametrize(
    ("limit", "used", "droppable", "free"),
    [
        (16.0, 10.0, 0.0, 6.0),
        (16.0, 10.0, 4.0, 10.0),  # files that the kernel drops at need are free
        (16.0, 17.0, 0.0, 0.0),
        (64.0, 10.0, 0.0, 32.0),  # the machine has less
        ("max", 10.0, 0.0, 32.0),
        (str(2**63 - 4096), 10.0, 0.0, 32.0),  # version 1 without a limit
    ],
)
def test_a_limit_less_what_is_used(
    tmp_path: Path, place: str, limit: str | float, used: float, droppable: float, free: float
) -> None:
    group(machine(tmp_path), place, limit, used, droppable)
    assert free_memory_gib(tmp_path) == pytest.approx(free)


@pytest.mark.parametrize(
    ("place", "own"),
    [(V1, "5:cpu:/a\n4:memory:/job/step\n0::/\n"), (V2, "0::/job/step\n"), (V1, "3:cpu,memory:/job/step\n")],
)
def test_the_tightest_of_the_groups_around_the_process_counts(tmp_path: Path, place: str, own: str) -> None:
    machine(tmp_path, own)
    group(tmp_path, f"{place}/job", 8.0, 5.0)
    group(tmp_path, f"{place}/job/step", "max", 1.0)
    group(tmp_path, f"{place}/another", 1.0, 1.0)
    assert free_memory_gib(tmp_path) == pytest.approx(3.0)


def test_a_path_that_a_container_does_not_see_leaves_its_outermost_group(tmp_path: Path) -> None:
    group(machine(tmp_path, "0::/../../host/path\n"), V2, 8.0, 2.0)
    assert free_memory_gib(tmp_path) == pytest.approx(6.0)


def test_no_groups_and_no_files_at_all(tmp_path: Path) -> None:
    assert free_memory_gib(machine(tmp_path / "plain")) == pytest.approx(32.0)
    assert free_memory_gib(tmp_path / "nothing") > 0
    assert free_memory_gib() > 0


def test_the_limit_is_that_of_the_smallest_group(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/job/step\n")
    plain = memory_limit_gib(root)
    group(root, f"{V2}/job", 0.5, 0.1)
    group(root, f"{V2}/job/step", "max", 0.1)
    assert plain > 0.5 and memory_limit_gib(root) == 0.5
