# SPDX-License-Identifier: Apache-2.0
"""The walk of one answer in the reward's README: every file of it is there, and one answer meets no other file."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import medix_verl
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.judge.mock import MockJudge
from medix_verl.judge.spec import JudgeSpec
from medix_verl.rewards.composite import CompositeReward
from medix_verl.rewards.keys import to_verl
from medix_verl.rewards.metrics import part_lines, part_metrics
from medix_verl.rewards.reading import parse_ground_truth
from medix_verl.rewards.spec import RewardSpec

PACKAGE = Path(medix_verl.__file__).parent
README = PACKAGE / "rewards" / "README.md"
MOST = 40
"""Files of the walk. It was 30 when terms became objects; since then an answer also meets the reader of choices, the
guard against alternatives, the pace of a slowed server, the state of the thinking, and the contrast of two answers."""
DEFINITIONS = {
    "types.py",
    "credentialed.py",
    "judge/mock.py",
    "judge/spec.py",
    "judge/stats.py",
    "embedding/hashing.py",
}
"""Shapes and settings, the test's own server, and the encoder that stands for the model here."""


def walk() -> set[str]:
    """The files that the README's table names."""
    table = README.read_text(encoding="utf-8").split("## The walk of one answer")[1].split("\n\n")[1]
    return set(re.findall(r"`([\w/]+\.py)`", table))


def test_the_walk_is_short_and_its_files_are_there() -> None:
    assert len(walk()) <= MOST
    assert [name for name in walk() if not (PACKAGE / name).is_file()] == []


def test_one_answer_meets_no_other_file() -> None:
    met: set[str] = set()

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(str(PACKAGE)):
            met.add(Path(path).relative_to(PACKAGE).as_posix())

    async def main() -> None:
        async with MockJudge() as mock:
            judge = JudgeSpec(kind="openai", url=mock.url, model="m")
            reward = CompositeReward(RewardSpec(judge=judge, semantic=SemanticSpec(kind="hashing")))
            await reward.score("<think>t</think><answer>warm up</answer>", parse_ground_truth("something else"))
            sys.setprofile(note)
            try:
                known = parse_ground_truth("<X_RAY> left pleural effusion", question="What is seen on this film?")
                answer = "<X_RAY><think>t</think><answer>an effusion on the left</answer>"
                row = to_verl(await reward.score(answer, known))
                part_metrics([row])
                part_lines(["a_0_0"], [row], [{}], ["s"])
            finally:
                sys.setprofile(None)
            await reward.close()

    asyncio.run(main())
    assert {"rewards/composite.py", "judge/pool.py", "openai_client/client.py"} <= met
    assert met - walk() - DEFINITIONS == set()
