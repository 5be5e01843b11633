# SPDX-License-Identifier: Apache-2.0
"""What we rely on in verl, held fast: when a release moves it, the failing test names the file of ours to change."""

from __future__ import annotations

import inspect
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(300)


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def source(thing: Any) -> str:
    return inspect.getsource(thing)


def test_the_release_is_one_that_we_claim() -> None:
    import verl

    assert verl.__version__.startswith("0.9."), "setup.py claims verl >= 0.9.1, < 0.10"


def test_plugins_are_entry_points() -> None:
    import verl

    assert 'group="verl.plugins"' in source(verl), "setup.py: entry_points"
    assert '.debug("Failed to load plugin' in source(verl), "plugin.py: verl may now report plugin errors itself"
    names = {entry.value for entry in metadata.entry_points(group="verl.plugins")}
    assert "medix_verl.plugin" in names


def test_reward_manager_seam() -> None:
    from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
    from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
    from verl.trainer.ppo import reward

    why = "rewards/manager.py"
    assert parameters(RewardManagerBase.__init__) == ["self", "config", "tokenizer", "compute_score"], why
    assert inspect.iscoroutinefunction(RewardManagerBase.run_single), why
    assert parameters(RewardManagerBase.run_single) == ["self", "data"], why
    assert 'source == "importlib"' in source(reward.resolve_reward_manager_cls), why
    for keyword in ("reward_router_address=", "reward_model_tokenizer="):
        assert keyword in source(RewardLoopWorker._init_reward_fn), why
    assert "custom_reward_function.path is not None" in source(RewardLoopWorker.compute_score), (
        "rewards/manager.py: compute_score exists only for this branch"
    )


def test_a_raising_reward_drops_one_trajectory() -> None:
    from verl.trainer.ppo.v1 import agent_loop_tq

    assert "_settle_session_tasks" in source(agent_loop_tq), "rewards/manager.py: UnscoredError would end the run"


def test_sampler_seam() -> None:
    from verl.trainer.ppo.v1 import replay_buffer, trainer_base

    why = "rewards/sampler.py"
    accepted = set(parameters(replay_buffer.ReplayBuffer.__init__))
    assert accepted >= {
        "trainer_mode", "trainer_config", "max_off_policy_threshold", "max_off_policy_strategy", "sampler_kwargs",
        "poll_interval", "refill_fn", "filter_groups_metric", "train_batch_size", "gen_batch_size",
        "max_inflight_gen_batches", "sync_refill_failed_groups",
    }, why  # fmt: skip
    for kind in (replay_buffer.ReplayBuffer, replay_buffer.ReplayBufferAsync):
        assert parameters(kind.sample) == ["self", "global_steps", "partition_id", "batch_size"], why
    poll = replay_buffer.ReplayBuffer._wait_for_next_poll
    assert parameters(poll) == ["self", "partition_id", "last_debug_time"], why
    build = source(trainer_base.PPOTrainer._build_replay_buffer)
    assert "if not has_custom_sampler:" in build, f"{why}: verl may now hand group filters to custom samplers itself"
    assert "metrics.update(off_policy_metrics)" in source(trainer_base.PPOTrainer._step_once), why


def test_dataset_seam() -> None:
    from verl.utils.dataset.rl_dataset import RLHFDataset

    why = "data/dataset.py"
    assert parameters(RLHFDataset.__init__)[1:] == ["data_files", "tokenizer", "config", "processor", "max_samples"]
    for name in ("_download", "_read_files_and_tokenize", "maybe_filter_out_long_prompts", "_process_multi_modal_info"):
        assert hasattr(RLHFDataset, name), why
    init = source(RLHFDataset.__init__)
    assert init.index("self._download()") < init.index("self._read_files_and_tokenize()"), why


def test_platform_seam() -> None:
    from verl.plugin.platform.platform_manager import PlatformRegistry

    from medix_verl.cpu.platform import PlatformCPU

    assert PlatformCPU.__abstractmethods__ == frozenset(), "cpu/platform.py: a method is missing"
    assert {"register", "get"} <= set(dir(PlatformRegistry)), "cpu/platform.py"


def test_work_arounds_are_still_needed() -> None:
    """Each looks for the very line that it mends; a line that is gone needs no work-around any more."""
    import verl.utils.distributed as distributed
    import verl.utils.tensordict_utils as tensordicts
    from verl.workers.engine import base as engine

    gloo = inspect.unwrap(distributed.initialize_global_process_group_ray)
    assert 'f"cpu:gloo,{get_device_name()}:{get_nccl_backend()}"' in source(gloo), "cpu/workarounds.py: use_gloo_once"
    positions = inspect.unwrap(tensordicts.maybe_fix_3d_position_ids)
    assert "._ragged_idx = 2" in source(positions), "cpu/workarounds.py: rebuild_position_ids"
    assert 'os.getenv("VERL_ENGINE_DEVICE")' in source(engine), "cpu/activate.py: CPU_ENVIRONMENT"
    vllm_version = Path(engine.__file__).parents[2] / "third_party" / "vllm" / "__init__.py"
    assert 'package_name = "vllm"' in vllm_version.read_text(), "cpu/workarounds.py: answer_for_vllm"


def test_work_arounds_are_applied_here() -> None:
    import verl.utils.distributed as distributed
    import verl.utils.tensordict_utils as tensordicts

    from medix_verl.cpu.activate import cpu_is_wanted

    wanted = cpu_is_wanted()
    for function in (distributed.initialize_global_process_group_ray, tensordicts.maybe_fix_3d_position_ids):
        assert hasattr(function, "__wrapped__") is wanted
