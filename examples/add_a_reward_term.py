# SPDX-License-Identifier: Apache-2.0
"""A further reward term: an answer of a few words scores more than a lecture. To train with it, from this folder:
    python -m verl.trainer.main_ppo +recipe=medix_cpu reward.reward_manager.name=BriefManager \
        reward.reward_manager.module.path=add_a_reward_term.py
"""

from dataclasses import replace

from medix_verl.embedding.spec import SemanticSpec
from medix_verl.rewards.composite import CompositeReward
from medix_verl.rewards.manager import MedixRewardManager
from medix_verl.rewards.spec import RewardSpec
from medix_verl.types import Reference, Response, RewardBreakdown

WEIGHT, WORDS = 0.2, 6


class BriefReward(CompositeReward):
    """The composite and a term for a short answer: for a right one only, or a short guess would pay."""

    async def score(self, response: str | Response, reference: Reference) -> RewardBreakdown:
        """An answer without a score stays without one."""
        made = await super().score(response, reference)
        term = (made.acc or 0.0) * (0 < len((made.answer or "").split()) <= WORDS)
        return made if made.score is None else replace(made, score=(1 - WEIGHT) * made.score + WEIGHT * term)


class BriefManager(MedixRewardManager):
    """What verl is given."""

    composite = BriefReward


if __name__ == "__main__":
    reward = BriefReward(RewardSpec(semantic=SemanticSpec(enable=False)))
    known = Reference("pneumothorax", synonyms=("air between the lung and the wall of the chest",))
    for text in ("Pneumothorax", "Air between the lung and the wall of the chest", "Fracture"):
        print(f"{text}: {reward.score_sync(f'<think>x</think><answer>{text}</answer>', known).score:.2f}")
    reward.close_sync()
