# SPDX-License-Identifier: Apache-2.0
"""On a machine with an accelerator: the recipe of the pretrained demo policy for 100 steps, and its figures.

    pytest tests/gpu/test_smollm2.py -m long -s --basetemp=FOLDER

leaves report.md, report.json, report.html, metrics.jsonl and the checkpoint in a folder below FOLDER, and prints the
report. The recipe is the CPU's, with what an accelerator does otherwise. Written without one at hand: it has been
composed (tests/integration/demo/test_smollm2.py), never run.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medix_verl.cpu.activate import CPU_ENVIRONMENT
from medix_verl.demo.models.weights import find_weights
from medix_verl.demo.run import DemoSpec, run_demo
from medix_verl.errors import SetupError

pytest.importorskip("gguf", reason="the reader of the model's file is not installed: pip install 'medix-verl[smollm2]'")

pytestmark = [pytest.mark.long, pytest.mark.timeout(5400)]

ON_A_GPU = (
    "trainer.device=cuda",
    "actor_rollout_ref.model.override_config.attn_implementation=sdpa",
    "actor_rollout_ref.model.enable_gradient_checkpointing=false",
    "actor_rollout_ref.actor.ppo_max_token_len_per_gpu=16384",
    "actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu=16384",
    "actor_rollout_ref.rollout.gpu_memory_utilization=0.3",
    "actor_rollout_ref.rollout.max_num_seqs=256",
    "actor_rollout_ref.rollout.max_num_batched_tokens=8192",
    # Eight answers to a question, as the tiny policy has; two cores have not the time for them.
    "actor_rollout_ref.rollout.n=8",
)


def test_a_hundred_steps_of_the_pretrained_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*CPU_ENVIRONMENT, "VERL_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    try:
        find_weights(None)
    except SetupError as error:
        pytest.skip(f"the pretrained model cannot be had here: {error}")
    spec = DemoSpec(tmp_path, steps=100, kind="smollm2", limit_s=3600.0, overrides=ON_A_GPU)
    figures = run_demo(spec, print)
    print((tmp_path / "report.md").read_text(encoding="utf-8"))
    assert figures["steps"] == 100 and figures["unscored"] == 0
    assert figures["after/greedy/format"] > 0.9
    assert figures["after/greedy/acc"] > figures["before/greedy/acc"]
    assert os.environ.get("VERL_PLATFORM") is None
