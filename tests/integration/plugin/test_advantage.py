# SPDX-License-Identifier: Apache-2.0
"""The estimator `medix_gdpo` in verl: found by name, fed by verl's code, equal to upstream's gdpo, trained with."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from verl import DataProto
from verl.trainer.ppo.core_algos import compute_gdpo_outcome_advantage, get_adv_estimator_fn
from verl.trainer.ppo.utils import need_critic
from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories

from medix_verl.errors import ConfigError
from medix_verl.rewards import advantage
from medix_verl.rewards.advantage import estimate, place, take_parts
from medix_verl.rewards.composite import shares_of
from medix_verl.rewards.spec import RewardSpec

pytestmark = pytest.mark.timeout(500)
LENGTHS = [9, 6, 7, 4, 5, 8, 9, 4]
WIDTH = 10
SHARES = shares_of(RewardSpec())
TERMS = SHARES.names


@pytest.fixture
def parts() -> torch.Tensor:
    return torch.rand((len(LENGTHS), len(TERMS)), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mask() -> torch.Tensor:
    return (torch.arange(WIDTH) < torch.tensor(LENGTHS).unsqueeze(1)).long()


def on_tokens(parts: torch.Tensor) -> torch.Tensor:
    rewards = torch.zeros(len(LENGTHS), WIDTH)
    for row, length in enumerate(LENGTHS):
        rewards[row, :length] = place(torch.zeros(length), parts[row].tolist())
    return rewards


def groups() -> np.ndarray:
    return np.array(["a"] * 4 + ["b"] * 4, dtype=object)


def test_verl_knows_the_name_and_wants_no_critic() -> None:
    assert get_adv_estimator_fn("medix_gdpo") is estimate
    config = OmegaConf.create({"critic": {"enable": None}, "algorithm": {"adv_estimator": "medix_gdpo"}})
    with pytest.warns(UserWarning, match="Disabled critic"):
        assert need_critic(config) is False


def test_parts_survive_the_tokens(parts: torch.Tensor, mask: torch.Tensor) -> None:
    rewards = on_tokens(parts)
    assert torch.equal(take_parts(rewards, mask, len(TERMS)), parts)
    assert torch.allclose(rewards.sum(dim=1), parts.sum(dim=1))


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_response_too_short_for_its_terms_keeps_its_score(length: int) -> None:
    placed = place(torch.zeros(length), [0.0, 0.0, 0.0, 0.045])
    assert placed[-1].item() == pytest.approx(0.045)
    found = take_parts(placed.unsqueeze(0), torch.ones(1, length, dtype=torch.long), len(TERMS))
    assert found.tolist()[0] == pytest.approx([0.0, 0.0, 0.0, 0.045])


def test_the_same_as_verls_own_estimator(parts: torch.Tensor, mask: torch.Tensor) -> None:
    """verl's takes the terms from its V0 batch; it whitens with a divisor of one token less."""
    weights = [0.5, 0.3, 0.1, 0.1]
    options = OmegaConf.create({"gdpo_reward_keys": list(TERMS), "gdpo_reward_weights": weights})
    theirs, _ = compute_gdpo_outcome_advantage(
        on_tokens(parts),
        mask,
        groups(),
        config=options,
        non_tensor_batch={name: parts[:, place].numpy() for place, name in enumerate(TERMS)},
        batch={
            "prompts": torch.zeros(len(LENGTHS), 2),
            "attention_mask": torch.cat([torch.ones_like(mask[:, :2]), mask], dim=1),
        },
    )
    ours, returns = estimate(
        on_tokens(parts), mask, groups(), config=OmegaConf.create({"gdpo_reward_weights": weights})
    )
    tokens = sum(LENGTHS)
    assert torch.allclose(ours * math.sqrt((tokens - 1) / tokens), theirs, atol=1e-4)
    assert torch.equal(ours, returns)
    assert (ours[mask == 0] == 0).all()


def test_through_verls_v1_code(parts: torch.Tensor, mask: torch.Tensor) -> None:
    data = DataProto.from_dict(
        {"token_level_rewards": on_tokens(parts), "response_mask": mask}, non_tensors={"uid": groups()}
    )
    keys = [f"{uid}_{row}_0" for row, uid in enumerate(groups())]
    config = OmegaConf.create({"use_kl_in_reward": False})
    found = compute_advantage_for_multi_trajectories(data, keys, adv_estimator="medix_gdpo", config=config)
    assert torch.equal(found.batch["advantages"], estimate(on_tokens(parts), mask, groups())[0])


def test_refusals(parts: torch.Tensor, mask: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match="type algorithm.use_kl_in_reward=false"):
        estimate(on_tokens(parts), mask, groups(), config={"use_kl_in_reward": True})
    with pytest.raises(ConfigError, match="has 2 numbers; give one for each of judge, semantic, format, modality"):
        estimate(on_tokens(parts), mask, groups(), config={"gdpo_reward_weights": [1, 1]})


def test_stored_scores_are_split(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    stored = torch.nested.as_nested_tensor(
        [torch.tensor([0, 0, 0, 0, 0.6625]), torch.tensor([0.0])], layout=torch.jagged
    )
    written: dict[str, Any] = {}
    queue = SimpleNamespace(
        kv_batch_get=lambda **_: {"rm_scores": stored}, kv_batch_put=lambda **arguments: written.update(arguments)
    )
    monkeypatch.setattr(advantage, "tq", queue)
    right = {"score": 0.6625, "judge": 1.0, "judge_ok": 1.0, "semantic": 0.0, "semantic_ok": 1.0}
    right.update({"format": 1.0, "modality": 1.0, "modality_applies": 1.0})
    wrong = {**right, "score": 0.0, "judge": 0.0, "format": 0.0, "modality": 0.0}
    advantage.split_scores(["u_0_0", "u_1_0"], "train", [right, wrong], SHARES)
    first, second = written["fields"]["rm_scores"]
    assert first.tolist() == pytest.approx([0.0, 0.5175, 0.0, 0.1, 0.045])
    assert second.tolist() == [0.0]
    assert (written["keys"], written["partition_id"]) == (["u_0_0", "u_1_0"], "train")
    assert not caplog.records
    advantage.split_scores(["u_0_0", "u_1_0"], "train", [right, {**right, "score": 0.5175, "format": 0.0}], SHARES)
    assert "1 of 2 answers have a score and fewer tokens than there are terms (judge, semantic" in caplog.text


@pytest.mark.long
def test_two_steps_of_training(train: Callable[..., Any]) -> None:
    run = train(
        "trainer.total_training_steps=2",
        "algorithm.adv_estimator=medix_gdpo",
        "trainer.v1.sampler.sampler_kwargs.split_terms=true",
    )
    assert run.end.returncode == 0, run.log[-3000:]
    training = [step for step in run.steps if step.is_training]
    assert [step.number for step in training] == [1, 2]
    for step in training:
        assert step.data["medix/score/mean"] == pytest.approx(step.data["critic/score/mean"], abs=1e-5)
        assert step.data["critic/advantages/mean"] == pytest.approx(0.0, abs=1e-4)
        assert math.isfinite(step.data["actor/grad_norm"])


@pytest.mark.long
def test_one_switch_without_the_other_is_refused(train: Callable[..., Any]) -> None:
    run = train("algorithm.adv_estimator=medix_gdpo")
    assert run.end.returncode == 1
    assert "need each other; type +recipe=medix_gdpo" in run.log
