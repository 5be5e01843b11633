# SPDX-License-Identifier: Apache-2.0
"""MedixRewardManager: verl's reward manager over the composite reward.

A recipe selects it with `reward.reward_manager.{source: importlib, module.path: pkg://medix_verl.rewards.manager}`.
It translates between verl's DataProto and our types and does nothing else. An answer that cannot be scored raises
UnscoredError: verl's V1 trainer then drops that trajectory and, in sync mode, trains on its siblings (the async modes
replace the whole group), where a 0 would teach the policy that an outage is a wrong answer. Each failure is entered in
the run's ledger, under every policy; a run with too many is stopped.
"""

from __future__ import annotations

import logging
from typing import Any

from omegaconf import DictConfig, OmegaConf
from verl import DataProto
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from medix_verl.credentialed import is_credentialed
from medix_verl.errors import ConfigError, MedixError, UnscoredError
from medix_verl.rewards.composite import CompositeReward
from medix_verl.rewards.keys import to_verl
from medix_verl.rewards.ledger import report_fatal, report_unscored
from medix_verl.rewards.metrics import BusyClock
from medix_verl.rewards.reading import parse_ground_truth
from medix_verl.rewards.spec import RewardSpec
from medix_verl.types import Reference

__all__ = ["MedixRewardManager", "compute_score"]

_logger = logging.getLogger(__name__)


class MedixRewardManager(RewardManagerBase):
    """Scores one trajectory at a time; verl calls it concurrently in each of its `reward.num_workers` processes."""

    composite: type[CompositeReward] = CompositeReward
    """The reward; a subclass may name one of its own (see examples/add_a_reward_term.py)."""

    def __init__(
        self,
        config: DictConfig,
        tokenizer: Any,
        compute_score: Any = None,
        reward_router_address: str | None = None,
        reward_model_tokenizer: Any = None,
    ) -> None:
        super().__init__(config, tokenizer, compute_score)
        block: Any = OmegaConf.to_container(config.reward.get("medix") or OmegaConf.create({}), resolve=True)
        served_model = config.reward.reward_model.get("model_path")
        try:
            spec = RewardSpec.from_mapping(block)
            self.reward = self.composite.from_spec(spec, served_url=reward_router_address, served_model=served_model)
        except MedixError as error:
            # verl notices a reward process that could not start only when it is first asked, and not why.
            report_fatal(str(error))
            raise
        self.clock = BusyClock()

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Score the last output of one trajectory.

        Args:
            data: rows of one trajectory; batch `responses` (rows, length) and `attention_mask` (rows, prompt +
                response length), non-tensor `reward_model` and `extra_info` (dicts).

        Returns:
            `reward_score` in [0, 1] and `reward_extra_info`, always the same numeric keys.

        Raises:
            UnscoredError: the judge or the encoder failed on this answer.
            ConfigError: the row is credentialed and the judge is not local; the run is stopped.
        """
        item = data[-1:]
        self.clock.enter()
        try:
            breakdown = await self.reward.score(self._decode(item), _reference(item))
        except ConfigError as error:
            # To verl this is one trajectory that failed, and it would go on without it.
            report_fatal(str(error))
            report_unscored(str(error))
            raise
        finally:
            busy_s = self.clock.leave()
        if breakdown.reason:
            report_unscored(breakdown.reason)
        if breakdown.score is None:
            raise UnscoredError(f"answer {_sample_id(item)} is unscored: {breakdown.reason}")
        return {"reward_score": breakdown.score, "reward_extra_info": {**to_verl(breakdown), "reward_busy_s": busy_s}}

    def _decode(self, item: DataProto) -> str:
        responses = item.batch["responses"][0]
        length = int(item.batch["attention_mask"][0][-responses.shape[-1] :].sum())
        return str(self.tokenizer.decode(responses[:length], skip_special_tokens=True))


def compute_score(*_args: Any, **_kwargs: Any) -> float:
    """Never called. verl bypasses the reward manager of a run with a served judge unless a function is named.

    See verl/experimental/reward_loop/reward_loop.py, RewardLoopWorker.compute_score.
    """
    raise NotImplementedError("the score comes from MedixRewardManager.run_single")


def _reference(item: DataProto) -> Reference:
    extra = item.non_tensor_batch["extra_info"][0] or {}
    tolerance = extra.get("tolerance")
    return parse_ground_truth(
        str(item.non_tensor_batch["reward_model"][0]["ground_truth"]),
        modality=extra.get("modality"),
        question=extra.get("question"),
        synonyms=tuple(extra.get("synonyms") or ()),
        options=tuple(extra["options"]) if extra.get("options") else None,
        tolerance=None if tolerance is None else float(tolerance),
        credentialed_row=_credentialed_row(item),
    )


def _credentialed_row(item: DataProto) -> str | None:
    """What to call a row that no third party may see; None of others."""
    source = str(item.non_tensor_batch["data_source"][0]) if "data_source" in item.non_tensor_batch else None
    if not is_credentialed(source, item.non_tensor_batch["extra_info"][0] or {}):
        return None
    return f"row {_sample_id(item)!r} of {source or 'an unnamed data source'}"


def _sample_id(item: DataProto) -> str:
    extra = item.non_tensor_batch["extra_info"][0] or {}
    return str(extra.get("id", extra.get("index", "?")))
