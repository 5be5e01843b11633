# SPDX-License-Identifier: Apache-2.0
"""Two FSDP2 ranks on the CPU: the first update is one rank's; a training with two vLLM replicas, and its resuming."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medix_verl.demo.processes import run_marked
from medix_verl.demo.summary import read_steps

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
SCRIPT = Path(__file__).with_name("two_ranks.py")
ROOT = SCRIPT.parents[2]
TWO = ("trainer.n_gpus_per_node=2", "ray_kwargs.ray_init.num_gpus=2")
ROWS = 8


def update(out: Path, model: Path, ranks: int, rows: int = ROWS) -> Any:
    """One update by so many ranks; what rank 0 wrote."""
    import torch

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    plain = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(out), str(model), str(rows)],
            env={**plain, "MASTER_PORT": port, "RANK": str(rank), "WORLD_SIZE": str(ranks)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(ranks)
    ]
    try:
        printed = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), printed[0][-3000:]
    return torch.load(out)


@pytest.fixture(scope="module")
def one(demo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return update(tmp_path_factory.mktemp("one") / "out.pt", demo_folder / "policy", 1)


def farthest(first: dict[str, Any], second: dict[str, Any]) -> float:
    """The largest difference of any number."""
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def test_the_first_update_of_two_ranks_is_one_ranks(one: Any, demo_folder: Path, tmp_path: Path) -> None:
    two = update(tmp_path / "out.pt", demo_folder / "policy", 2)
    assert farthest(one["before"], two["before"]) == 0
    assert two["norm"] == pytest.approx(one["norm"], rel=1e-5)
    # Measured: 1e-8 of gradients of up to 0.1, in float32.
    assert farthest(one["gradients"], two["gradients"]) < 1e-6
    assert all(float(one["gradients"][name].abs().max()) > 0 for name in one["gradients"]), "a part is not trained"
    assert farthest(one["before"], one["after"]) > 1e-5
    # Adam's first step is the sign of the gradient: where that is all but 0, rounding decides.
    assert sum_of_differences(one["after"], two["after"]) < 1e-3 * sum_of_differences(one["before"], one["after"])


def sum_of_differences(first: dict[str, Any], second: dict[str, Any]) -> float:
    return sum(float((first[name] - second[name]).abs().sum()) for name in first)


def test_another_batch_gives_another_gradient(one: Any, demo_folder: Path, tmp_path: Path) -> None:
    """Or the comparison above would say nothing."""
    half = update(tmp_path / "out.pt", demo_folder / "policy", 1, ROWS // 2)
    assert abs(half["norm"] - one["norm"]) > 1e-2 * one["norm"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two_ranks")


@pytest.fixture(scope="module")
def trained(train: Callable[..., Any], checkpoints: Path) -> Any:
    return train(
        *TWO,
        "trainer.total_training_steps=3",
        "trainer.save_freq=3",
        "actor_rollout_ref.actor.optim.lr_warmup_steps=0",
        f"trainer.default_local_dir={checkpoints}",
        limit_s=500.0,
    )


def test_two_ranks_train_and_both_replicas_follow(trained: Any, checkpoints: Path) -> None:
    assert trained.end.returncode == 0, trained.log[-3000:]
    steps = [step for step in trained.steps if step.is_training]
    assert [step.number for step in steps] == [1, 2, 3]
    for step in steps:
        # A replica with the weights of an earlier step would sample by other probabilities than the actor's.
        assert step.data["training/rollout_probs_diff_mean"] < 5e-4
        assert step.data["actor/grad_norm"] > 0
    actor = checkpoints / "global_step_3" / "actor"
    assert sorted(path.name for path in actor.glob("model_*")) == [f"model_world_size_2_rank_{n}.pt" for n in (0, 1)]


def test_two_ranks_go_on(trained: Any, train: Callable[..., Any], checkpoints: Path) -> None:
    assert trained.end.returncode == 0
    resumed = train(
        *TWO,
        "trainer.total_training_steps=4",
        "trainer.resume_mode=auto",
        f"trainer.default_local_dir={checkpoints}",
        limit_s=500.0,
    )
    assert resumed.end.returncode == 0, resumed.log[-3000:]
    assert [step.number for step in resumed.steps if step.is_training] == [4]


def test_verl_does_not_go_on_with_another_number_of_ranks(
    trained: Any, train: Callable[..., Any], checkpoints: Path
) -> None:
    """It looks for files of its own number of ranks (fsdp_checkpoint_manager.py), and ends where there are none."""
    assert trained.end.returncode == 0
    alone = train(
        "trainer.total_training_steps=5",
        "trainer.resume_mode=auto",
        f"trainer.default_local_dir={checkpoints}",
        limit_s=300.0,
    )
    assert alone.end.returncode != 0
    assert "model_world_size_1_rank_0.pt" in alone.log


def test_two_ranks_make_one_model(trained: Any, checkpoints: Path, tmp_path: Path) -> None:
    """With it, one rank goes on after all: as a new run from the exported model, without the optimiser's state."""
    assert trained.end.returncode == 0
    words = [sys.executable, "-m", "medix_verl", "export", str(checkpoints), "--out", str(tmp_path / "model")]
    printed = subprocess.run(
        words, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert printed.returncode == 0, printed.stderr
    assert "bfloat16" in printed.stdout


def test_two_nodes(demo_folder: Path, tmp_path: Path) -> None:
    """A cluster that was there before: one rank and one replica on each of its nodes."""
    log, metrics = tmp_path / "train.log", tmp_path / "metrics.jsonl"
    words = [
        "+recipe=medix_cpu",
        f"medix.demo={demo_folder}",
        "trainer.nnodes=2",
        "trainer.n_gpus_per_node=1",
        "trainer.total_training_steps=2",
        "trainer.save_freq=2",
        "trainer.test_freq=-1",
        "trainer.val_before_train=false",
        "data.train_batch_size=4",
        "actor_rollout_ref.actor.ppo_mini_batch_size=4",
        "actor_rollout_ref.rollout.n=4",
        f"trainer.default_local_dir={tmp_path}/run",
        f"+ray_kwargs.ray_init.runtime_env.env_vars.VERL_FILE_LOGGER_PATH={metrics}",
    ]
    end = run_marked(
        [sys.executable, str(SCRIPT.with_name("two_nodes.py")), *words], log, {"PYTHONPATH": str(ROOT)}, 500
    )
    assert end.returncode == 0, log.read_text(errors="replace")[-3000:]
    assert [step.number for step in read_steps(metrics) if step.is_training] == [1, 2]
    actor = tmp_path / "run" / "global_step_2" / "actor"
    assert len(list(actor.glob("model_world_size_2_rank_*.pt"))) == 2
