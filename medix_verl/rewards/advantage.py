# SPDX-License-Identifier: Apache-2.0
"""The advantage estimator `medix_gdpo`, and how the terms reach it through an unmodified verl.

verl's V1 trainer hands an estimator nothing but the rewards of the tokens (verl/trainer/ppo/ray_trainer.py,
compute_advantage; its own `gdpo` asks for more and fails there). So the sampler writes what each term adds to the score
on a token of its own, the last four of a response, and the estimator reads it from there. The sum over the tokens, and
with it each of verl's own metrics, stays what it was. Importing this file registers the estimator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import transfer_queue as tq
from tensordict import TensorDict
from verl.trainer.ppo.core_algos import register_adv_est

from medix_verl.errors import ConfigError
from medix_verl.rewards.gdpo import TERMS, advantages, contributions
from medix_verl.rewards.sampler_spec import ESTIMATOR
from medix_verl.rewards.spec import WeightsSpec

__all__ = ["estimate", "split_scores"]


def split_scores(
    keys: Sequence[str],
    partition_id: str,
    extras: Sequence[Mapping[str, float]],
    weights: WeightsSpec,
    format_weight: float,
) -> None:
    """Rewrite the stored `rm_scores` of the trajectories so that each term stands on a token of its own.

    Args:
        keys: The trajectories.
        partition_id: Where they are.
        extras: Their reward extras, in the order of the keys.
        weights: The recipe's.
        format_weight: The recipe's.
    """
    stored = tq.kv_batch_get(keys=list(keys), partition_id=partition_id, select_fields=["rm_scores"])["rm_scores"]
    rows = [place(row, contributions(weights, format_weight, extra)) for row, extra in zip(stored, extras, strict=True)]
    fields = TensorDict({"rm_scores": torch.nested.as_nested_tensor(rows, layout=torch.jagged)}, batch_size=len(rows))
    tq.kv_batch_put(keys=list(keys), partition_id=partition_id, fields=fields)


def place(scores: torch.Tensor, parts: Sequence[float]) -> torch.Tensor:
    """One response's token scores, (length,), with the parts on its last tokens.

    A response shorter than the number of terms has no answer and is not well formed: all that it can have scored is
    its modality, which has the last token anyway.
    """
    placed = torch.zeros_like(scores, dtype=torch.float32)
    if len(placed) < len(parts):
        placed[-1] = sum(parts)
    else:
        placed[-len(parts) :] = torch.tensor(parts, dtype=torch.float32)
    return placed


def take_parts(rewards: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The parts that `place` wrote, (answers, terms), from padded rewards and mask, both (answers, length)."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    lengths = ((mask > 0) * (positions + 1)).amax(dim=1)
    offsets = torch.arange(-len(TERMS), 0, device=mask.device)
    index = lengths.unsqueeze(1) + offsets
    parts = rewards.gather(1, index.clamp(min=0))
    return torch.where(index >= 0, parts, torch.zeros_like(parts))


@register_adv_est(ESTIMATOR)
def estimate(
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    index: Any = None,
    config: Any = None,
    **_kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """verl's interface of an advantage estimator.

    Args:
        token_level_rewards: (answers, length), with the parts on the last tokens.
        response_mask: (answers, length), 1 for trained tokens.
        index: The prompt of each answer, (answers,).
        config: verl's `algorithm`; `gdpo_reward_weights` are the weights of TERMS, all 1 where there are none.

    Returns:
        Advantages and returns, the same tensor, (answers, length).

    Raises:
        ConfigError: A KL penalty has been mixed into the rewards, or the weights are not four.
    """
    options = config if config is not None else {}
    if options.get("use_kl_in_reward"):
        raise ConfigError("medix_gdpo cannot tell a KL penalty from the terms: type algorithm.use_kl_in_reward=false")
    weights = [float(weight) for weight in options.get("gdpo_reward_weights") or [1.0] * len(TERMS)]
    if len(weights) != len(TERMS):
        raise ConfigError(
            f"algorithm.gdpo_reward_weights has {len(weights)} numbers; give one for each of {', '.join(TERMS)}"
        )
    parts = take_parts(token_level_rewards, response_mask).double().cpu().numpy()
    tokens = response_mask.sum(dim=1).tolist()
    scalars = torch.as_tensor(advantages(parts, list(index), weights, tokens), dtype=token_level_rewards.dtype)
    found = scalars.to(response_mask.device).unsqueeze(1) * response_mask
    return found, found
