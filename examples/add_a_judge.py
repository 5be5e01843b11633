# SPDX-License-Identifier: Apache-2.0
"""Add your own judge: `endpoints`, `ask` and `close`. A judge that cannot decide returns a failure, never a score of 0.
Pass it to CompositeReward as here, or offer it from a package by `side = "lab.judges:SideJudge"` in the entry point
group medix_verl.judges, for `judge.kind: side` and `--judge side`. It is then built with the recipe's judge section.
"""

from medix_verl import CompositeReward, Failure, JudgeSpec, Question, Reference, RewardSpec, SemanticSpec, Verdict


class SideJudge:
    """Compares the named side (left, right); a failure if a text names none."""

    endpoints: tuple[str, ...] = ()  # no requests; a judge that calls servers lists their addresses here

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
        """There are no resources to close."""


if __name__ == "__main__":
    reward = CompositeReward(RewardSpec(semantic=SemanticSpec(enable=False)), judge=SideJudge())
    for answer in ("in the left lung", "in the right lung", "in the lung"):
        made = reward.score_sync(f"<think>x</think><answer>{answer}</answer>", Reference("left lower lobe"))
        print(f"{answer}: {made.score} {made.reason}".rstrip())
    reward.close_sync()
