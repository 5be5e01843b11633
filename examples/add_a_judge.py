# SPDX-License-Identifier: Apache-2.0
"""A judge of one's own: anything with `ask` and `close`. One that cannot tell says so, and nothing is scored 0."""

import asyncio

from medix_verl import CompositeReward
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.rewards.spec import RewardSpec
from medix_verl.types import Reference, Verdict


class SideJudge:
    """Right or wrong by the side that is named; no opinion where none is."""

    async def ask(self, candidate: str, reference: Reference) -> Verdict:
        """Compare the sides."""
        sides = [{"left", "right"} & set(text.lower().split()) for text in (candidate, reference.answer)]
        if not all(sides):
            return Verdict(None, "side", "no side is named")
        return Verdict(sides[0] == sides[1], "side")

    async def close(self) -> None:
        """Nothing is held open."""


async def main() -> None:
    reward = CompositeReward(RewardSpec(semantic=SemanticSpec(enable=False)), judge=SideJudge())
    for answer in ("in the left lung", "in the right lung", "in the lung"):
        breakdown = await reward.score(f"<think>x</think><answer>{answer}</answer>", Reference("left lower lobe"))
        print(f"{answer}: {breakdown.score} {breakdown.reason}".rstrip())
    await reward.close()


if __name__ == "__main__":
    asyncio.run(main())
