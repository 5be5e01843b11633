# SPDX-License-Identifier: Apache-2.0
"""The advantage estimator `medix_gdpo`, and how the terms reach it through an unmodified verl.

verl's V1 trainer hands an estimator nothing but the rewards of the tokens (verl/trainer/ppo/ray_trainer.py,
compute_advantage; its own `gdpo` asks for more and fails there). So the sampler writes what each term adds to the score
on a token of its own, the last ones of a response, and the estimator reads it from there. The sum over the tokens, and
with it each of verl's own metrics, stays what it was. Importing this file registers the estimator.

verl also gives an estimator no word of the recipe's terms. The sampler and the estimator are in one process, the
trainer's (verl/trainer/ppo/v1/trainer_base.py), so the sampler says it here, with `use`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import transfer_queue as tq
from tensordict import TensorDict
from verl.trainer.ppo.core_algos import register_adv_est

from medix_verl.errors import ConfigError
from medix_verl.rewards.composite import shares_of
from medix_verl.rewards.gdpo import Shares, advantages
from medix_verl.rewards.spec import ESTIMATOR, RewardSpec
from medix_verl.rewards.terms import BUILT_IN

__all__ = ["estimate", "split_scores", "use"]

_shares: list[Shares] = [shares_of(RewardSpec())]


def use(shares: Shares) -> None:
    """Say which terms the recipe of this process has."""
    _shares[:] = [shares]


def split_scores(keys: Sequence[str], partition_id: str, extras: Sequence[Mapping[str, float]], shares: Shares) -> None:
    """Rewrite the stored `rm_scores` of the trajectories so that each term stands on a token of its own.

    Args:
        keys: The trajectories.
        partition_id: Where they are.
        extras: Their reward extras, in the order of the keys.
        shares: The recipe's terms.
    """
    stored = tq.kv_batch_get(keys=list(keys), partition_id=partition_id, select_fields=["rm_scores"])["rm_scores"]
    rows = [place(row, shares.contributions(extra)) for row, extra in zip(stored, extras, strict=True)]
    fields = TensorDict({"rm_scores": torch.nested.as_nested_tensor(rows, layout=torch.jagged)}, batch_size=len(rows))
    tq.kv_batch_put(keys=list(keys), partition_id=partition_id, fields=fields)


def place(scores: torch.Tensor, parts: Sequence[float]) -> torch.Tensor:
    """One response's token scores, (length,), with the parts on its last tokens.

    A response shorter than the number of terms has no answer and is not well formed: what it can have scored is its
    modality and terms of one's own, which stand last. Whatever finds no token of its own is added to the first one.
    """
    placed = torch.zeros_like(scores, dtype=torch.float32)
    kept = min(len(placed), len(parts))
    placed[-kept:] = torch.tensor(parts[len(parts) - kept :], dtype=torch.float32)
    placed[0] += sum(parts[: len(parts) - kept])
    return placed


def take_parts(rewards: torch.Tensor, mask: torch.Tensor, terms: int) -> torch.Tensor:
    """The parts that `place` wrote, (answers, terms), from padded rewards and mask, both (answers, length)."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    lengths = ((mask > 0) * (positions + 1)).amax(dim=1)
    offsets = torch.arange(-terms, 0, device=mask.device)
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
        config: verl's `algorithm`; `gdpo_reward_weights` are the weights of the terms, all 1 where there are none.

    Returns:
        Advantages and returns, the same tensor, (answers, length).

    Raises:
        ConfigError: A KL penalty has been mixed into the rewards, or the weights are not one for each term.
    """
    options = config if config is not None else {}
    if options.get("use_kl_in_reward"):
        raise ConfigError("medix_gdpo cannot tell a KL penalty from the terms: type algorithm.use_kl_in_reward=false")
    (shares,) = _shares
    built_in = sum(name in BUILT_IN for name in shares.names)
    weights = shares.reward_weights(options.get("gdpo_reward_weights"), built_in)
    parts = take_parts(token_level_rewards, response_mask, len(weights)).double().cpu().numpy()
    tokens = response_mask.sum(dim=1).tolist()
    scalars = torch.as_tensor(advantages(parts, list(index), weights, tokens), dtype=token_level_rewards.dtype)
    found = scalars.to(response_mask.device).unsqueeze(1) * response_mask
    return found, found
