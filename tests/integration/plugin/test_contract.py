# SPDX-License-Identifier: Apache-2.0
"""What we rely on in verl, held fast: when a release moves it, the failing test names the file of ours to change.

SEAMS is the table: a seam, and the files that stand on it. Of the releases that setup.py claims (>= 0.9.0, < 0.10),
0.9.0 and 0.9.1 are on PyPI: `make test` runs this on the newest, `.ci/other-verl` makes a place for another, and
`make upstream CLONE=path` runs it on a clone of verl.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from helpers.places import ROOT
from medix_verl.cpu.vllm_engine import REWIND

pytestmark = pytest.mark.timeout(300)
SEAMS: dict[str, tuple[str, ...]] = {
    "release": ("setup.py", "medix_verl/recipe/checks/machine.py"),
    "entry points": ("medix_verl/plugin.py", "medix_verl/after_import.py", "setup.py"),
    "search path": (
        *("medix_verl/plugin.py", "medix_verl/recipe/index.py", "medix_verl/recipe/checks/probe.py"),
        *("medix_verl/recipe/compose.py", "recipes/hydra_plugins/medix_verl_guard.py"),
    ),
    "reward manager": ("medix_verl/rewards/manager.py", "recipes/recipe/medix_reward.yaml"),
    "start of a run": ("medix_verl/plugin.py", "medix_verl/runs/start.py"),
    "cores": ("medix_verl/recipe/facts.py", "medix_verl/recipe/checks/placement.py"),
    "raising rewards": ("medix_verl/rewards/manager.py", "medix_verl/errors.py"),
    "sampler": ("medix_verl/rewards/sampler.py", "medix_verl/rewards/spec.py"),
    "estimator": ("medix_verl/rewards/advantage.py", "recipes/recipe/medix_gdpo.yaml"),
    "dataset": ("medix_verl/data/dataset.py",),
    "SFT": ("medix_verl/data/sft/dataset.py", "medix_verl/recipe/sft.py", "recipes/recipe/medix_sft.yaml"),
    "distillation": ("recipes/recipe/medix_distill.yaml",),
    "platform": ("medix_verl/cpu/platform.py", "medix_verl/runs/start.py", "medix_verl/recipe/checks/probe.py"),
    "work-arounds": ("medix_verl/cpu/workarounds.py", "medix_verl/cpu/activate.py", "medix_verl/cpu/vllm_engine.py"),
    "dataclasses": ("medix_verl/recipe/validate.py",),
    "engines": ("recipes/model_engine/medix_fsdp2.yaml", "recipes/recipe/medix_megatron.yaml"),
    "trainer modes": ("recipes/recipe/medix_async.yaml", "recipes/recipe/medix_async_separate.yaml"),
    "judge served by verl": ("recipes/recipe/medix_judge_verl.yaml",),
    "losses": ("recipes/recipe/medix_8b_gspo.yaml", "recipes/recipe/medix_8b_grpo.yaml"),
}
Test = Callable[[], None]


def seam(name: str) -> Callable[[Test], Test]:
    """Say which files of ours stand on what the test has found moved."""

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def run() -> None:
            try:
                test()
            except (AssertionError, AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
                found = f"{type(error).__name__}: {error}"
                pytest.fail(f"verl moved the seam '{name}'; change {', '.join(SEAMS[name])}\n{found}")

        return run

    return decorate


def test_the_table_names_files_that_are_there() -> None:
    missing = [file for files in SEAMS.values() for file in files if not (ROOT / file).exists()]
    assert missing == []


def test_every_file_that_imports_verl_stands_on_a_seam() -> None:
    importing = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "medix_verl").rglob("*.py")
        if any(line.strip().startswith(("import verl", "from verl")) for line in path.read_text().splitlines())
    }
    assert importing - {file for files in SEAMS.values() for file in files} == set()


def test_a_moved_seam_names_the_files() -> None:
    @seam("sampler")
    def moved() -> None:
        assert "this" in "that"

    with pytest.raises(pytest.fail.Exception, match=r"moved the seam 'sampler'; change medix_verl/rewards/sampler.py"):
        moved()


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def source(thing: Any) -> str:
    return inspect.getsource(thing)


@seam("release")
def test_the_release_is_one_that_we_claim() -> None:
    import verl

    assert verl.__version__.startswith("0.9."), "setup.py claims verl >= 0.9.0, < 0.10"


@seam("entry points")
def test_plugins_are_entry_points() -> None:
    import verl

    assert 'group="verl.plugins"' in source(verl), "setup.py: entry_points"
    assert '.debug("Failed to load plugin' in source(verl), "verl may now report plugin errors itself"
    names = {entry.value for entry in metadata.entry_points(group="verl.plugins")}
    assert "medix_verl.plugin" in names


@seam("reward manager")
def test_reward_manager_seam() -> None:
    from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
    from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
    from verl.trainer.ppo import reward

    assert parameters(RewardManagerBase.__init__) == ["self", "config", "tokenizer", "compute_score"]
    assert inspect.iscoroutinefunction(RewardManagerBase.run_single)
    assert parameters(RewardManagerBase.run_single) == ["self", "data"]
    assert 'source == "importlib"' in source(reward.resolve_reward_manager_cls)
    for keyword in ("reward_router_address=", "reward_model_tokenizer="):
        assert keyword in source(RewardLoopWorker._init_reward_fn)
    assert "custom_reward_function.path is not None" in source(RewardLoopWorker.compute_score), (
        "compute_score exists only for this branch"
    )


@seam("raising rewards")
def test_a_raising_reward_drops_one_trajectory() -> None:
    from verl.trainer.ppo.v1 import agent_loop_tq

    assert "_settle_session_tasks" in source(agent_loop_tq), "UnscoredError would end the run"


@seam("sampler")
def test_sampler_seam() -> None:
    from verl.trainer.ppo.v1 import replay_buffer, trainer_base

    accepted = set(parameters(replay_buffer.ReplayBuffer.__init__))
    assert accepted >= {
        "trainer_mode", "trainer_config", "max_off_policy_threshold", "max_off_policy_strategy", "sampler_kwargs",
        "poll_interval", "refill_fn", "filter_groups_metric", "train_batch_size", "gen_batch_size",
        "max_inflight_gen_batches", "sync_refill_failed_groups",
    }  # fmt: skip
    for kind in (replay_buffer.ReplayBuffer, replay_buffer.ReplayBufferAsync):
        assert parameters(kind.sample) == ["self", "global_steps", "partition_id", "batch_size"]
    poll = replay_buffer.ReplayBuffer._wait_for_next_poll
    assert parameters(poll) == ["self", "partition_id", "last_debug_time"]
    build = source(trainer_base.PPOTrainer._build_replay_buffer)
    assert "if not has_custom_sampler:" in build, "verl may now hand group filters to custom samplers itself"
    assert "metrics.update(off_policy_metrics)" in source(trainer_base.PPOTrainer._step_once)


@seam("dataset")
def test_dataset_seam() -> None:
    from verl.utils.dataset.rl_dataset import RLHFDataset

    assert parameters(RLHFDataset.__init__)[1:] == ["data_files", "tokenizer", "config", "processor", "max_samples"]
    for name in ("_download", "_read_files_and_tokenize", "maybe_filter_out_long_prompts", "_process_multi_modal_info"):
        assert hasattr(RLHFDataset, name)
    init = source(RLHFDataset.__init__)
    assert init.index("self._download()") < init.index("self._read_files_and_tokenize()")


@seam("SFT")
def test_sft_seam() -> None:
    import verl.trainer.sft_trainer as trainer
    import verl.trainer.sft_trainer_ray as by_ray
    from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset
    from verl.workers.config import FSDPEngineConfig

    for program in (trainer, by_ray):
        assert "auto_set_device(config)" in source(program.main), "plugin.py: the first function of a start"
        assert "pkg://" in source(program.create_sft_dataset) or "load_extern" in source(program.create_sft_dataset)
    init = parameters(MultiTurnSFTDataset.__init__)[1:]
    assert init == ["parquet_files", "tokenizer", "config", "processor", "max_samples"]
    assert parameters(MultiTurnSFTDataset._process_single_message)[1:] == [
        "index", "message", "full_message", "tools", "enable_thinking",
    ]  # fmt: skip
    item = source(MultiTurnSFTDataset.__getitem__)
    for line in (
        "self.dataframe.iloc[item].to_dict()",
        "self._build_messages(row_dict)",
        "self.sanity_check(input_ids, ",
    ):
        assert line in item, line
    assert {"strategy", "ulysses_sequence_parallel_size"} <= set(FSDPEngineConfig.__dataclass_fields__)


@seam("distillation")
def test_distillation_seam() -> None:
    from verl.trainer.distillation.losses import DISTILLATION_SETTINGS_REGISTRY
    from verl.workers.config import DistillationConfig, DistillationLossConfig

    assert {"enabled", "n_gpus_per_node", "nnodes", "teacher_models"} <= set(DistillationConfig.__dataclass_fields__)
    assert {"topk", "use_task_rewards", "use_policy_gradient"} <= set(DistillationLossConfig.__dataclass_fields__)
    assert DISTILLATION_SETTINGS_REGISTRY["forward_kl_topk"].use_topk


@seam("platform")
def test_platform_seam() -> None:
    from verl.plugin.platform.platform_manager import PlatformRegistry

    from medix_verl.cpu.platform import PlatformCPU

    assert PlatformCPU.__abstractmethods__ == frozenset(), "a method is missing"
    assert {"register", "get"} <= set(dir(PlatformRegistry)), "cpu/platform.py"


@seam("work-arounds")
def test_work_arounds_are_still_needed() -> None:
    """Each looks for the line that it corrects; a line that is gone needs no work-around any more."""
    import verl.utils.distributed as distributed
    import verl.utils.tensordict_utils as tensordicts
    from verl.workers.engine import base as engine

    gloo = inspect.unwrap(distributed.initialize_global_process_group_ray)
    assert 'f"cpu:gloo,{get_device_name()}:{get_nccl_backend()}"' in source(gloo), "cpu/workarounds.py: use_gloo_once"
    sft = inspect.unwrap(distributed.initialize_global_process_group)
    assert 'f"cpu:gloo,{get_device_name()}:{get_nccl_backend()}"' in source(sft), "cpu/workarounds.py: join_by_gloo"
    positions = inspect.unwrap(tensordicts.maybe_fix_3d_position_ids)
    assert "._ragged_idx = 2" in source(positions), "cpu/workarounds.py: rebuild_position_ids"
    assert 'os.getenv("VERL_ENGINE_DEVICE")' in source(engine), "cpu/activate.py: CPU_ENVIRONMENT"
    transformer = Path(engine.__file__).parent / "fsdp" / "transformer_impl.py"
    assert "CPUOffloadPolicy(pin_memory=True)" in transformer.read_text(), "offload_unpinned"
    vllm_version = Path(engine.__file__).parents[2] / "third_party" / "vllm" / "__init__.py"
    assert 'package_name = "vllm"' in vllm_version.read_text(), "cpu/workarounds.py: answer_for_vllm"
    vllm = importlib.util.find_spec("vllm")
    if vllm is not None and vllm.origin is not None:
        runner = Path(vllm.origin).parent / "v1" / "worker" / "gpu_model_runner.py"
        assert REWIND in runner.read_text(encoding="utf-8"), "cpu/vllm_engine.py: rewind_generators"


@seam("work-arounds")
def test_work_arounds_are_applied_here() -> None:
    import verl.utils.distributed as distributed
    import verl.utils.tensordict_utils as tensordicts

    from medix_verl.cpu.activate import cpu_is_wanted

    wanted = cpu_is_wanted()
    for function in (distributed.initialize_global_process_group_ray, tensordicts.maybe_fix_3d_position_ids):
        assert hasattr(function, "__wrapped__") is wanted


@seam("search path")
def test_recipes_are_found_by_their_names() -> None:
    import verl  # noqa: F401 - registers us
    from hydra import compose, initialize_config_module

    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", ["+recipe=medix"])
    assert "recipe" not in config and config.reward.medix.judge.kind == "openai"


@seam("estimator")
def test_estimator_seam() -> None:
    from verl.trainer.ppo import core_algos
    from verl.trainer.ppo.v1 import trainer_base

    assert {"register_adv_est", "get_adv_estimator_fn"} <= set(dir(core_algos))
    assert "rm_scores" in source(trainer_base.PPOTrainer._compute_advantage)


@seam("dataclasses")
def test_what_verl_makes_of_a_configuration() -> None:
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import omega_conf_to_dataclass, validate_config
    from verl.workers import engine_workers

    from medix_verl.recipe.validate import LIKE_THE_ACTOR

    assert parameters(validate_config) == ["config", "use_reference_policy", "use_critic"]
    assert parameters(need_critic) == parameters(need_reference_policy) == ["config"]
    assert parameters(omega_conf_to_dataclass)[0] == "config"
    text = source(engine_workers.ActorRolloutRefWorker)
    assert [key for key in LIKE_THE_ACTOR if f'pop("{key}"' not in text and f'"{key}"' not in text] == []
    assert "mini_batch_size % self.engine.get_data_parallel_size() == 0" in source(engine_workers.TrainingWorker)


@seam("start of a run")
def test_every_start_passes_our_check() -> None:
    import importlib

    from medix_verl.plugin import STARTS

    for module, name in STARTS:
        assert parameters(vars(importlib.import_module(module))[name])[0] == "config"
    text = (Path(str(importlib.import_module("verl").__file__)).parent / "trainer" / "main_ppo.py").read_text()
    assert text.index("validate_config(\n") < text.index("run_ppo(config, task_runner_class=TaskRunnerV1)")


@seam("cores")
def test_what_is_booked_with_each_gpu() -> None:
    import transfer_queue.controller
    from transfer_queue.storage import simple_storage
    from verl.single_controller.ray.base import ResourcePoolManager

    from medix_verl.recipe.facts import CORES_OF_A_GPU

    assert ResourcePoolManager.__dataclass_fields__["max_colocate_count"].default == CORES_OF_A_GPU
    assert "@ray.remote(num_cpus=1)\nclass TransferQueueController" in inspect.getsource(transfer_queue.controller)
    assert "@ray.remote(num_cpus=1)\nclass SimpleStorageUnit" in inspect.getsource(simple_storage)


@seam("engines")
def test_engines_are_chosen_by_name() -> None:
    import verl.trainer.config

    folder = Path(verl.trainer.config.__file__).parent
    defaults = (folder / "ppo_trainer.yaml").read_text()
    for group in ("actor@actor_rollout_ref.actor", "ref@actor_rollout_ref.ref", "critic@critic"):
        assert f"- {group}: ${{model_engine}}_" in defaults
    for name in ("actor/dp_actor", "ref/dp_ref", "critic/dp_critic", "model_engine/megatron", "actor/megatron_actor"):
        assert (folder / f"{name}.yaml").is_file(), name


@seam("trainer modes")
def test_asynchronous_trainers() -> None:
    from verl.trainer.ppo.v1 import trainer_base, trainer_colocate_async, trainer_separate_async

    assert {"colocate_async", "separate_async"} <= {
        name for module in (trainer_colocate_async, trainer_separate_async) for name in source(module).split('"')
    }
    assert "train_batch_size == parameter_sync_step * ppo_mini_batch_size" in source(trainer_separate_async)
    assert "has_custom_sampler" in source(trainer_base.PPOTrainer._build_replay_buffer)


@seam("judge served by verl")
def test_a_pool_for_the_judge() -> None:
    from verl.experimental.reward_loop import reward_model
    from verl.trainer.ppo.v1 import trainer_base

    assert "free_cache_engine" in source(reward_model), "the judge may wake up by itself now"
    assert "reward_model.enable_resource_pool" in source(trainer_base.PPOTrainer)


@seam("losses")
def test_losses_of_the_recipes() -> None:
    from verl.trainer.ppo.core_algos import get_policy_loss_fn, kl_penalty_forward

    for name in ("vanilla", "gspo"):
        get_policy_loss_fn(name)
    assert "low_var_kl" in source(kl_penalty_forward)
