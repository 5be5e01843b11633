# SPDX-License-Identifier: Apache-2.0
"""Decides whether verl's processes on this machine need the CPU platform, and switches it on.

verl 0.9.1 falls back to `nvidia` where it finds no accelerator (verl/plugin/platform/platform_manager.py). A process
without a visible GPU is no proof that there is none: Ray hides GPUs from the actors that asked for none, and the head
node of a GPU cluster has none. So the CPU is chosen only where the installed builds cannot drive an accelerator and
the machine shows no device of one, or where `VERL_PLATFORM=cpu` says so.
"""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

__all__ = ["CPU_ENVIRONMENT", "activate_if_needed", "cpu_is_wanted"]

_DEVICE_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/davinci_manager", "/dev/dxg")

CPU_ENVIRONMENT = {
    # verl/workers/engine/base.py registers FSDP for "cuda" and "npu" only; this is its own override.
    "VERL_ENGINE_DEVICE": "cuda",
    # vllm/v1/sample compiles its sampler even when eager; g++ fails on it on some processors.
    "TORCHDYNAMO_DISABLE": "1",
    # vllm/platforms/cpu.py: GiB of key-value cache for each engine, and no pinning to cores that are shared.
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


def cpu_is_wanted() -> bool:
    """True when verl should run on the CPU in this process and in those that it starts."""
    chosen = os.environ.get("VERL_PLATFORM", "").strip().lower()
    if chosen:
        return chosen == "cpu"
    return not any(Path(device).exists() for device in _DEVICE_FILES) and _builds_are_cpu_only()


def activate_if_needed() -> bool:
    """Register the CPU platform and its work-arounds where they are wanted.

    Returns:
        True when verl's platform is now `cpu`.
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
        # Not metadata.version(): workarounds.answer_for_vllm makes that one say that vllm is there.
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
