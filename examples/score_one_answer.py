# SPDX-License-Identifier: Apache-2.0
"""Score one answer with the training reward, itemised by term, without a model or a server."""

from medix_verl import CompositeReward, parse_response
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.rewards.spec import RewardSpec
from medix_verl.types import Reference

TEXT = "<X_RAY> <think>Blunted angle on the left.</think> <answer>a pleural effusion</answer>"


def main() -> None:
    reward = CompositeReward(RewardSpec(semantic=SemanticSpec(enable=False)))
    reference = Reference(answer="Pleural effusion.", modality="X_RAY", question="What is abnormal?")
    breakdown = reward.score_sync(TEXT, reference)
    reward.close_sync()
    print(parse_response(TEXT))
    for name in ("score", "judge", "semantic", "modality", "format"):
        print(f"{name:9} {getattr(breakdown, name)}")


if __name__ == "__main__":
    main()
