# SPDX-License-Identifier: Apache-2.0
"""Decides whether verl's processes on this machine need the CPU platform, and activates it.

verl 0.9.1 falls back to `nvidia` if it finds no accelerator (verl/plugin/platform/platform_manager.py). A process
without a visible GPU does not prove that there is none: Ray hides GPUs from actors that did not request any, and the
head node of a GPU cluster has none. So the CPU is chosen only if the installed builds do not support an accelerator and
the machine has no accelerator device, or if `VERL_PLATFORM=cpu` is set.
"""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

__all__ = ["CPU_ENVIRONMENT", "activate_if_needed", "cpu_is_wanted"]

_DEVICE_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/davinci_manager", "/dev/dxg")

CPU_ENVIRONMENT = {
    # verl/workers/engine/base.py registers FSDP only for "cuda" and "npu"; this is its own override.
    "VERL_ENGINE_DEVICE": "cuda",
    # vllm/v1/sample compiles its sampler even in eager mode; g++ fails on it on some processors.
    "TORCHDYNAMO_DISABLE": "1",
    # vllm/platforms/cpu.py: GiB of key-value cache for each engine, and no pinning to shared cores.
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


def cpu_is_wanted() -> bool:
    """True if verl should run on the CPU in this process and its children."""
    chosen = os.environ.get("VERL_PLATFORM", "").strip().lower()
    if chosen:
        return chosen == "cpu"
    return not any(Path(device).exists() for device in _DEVICE_FILES) and _builds_are_cpu_only()


def activate_if_needed() -> bool:
    """Register the CPU platform and its work-arounds if needed.

    Returns:
        True if verl's platform is now `cpu`.
    """
    if not cpu_is_wanted():
        return False
    for name, value in CPU_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from medix_verl.cpu.platform import register_platform
    from medix_verl.cpu.workarounds import install

    register_platform()
    install()
    return True


def _builds_are_cpu_only() -> bool:
    if _is_installed("vllm-cpu") and not _is_installed("vllm"):
        return True
    import torch

    drives_accelerator = torch.version.cuda is not None or torch.version.hip is not None
    return not drives_accelerator and not _is_installed("torch-npu") and not _is_installed("vllm-ascend")


def _is_installed(distribution: str) -> bool:
    try:
        # Not metadata.version(): workarounds.answer_for_vllm makes it report vllm as installed.
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
