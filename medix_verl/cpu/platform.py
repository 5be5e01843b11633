# SPDX-License-Identifier: Apache-2.0
"""verl's platform `cpu`, registered in verl's own PlatformRegistry (verl/plugin/platform/platform_manager.py).

Ray's logical GPUs are the slots that verl's placement groups request: a CPU recipe sets
`ray_kwargs.ray_init.num_gpus` to the number of workers it wants.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry

__all__ = ["PlatformCPU", "register_platform"]


def _nothing(*_args: Any, **_kwargs: Any) -> int:
    """Replaces `torch.cuda` calls that measure or free device memory; always 0."""
    return 0


class _CpuDevice(types.ModuleType):
    """verl's replacement for `torch.cuda`: torch.cpu's functions, the random state, host memory, and no-ops."""

    current_device = staticmethod(lambda: "cpu")
    device_count = staticmethod(lambda: 1)
    get_device_name = staticmethod(lambda *_args: "cpu")
    get_rng_state = staticmethod(lambda *_args: torch.get_rng_state())
    is_available = staticmethod(lambda: True)

    @staticmethod
    def set_rng_state(state: torch.Tensor, *_args: Any) -> None:
        torch.set_rng_state(state)

    @staticmethod
    def mem_get_info(*_args: Any) -> tuple[int, int]:
        """Bytes of host memory: available and total."""
        import psutil

        memory = psutil.virtual_memory()
        return memory.available, memory.total

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(torch.cpu, name, _nothing)


_DEVICE = _CpuDevice("medix_verl.cpu.device")


class PlatformCPU(PlatformBase):
    """A host without an accelerator, for verl's platform interface."""

    @property
    def device_name(self) -> str:
        return "cpu"

    @property
    def vendor_name(self) -> str:
        return "cpu"

    @property
    def device_module(self) -> types.ModuleType:
        return _DEVICE

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        # Probed after verl's own platforms, and registered only if cpu_is_wanted().
        return True

    def current_device(self) -> Any:
        # verl passes this to `.to()`; torch would read an index as an accelerator.
        return torch.device("cpu")

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        return None

    def synchronize(self, device_index: int | None = None) -> None:
        return None

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        return None

    def empty_cache(self) -> None:
        return None

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None:
        return None

    def profiler_stop(self) -> None:
        return None

    def ray_resource_name(self) -> str:
        # get_accelerator_ids()["GPU"] is read in several places; resources with other names are not listed there.
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        # Weights are then sent to the rollout through shared memory.
        return False

    def cudart(self) -> None:
        return None


def register_platform() -> None:
    """Register `cpu` as verl's last platform, so that verl's own platforms are probed first."""
    if PlatformRegistry.get("cpu") is not PlatformCPU:
        PlatformRegistry.register(platform="cpu")(PlatformCPU)
