# SPDX-License-Identifier: Apache-2.0
"""The advantage estimator `medix_gdpo`, and the transfer of the terms to it through unmodified verl.

verl's V1 trainer passes an estimator only the rewards of the tokens (verl/trainer/ppo/ray_trainer.py,
compute_advantage; its own `gdpo` needs more and fails there). So the sampler writes each term's contribution to the
score on its own token, at the end of a response, and the estimator reads it from there. The sum over the tokens does
not change, nor do verl's own metrics. Importing this file registers the estimator.

verl does not pass the recipe's terms to an estimator either. The sampler and the estimator run in the trainer's process
(verl/trainer/ppo/v1/trainer_base.py), so the sampler sets them here, with `use`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import transfer_queue as tq
from tensordict import TensorDict
from verl.trainer.ppo.core_algos import register_adv_est

from medix_verl.errors import ConfigError
from medix_verl.rewards.composite import shares_of
from medix_verl.rewards.gdpo import EPSILON, Shares, advantages
from medix_verl.rewards.spec import ESTIMATOR, RewardSpec
from medix_verl.rewards.terms import BUILT_IN

__all__ = ["estimate", "split_scores", "use"]

_logger = logging.getLogger(__name__)
_shares: list[Shares] = [shares_of(RewardSpec())]


def use(shares: Shares) -> None:
    """Set the recipe's terms for this process."""
    _shares[:] = [shares]


def split_scores(keys: Sequence[str], partition_id: str, extras: Sequence[Mapping[str, float]], shares: Shares) -> None:
    """Rewrite the stored `rm_scores` of the trajectories so that each term has its own token.

    Args:
        keys: The trajectories.
        partition_id: Their partition.
        extras: Their reward extras, in the order of the keys.
        shares: The recipe's terms.
    """
    stored = tq.kv_batch_get(keys=list(keys), partition_id=partition_id, select_fields=["rm_scores"])["rm_scores"]
    parts = [shares.contributions(extra) for extra in extras]
    rows = [place(row, own) for row, own in zip(stored, parts, strict=True)]
    if crowded := sum(is_crowded(len(row), own) for row, own in zip(rows, parts, strict=True)):
        _logger.warning("%d of %d answers have a score and fewer tokens than there are terms (%s): part of it counts "
                        "as another term; take a term out, or type algorithm.adv_estimator=grpo and "
                        "trainer.v1.sampler.sampler_kwargs.split_terms=false",
                        crowded, len(rows), ", ".join(shares.names))  # fmt: skip
    fields = TensorDict({"rm_scores": torch.nested.as_nested_tensor(rows, layout=torch.jagged)}, batch_size=len(rows))
    tq.kv_batch_put(keys=list(keys), partition_id=partition_id, fields=fields)


def place(scores: torch.Tensor, parts: Sequence[float]) -> torch.Tensor:
    """One response's token scores, (length,), with the terms' contributions on its last tokens.

    A response shorter than the number of terms hardly contains an answer and is not well formed (by the rule `medix`;
    SamplerSpec refuses the published one). It can only score in its modality and the user's own terms, which come last.
    A contribution without its own token is added to the first token, and `split_scores` warns of it.
    """
    placed = torch.zeros_like(scores, dtype=torch.float32)
    kept = min(len(placed), len(parts))
    placed[-kept:] = torch.tensor(parts[len(parts) - kept :], dtype=torch.float32)
    placed[0] += sum(parts[: len(parts) - kept])
    return placed


def is_crowded(tokens: int, parts: Sequence[float]) -> bool:
    """Whether a nonzero contribution has no own token in a response of `tokens` tokens."""
    return any(abs(part) > EPSILON for part in parts[: max(0, len(parts) - tokens)])


def take_parts(rewards: torch.Tensor, mask: torch.Tensor, terms: int) -> torch.Tensor:
    """The contributions that `place` wrote, (answers, terms), from padded rewards and mask, both (answers, length)."""
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
        token_level_rewards: (answers, length), with the terms' contributions on the last tokens.
        response_mask: (answers, length), 1 for trained tokens.
        index: The prompt of each answer, (answers,).
        config: verl's `algorithm`; `gdpo_reward_weights` are the weights of the terms, all 1 if not set.

    Returns:
        Advantages and returns, the same tensor, (answers, length).

    Raises:
        ConfigError: A KL penalty was added to the rewards, or the number of weights does not match.
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
