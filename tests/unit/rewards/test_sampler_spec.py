# SPDX-License-Identifier: Apache-2.0
"""What the sampler's block may hold, and what does not go together."""

import pytest

from medix_verl.errors import ConfigError
from medix_verl.rewards.spec import SamplerSpec, WeightsSpec

GDPO = {"adv_estimator": "medix_gdpo", "split_terms": True}


def test_a_recipes_block() -> None:
    spec = SamplerSpec.from_mapping(
        {**GDPO, "n": 5, "weights": {"judge": 1.0}, "filter_groups": {"enable": True, "metric": "acc"}}
    )
    assert (spec.n, spec.weights, spec.filter_metric) == (5, WeightsSpec(judge=1.0), "acc")
    assert SamplerSpec.from_mapping({"filter_groups": {"enable": False, "metric": "score"}}).filter_metric is None
    assert SamplerSpec.from_mapping({**GDPO, "rule": "medix"}).split_terms
    assert SamplerSpec.from_mapping({"adv_estimator": "grpo", "rule": "published"}).rule == "published"
    assert SamplerSpec.from_mapping({"adv_estimator": "grpo"}) == SamplerSpec(adv_estimator="grpo")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"nn": 1}, "sampler_kwargs has nn; accepted are n, val_n"),
        ({"filter_groups": {"enable": True, "metric": "score"}}, "filter_groups.metric=score is the composite.*type"),
        ({"failure_policy": "ignore"}, "failure.policy is 'ignore'; accepted: drop, renormalise, abort"),
        ({"adv_estimator": "medix_gdpo"}, r"need each other; type \+recipe=medix_gdpo"),
        ({"adv_estimator": "grpo", "split_terms": True}, "adv_estimator=grpo with split_terms=True"),
        ({**GDPO, "failure_policy": "renormalise"}, "a term that failed for one that scored 0: type .*policy=drop"),
        (
            {**GDPO, "rule": "published"},
            "all of its score booked as one term: type reward.medix.rule=medix, or .*=grpo",
        ),
        ({"rule": "release"}, "reward.medix.rule is 'release'; accepted: medix, published"),
        ({**GDPO, "use_kl_in_reward": True}, "type algorithm.use_kl_in_reward=false"),
        ({"weights": {"jugde": 1}}, "weights has an unknown key 'jugde'"),
    ],
)
def test_refusals(block: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SamplerSpec.from_mapping(block)
