# SPDX-License-Identifier: Apache-2.0
"""Settings of a judge: what would do nothing is refused, what changes a verdict is in the manifest."""

from pathlib import Path
from typing import Any

import pytest

from medix_verl.errors import ConfigError
from medix_verl.evaluation.assemble import TaskChoices, alone
from medix_verl.evaluation.grading import judge_settings as judge_facts
from medix_verl.evaluation.grading.judge_settings import check_judging, facts_of_judging, judge_specs, judgeable
from medix_verl.evaluation.grading.spec import ProtocolSpec
from medix_verl.evaluation.tasks.table import find
from medix_verl.judge.judge import GuardedJudge, Question
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Verdict

SERVED = {"kind": "openai", "url": "http://127.0.0.1:1/v1", "model": "q"}
RUBRIC, PLAIN = find("healthbench"), find("medqa")


@pytest.mark.parametrize(
    ("settings", "protocol", "flag"),
    [
        ({**SERVED, "prompt": "reference"}, "published", "judge.prompt"),
        ({**SERVED, "soft": True}, "published", "judge.soft"),
        ({**SERVED, "swap": True}, "published", "judge.swap"),
        ({**SERVED, "guard": False}, "published", "judge.guard"),
        ({**SERVED, "soft": True}, "robust", "judge.soft"),
        ({**SERVED, "swap": False}, "robust", "judge.swap"),
        ({"kind": "rule", "guard": False}, "robust", "judge.guard"),
        ({"structured": "none"}, "published", "judge.structured"),
        ({"api_key_env": "KEY"}, "published", "judge.api_key_env"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(settings: dict[str, Any], protocol: str, flag: str) -> None:
    with pytest.raises(ConfigError, match=f"{flag} was given and would do nothing"):
        check_judging(settings, ProtocolSpec(protocol))


def test_rounds_of_the_rule_judge_are_refused() -> None:
    with pytest.raises(ConfigError, match='protocol.rounds=3 was given with judge.kind="rule"'):
        check_judging({}, ProtocolSpec("robust", rounds=3))


def test_what_is_used_is_accepted() -> None:
    check_judging({}, ProtocolSpec("published"))
    check_judging({**SERVED, "structured": "none"}, ProtocolSpec("published", rounds=1))
    check_judging({**SERVED, "prompt": "reference", "guard": False}, ProtocolSpec("robust", swap=False))


def test_the_manifest_says_what_changes_a_verdict(tmp_path: Path) -> None:
    def said(protocol: ProtocolSpec, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = facts_of_judging(judge_specs({**SERVED, **more}), protocol)["judge"]
        return found

    assert said(ProtocolSpec("published"), structured="none") == {
        "kind": "openai",
        "model": ["q"],
        "structured": "none",
    }
    plain = said(ProtocolSpec("robust"))
    assert (plain["prompt"], plain["structured"], plain["swap"], plain["guard"]) == ("reference", "choice", True, True)
    assert not said(ProtocolSpec("robust", swap=False), guard=False)["swap"]
    own = tmp_path / "own.txt"
    texts = [f"{word} {{question}} {{reference}} {{candidate}} {{fence}}" for word in ("One", "Two")]
    digests = []
    for text in texts:
        own.write_text(text)
        digests.append(said(ProtocolSpec("robust"), prompt=str(own))["prompt_sha256"])
    assert digests[0] != digests[1] and said(ProtocolSpec("robust"), prompt=str(own))["prompt"] == str(own)
    assert facts_of_judging(judge_specs({}), ProtocolSpec("robust"))["judge"] == {"kind": "rule", "model": []}


def test_what_a_request_has_is_in_the_manifest_where_it_was_set() -> None:
    more = {"max_tokens": 900, "extra_body": {"top_k": 1}}
    for name in ("published", "robust"):
        plain, other = (
            facts_of_judging(judge_specs({**SERVED, **given}), ProtocolSpec(name))["judge"] for given in ({}, more)
        )
        assert not set(more) & set(plain), "those of before can be resumed"
        assert {key: other[key] for key in more} == more
    with pytest.raises(ConfigError, match="judge.max_tokens was given and would do nothing: the rule judge asks no"):
        check_judging({"kind": "rule", "max_tokens": 9}, ProtocolSpec("robust"))


def test_a_rubric_is_nothing_for_the_rule_judge() -> None:
    lines: list[str] = []
    assert judgeable([PLAIN, RUBRIC], {}, lines.append) == [PLAIN]
    assert lines == ['healthbench: left out, the rule judge cannot read a rubric (judge.kind="openai" can)']
    with pytest.raises(
        ConfigError, match='healthbench is graded by rubric.*judge.kind="openai" judge.url=URL judge.model=NAME'
    ):
        judgeable([RUBRIC], {}, lines.append)
    assert judgeable([PLAIN, RUBRIC], SERVED, lines.append) == [PLAIN, RUBRIC] and len(lines) == 1


class OnlyVerdicts:
    """The judge of another package, which cannot be talked to."""

    endpoints = ()

    async def ask(self, question: Question) -> Verdict:
        return Verdict(True, "own")

    async def close(self) -> None: ...


def test_nor_are_grades_for_the_judge_of_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_facts, "judge_specs", lambda settings: [JudgeSpec()])
    monkeypatch.setattr(judge_facts, "build_judge", lambda spec: GuardedJudge(OnlyVerdicts()))
    lines: list[str] = []
    report = find("mimic_cxr_report_generation")
    assert judgeable([PLAIN, RUBRIC, report], {"kind": "lab"}, lines.append) == [PLAIN]
    assert lines == [
        "healthbench, mimic_cxr_report_generation: left out, the lab judge cannot read a rubric or grade of 0 to 5 "
        '(judge.kind="openai" can)'
    ]
    check_judging({"kind": "lab", "prompt": "x"}, ProtocolSpec("published"))


def test_inspect_eval_refuses_it_too() -> None:
    with pytest.raises(ConfigError, match="healthbench is graded by rubric"):
        alone(RUBRIC, None, {"kind": "rule"}, TaskChoices())
