# SPDX-License-Identifier: Apache-2.0
"""A judge of one's own: whom it asks, `ask` and `close`. One that cannot tell says so, and nothing is scored 0.

Handed to CompositeReward as here, or named in a recipe: a package with this entry point makes `judge.kind: side` work
in training, and `--judge side` in `medix-verl score`, `evaluate` and `audit-judge`. `from_spec` gets the recipe's
judge section, with `options` for what is its own.

    [project.entry-points."medix_verl.judges"]
    side = "lab.judges:from_spec"
"""

import asyncio

from medix_verl import CompositeReward
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.judge.judge import Question
from medix_verl.judge.spec import JudgeSpec
from medix_verl.rewards.spec import RewardSpec
from medix_verl.types import Failure, Reference, Verdict


class SideJudge:
    """Right or wrong by the side that is named; no opinion where none is."""

    endpoints: tuple[str, ...] = ()  # asks nobody outside this process; a judge that does names its addresses here

    async def ask(self, question: Question) -> Verdict:
        """Compare the sides."""
        texts = (question.candidate, question.reference.answer)
        sides = [{"left", "right"} & set(text.lower().split()) for text in texts]
        if not all(sides):
            return Verdict(None, "side", "no side is named", failure=Failure.UNREADABLE)
        return Verdict(sides[0] == sides[1], "side")

    async def close(self) -> None:
        """Nothing is held open."""


def from_spec(spec: JudgeSpec) -> SideJudge:
    """What the entry point names."""
    return SideJudge()


async def main() -> None:
    reward = CompositeReward(RewardSpec(semantic=SemanticSpec(enable=False)), judge=SideJudge())
    for answer in ("in the left lung", "in the right lung", "in the lung"):
        breakdown = await reward.score(f"<think>x</think><answer>{answer}</answer>", Reference("left lower lobe"))
        print(f"{answer}: {breakdown.score} {breakdown.reason}".rstrip())
    await reward.close()


if __name__ == "__main__":
    asyncio.run(main())
