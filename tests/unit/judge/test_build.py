# SPDX-License-Identifier: Apache-2.0
"""Which judge a spec becomes."""

import pytest
from medix_verl.judge.build import build_judge

from medix_verl.errors import ConfigError
from medix_verl.judge.pool import JudgePool
from medix_verl.judge.rule.judge import RuleJudge
from medix_verl.judge.spec import JudgeSpec


def test_rule() -> None:
    assert isinstance(build_judge(JudgeSpec()), RuleJudge)


def test_openai() -> None:
    judge = build_judge(JudgeSpec(kind="openai", url="http://host:1/v1/", model="m"))
    assert isinstance(judge, JudgePool)
    assert (judge.urls, judge.model) == (("http://host:1/v1/",), "m")


@pytest.mark.parametrize("served", ["10.0.0.1:80", "http://10.0.0.1:80/"])
def test_verl(served: str) -> None:
    judge = build_judge(JudgeSpec(kind="verl", url="http://unused/v1"), served_url=served, served_model="path/m")
    assert isinstance(judge, JudgePool)
    assert (judge.urls, judge.model) == (("http://10.0.0.1:80/v1",), "path/m")


@pytest.mark.parametrize(
    ("spec", "served", "message"),
    [
        (JudgeSpec(kind="openai", model="m"), None, "has no address; set judge.url"),
        (JudgeSpec(kind="openai", url="http://h/v1"), None, "has no model; set judge.model"),
        (JudgeSpec(kind="verl", model="m"), None, "verl serves no reward model; type reward.reward_model.enable=True"),
        (JudgeSpec(kind="verl"), "h:1", "the served model has no name; set judge.model"),
    ],
)
def test_what_is_missing(spec: JudgeSpec, served: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_judge(spec, served_url=served)
