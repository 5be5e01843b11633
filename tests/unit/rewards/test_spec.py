# SPDX-License-Identifier: Apache-2.0
"""RewardSpec: the published rule by default, nested sections, and refusals that name the section."""

import pytest

from medix_verl.errors import ConfigError
from medix_verl.judge.spec import JudgeSpec
from medix_verl.rewards.spec import FailureSpec, RewardSpec, WeightsSpec


def test_the_published_rule_is_the_default() -> None:
    spec = RewardSpec.from_mapping({})
    assert spec == RewardSpec()
    assert (spec.weights.judge, spec.weights.semantic, spec.weights.modality) == (0.575, 0.375, 0.05)
    assert (spec.format_weight, spec.failure.max_share) == (0.1, 0.5)


def test_nested_sections() -> None:
    spec = RewardSpec.from_mapping(
        {"weights": {"judge": 1}, "judge": {"kind": "rule"}, "semantic": {"enable": False}, "failure": {"window": 9}}
    )
    assert spec.weights == WeightsSpec(judge=1)
    assert spec.judge == JudgeSpec()
    assert not spec.semantic.enable
    assert spec.failure == FailureSpec(window=9)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"weigths": {}}, "reward has an unknown key 'weigths'.*did you mean 'weights'"),
        ({"weights": {"judge": -0.1}}, "weights.judge is -0.1; set it to a finite number of at least 0"),
        ({"weights": {"judge": float("nan")}}, "weights.judge is nan"),
        ({"weights": {"semantic": float("inf")}}, "weights.semantic is inf"),
        ({"weights": {"judge": 0, "semantic": 0, "modality": 0}}, "weights are all 0; set at least one"),
        ({"weights": {"format": 0.1}}, "weights has an unknown key 'format'"),
        ({"weights": None}, "weights is None; it must be a mapping"),
        ({"format_weight": 1.5}, "format_weight is 1.5; .* at most 1"),
        ({"judge": {"kind": "x"}}, "judge.kind is 'x'"),
        ({"semantic": {"threshold": 2}}, "semantic.threshold is 2"),
        ({"failure": {"policy": "ignore"}}, "failure.policy is 'ignore'; accepted: drop, renormalise, abort"),
        ({"failure": {"max_share": -1}}, "failure.max_share is -1"),
        ({"failure": {"min_count": 0}}, "failure.min_count is 0"),
        ({"failure": {"window": 0}}, "failure.window is 0"),
        (3, "reward is 3; it must be a mapping"),
    ],
)
def test_refusals(section: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RewardSpec.from_mapping(section)  # type: ignore[arg-type]


def test_a_plain_dict_is_no_section() -> None:
    with pytest.raises(ConfigError, match="judge is {}; it must be a JudgeSpec"):
        RewardSpec(judge={})  # type: ignore[arg-type]
