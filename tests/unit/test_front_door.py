# SPDX-License-Identifier: Apache-2.0
"""The front door: a few names, nothing heavy behind them, and a plain error for another one."""

import subprocess
import sys

import pytest

import medix_verl

HEAVY = ("torch", "ray", "verl", "transformers", "sentence_transformers", "aiohttp", "numpy", "hydra")


def test_all_is_sorted_and_every_name_is_there() -> None:
    assert medix_verl.__all__ == sorted(medix_verl.__all__)
    assert set(medix_verl.__all__) == {
        *("CompositeReward", "Response", "RewardBreakdown", "__version__", "parse_response"),
        *("Failed", "Failure", "Judge", "JudgeSpec", "Question", "Reference", "RewardSpec", "Sample", "SemanticSpec"),
        *("Term", "Verdict", "evaluate"),
    }
    assert all(getattr(medix_verl, name) is not None for name in medix_verl.__all__)
    assert set(medix_verl.__all__) <= set(dir(medix_verl))


def test_importing_and_scoring_loads_nothing_heavy() -> None:
    code = (
        "import sys, medix_verl\n"
        "from medix_verl import CompositeReward, RewardBreakdown, Response, parse_response\n"
        "from medix_verl.types import Reference\n"
        "reward = CompositeReward()\n"
        "assert reward.score_sync('<think>t</think><answer>a</answer>', Reference('a')).score == 1.0\n"
        "reward.close_sync()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Composite'; it offers CompositeReward"):
        _ = medix_verl.Composite
