# SPDX-License-Identifier: Apache-2.0
"""vLLM's plugin: weights stay in place on the CPU, engine processes end with their parent, a GPU is left alone."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import psutil
import pytest

from medix_verl.cpu.vllm_engine import register, rewind_generators

ORPHAN = """
import multiprocessing, os, sys, time
from medix_verl.cpu.vllm_engine import register
from pathlib import Path

def engine(note):
    register()
    Path(note).write_text(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=engine, args=(sys.argv[2],), name=sys.argv[1]).start()
    while not (Path(sys.argv[2]).exists() and Path(sys.argv[2]).read_text()):
        time.sleep(0.05)
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def ops(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A vllm whose operators claim oneDNN."""
    vllm, ops = ModuleType("vllm"), ModuleType("vllm._custom_ops")
    ops._supports_onednn = True  # type: ignore[attr-defined]
    vllm._custom_ops = ops  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setitem(sys.modules, "vllm._custom_ops", ops)
    return ops


def test_linear_weights_are_kept_on_a_cpu(ops: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERL_PLATFORM", "cpu")
    register()
    assert ops._supports_onednn is False


def test_nothing_happens_beside_an_accelerator(ops: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERL_PLATFORM", "nvidia")
    monkeypatch.setattr(multiprocessing.current_process(), "name", "EngineCore_DP0")
    register()
    assert ops._supports_onednn is True
    assert watchers() == []


def test_a_vllm_without_onednn_gets_no_new_name(ops: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERL_PLATFORM", "cpu")
    del ops._supports_onednn
    register()
    assert not hasattr(ops, "_supports_onednn")


def test_a_vllm_that_cannot_be_imported_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERL_PLATFORM", "cpu")
    monkeypatch.setitem(sys.modules, "vllm", None)
    register()


def test_the_process_that_starts_engines_is_not_watched(ops: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may well be started by a shell that ends before it."""
    monkeypatch.setenv("VERL_PLATFORM", "cpu")
    register()
    assert watchers() == []


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "medix-parent-watch"]


@pytest.mark.parametrize("name", ["EngineCore_DP0", "Worker-1"])
def test_an_engine_whose_parent_is_killed_ends(tmp_path: Path, name: str) -> None:
    script, note = tmp_path / "parent.py", tmp_path / "pid"
    script.write_text(ORPHAN)
    # vllm is a folder without content here: the real one takes seconds to import.
    (tmp_path / "vllm").mkdir()
    environment = {**os.environ, "VERL_PLATFORM": "cpu", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, str(script), name, str(note)], env=environment, timeout=60, check=False)
    assert done.returncode == -9
    engine, deadline = int(note.read_text()), time.monotonic() + 10
    while psutil.pid_exists(engine) and psutil.Process(engine).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the engine outlived its parent"
        time.sleep(0.1)


class CpuGenerator:
    """A generator as torch has it on the CPU: without an offset."""

    def __init__(self, seed: int) -> None:
        self.seed, self.drawn = seed, 1

    def initial_seed(self) -> int:
        return self.seed

    def manual_seed(self, seed: int) -> None:
        self.seed, self.drawn = seed, 0

    def get_offset(self) -> int:
        raise RuntimeError("CPU Generator does not use offset")

    def set_offset(self, offset: int) -> None:
        raise RuntimeError("CPU Generator does not use offset")


class Runner:
    """The part of vLLM's runner that is replaced."""

    def __init__(self, *discarded: bool) -> None:
        self.discard_request_mask = SimpleNamespace(np=np.array(discarded))
        generators = {0: CpuGenerator(5), 2: CpuGenerator(7)}
        self.input_batch = SimpleNamespace(generators=generators, num_reqs=3)

    def _bookkeeping_sync(self, output: str) -> str:
        for i in self.discard_request_mask.np[:3].nonzero()[0]:
            gen = self.input_batch.generators.get(int(i))
            if gen is not None:
                gen.set_offset(gen.get_offset() - 4)
        return output


def test_a_generator_is_seeded_again_where_a_cuda_one_is_rewound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runner, "_bookkeeping_sync", Runner._bookkeeping_sync)
    with pytest.raises(RuntimeError, match="does not use offset"):
        Runner(True, False, False)._bookkeeping_sync("")
    rewind_generators(SimpleNamespace(GPUModelRunner=Runner))  # type: ignore[arg-type]
    runner = Runner(True, True, False, True)
    assert runner._bookkeeping_sync("kept") == "kept"
    assert [generator.drawn for generator in runner.input_batch.generators.values()] == [0, 1]


def test_a_runner_that_rewinds_otherwise_is_left_alone() -> None:
    class Other:
        def _bookkeeping_sync(self) -> None: ...

    before = Other._bookkeeping_sync
    rewind_generators(SimpleNamespace(GPUModelRunner=Other))  # type: ignore[arg-type]
    assert Other._bookkeeping_sync is before
