# SPDX-License-Identifier: Apache-2.0
"""Add your own reward term: an answer of a few words scores higher than a long one. To train with it, in this folder:
    python -m verl.trainer.main_ppo +recipe=medix_cpu \
        '+reward.medix.terms.brevity={path: add_a_reward_term.py, name: Brevity, weight: 0.1, words: 6}'
In a recipe, add the entry to `reward.medix.terms`. A term of a package has the path pkg://PACKAGE.MODULE, or an entry
point in the group medix_verl.terms. Logs, dumps, reports, `score` and GDPO then include it.
"""

from medix_verl import CompositeReward, Reference, RewardSpec, Term
from medix_verl.rewards.term import Answer


class Brevity(Term):
    """1 for an answer of at most `words` words. Keep its weight small: a short guess gets 1 too."""

    name = "brevity"

    def __init__(self, words: int = 6) -> None:
        self.words = words

    async def score(self, answer: Answer) -> float:
        """Score 0 without an answer."""
        return float(0 < len((answer.text or "").split()) <= self.words)


if __name__ == "__main__":
    entry = {"path": __file__, "name": "Brevity", "weight": 0.1}
    reward = CompositeReward(RewardSpec.from_mapping({"semantic": {"enable": False}, "terms": {"brevity": entry}}))
    known = Reference("pneumothorax", synonyms=("air between the lung and the wall of the chest",))
    for text in ("Pneumothorax", "Air between the lung and the wall of the chest", "Fracture"):
        print(f"{text}: {reward.score_sync(f'<think>x</think><answer>{text}</answer>', known).score:.2f}")
    reward.close_sync()
