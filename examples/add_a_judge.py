# SPDX-License-Identifier: Apache-2.0
"""A judge of one's own: whom it asks, `ask` and `close`. One that cannot tell says so, and nothing is scored 0.
Handed to CompositeReward as here; or a package offers it, as `side = "lab.judges:SideJudge"` in the entry point group
medix_verl.judges, and `judge.kind: side` and `--judge side` have it. It is then made with the recipe's judge section.
"""

from medix_verl import CompositeReward, Failure, JudgeSpec, Question, Reference, RewardSpec, SemanticSpec, Verdict


class SideJudge:
    """Right or wrong by the side that is named; no opinion where none is."""

    endpoints: tuple[str, ...] = ()  # asks nobody outside this process; a judge that does names its addresses here

    def __init__(self, spec: JudgeSpec | None = None) -> None:
        self.spec = spec

    async def ask(self, question: Question) -> Verdict:
        """Compare the sides."""
        texts = (question.candidate, question.reference.answer)
        sides = [{"left", "right"} & set(text.lower().split()) for text in texts]
        if not all(sides):
            return Verdict(None, "side", "no side is named", failure=Failure.UNREADABLE)
        return Verdict(sides[0] == sides[1], "side")

    async def close(self) -> None:
        """Nothing is held open."""


if __name__ == "__main__":
    reward = CompositeReward(RewardSpec(semantic=SemanticSpec(enable=False)), judge=SideJudge())
    for answer in ("in the left lung", "in the right lung", "in the lung"):
        made = reward.score_sync(f"<think>x</think><answer>{answer}</answer>", Reference("left lower lobe"))
        print(f"{answer}: {made.score} {made.reason}".rstrip())
    reward.close_sync()
