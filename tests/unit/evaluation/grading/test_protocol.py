# SPDX-License-Identifier: Apache-2.0
"""The two protocols: what is asked, how votes become a value, and what is left unscored."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import judges as fake
from helpers.places import golden
from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.grading.protocol import OVERLAP, Outcome, Protocol, rubric_value, word_overlap
from medix_verl.evaluation.grading.spec import ProtocolSpec, build_protocol, build_voters
from medix_verl.evaluation.grading.subjects import Criterion
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Sample, Verdict

Scripted, Answering, voters, DOWN = fake.Scripted, fake.Answering, fake.voters, fake.DOWN
CASES = golden("judging")
PUBLISHED, ROBUST = ProtocolSpec("published"), ProtocolSpec("robust")
SAMPLE = Sample("1", "s", "What is seen?", "pneumonia")
REPORT = Sample("r", "s", "Write a report.", "The lungs are clear.")
ITEMS = [
    {"criterion": "Names it", "points": 6},
    {"criterion": "Warns", "points": 2},
    {"criterion": "Errs", "points": -4},
]
HEALTH = Sample("h", "healthbench", "It hurts.", "x", meta={"rubrics": ITEMS})
MODEL = JudgeSpec(kind="openai", url="http://127.0.0.1:9/v1", model="m")


def judge(
    spec: ProtocolSpec, judges: Any, response: str = "an infection", sample: Sample = SAMPLE, metric: str = "binary"
) -> Outcome:
    made = judges if isinstance(judges, list) else [judges]
    return asyncio.run(Protocol(spec, voters(*made)).judge(sample, response, metric))


def score(value: float) -> str:
    return json.dumps({"score": value})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["reason"])
@pytest.mark.parametrize("spec", [PUBLISHED, ROBUST], ids=lambda spec: spec.name)
def test_golden_with_the_rule_judge(case: dict[str, Any], spec: ProtocolSpec) -> None:
    sample = Sample("1", "s", "What is seen?", case["answer"], options=tuple(case.get("options", ())) or None)
    outcome = asyncio.run(build_protocol(spec, [JudgeSpec()]).judge(sample, case["response"]))
    assert (outcome.value, outcome.reason) == (case["value"], case["said"])


@pytest.mark.parametrize(
    ("replies", "value"),
    [((1, 1, 0), 1.0), ((1, 0, 0), 0.0), ((0, 1, 1), 1.0), ((1, 1, 1), 1.0), ((0, 0, 0), 0.0)],
)
def test_published_is_right_when_two_of_three_rounds_say_so(replies: tuple[int, ...], value: float) -> None:
    scripted = Scripted(*map(score, replies))
    outcome = judge(PUBLISHED, scripted)
    assert (outcome.value, outcome.votes) == (value, tuple(map(float, replies)))
    assert [len(request.turns) for request in scripted.requests] == [1, 3, 5]
    assert [turn.role for turn in scripted.requests[2].turns] == ["user", "assistant", "user", "assistant", "user"]
    assert scripted.requests[2].turns[1].content == score(replies[0])


def test_published_shows_question_choices_and_long_answer() -> None:
    options = {"options": ("yes", "no", "maybe"), "meta": {"long_answer": "It helps in most cases."}}
    scripted = Scripted(score(1))
    judge(PUBLISHED, scripted, "It does.", Sample("1", "pubmedqa", "Does it help?", "yes", **options))
    prompt = scripted.requests[0].turns[0].content
    for shown in ("Does it help?", "B. no", "C. maybe", "yes\nIt helps in most cases.", "> It does."):
        assert shown in prompt


def test_published_never_shows_the_reasoning() -> None:
    scripted = Scripted(score(1))
    judge(PUBLISHED, scripted, "<think>secret thought</think> an infection")
    assert "secret thought" not in scripted.requests[0].turns[0].content


def test_the_judges_own_reasoning_stays_out_of_the_conversation() -> None:
    scripted = Scripted("<think>long</think>" + score(1))
    judge(PUBLISHED, scripted)
    assert scripted.requests[1].turns[1].content == score(1)


def test_the_suffix_is_the_last_line() -> None:
    scripted = Scripted(score(1))
    judge(ProtocolSpec("published", suffix="/no_think"), scripted)
    assert scripted.requests[0].turns[0].content.endswith("\n/no_think")


def test_an_unreadable_reply_is_asked_again_a_bounded_number_of_times() -> None:
    scripted = Scripted("I would say so.", score(1), score(1), score(1))
    assert judge(PUBLISHED, scripted).votes == (1.0, 1.0, 1.0)
    assert len(scripted.requests) == 4
    scripted = Scripted("I would say so.")
    outcome = judge(ProtocolSpec("published", rereads=2), scripted)
    assert (outcome.value, outcome.votes, len(scripted.requests)) == (None, (None, None, None), 9)
    assert outcome.reason == "no readable score in 3 replies, the last: 'I would say so.'"


def test_one_lost_round_does_not_decide() -> None:
    assert judge(PUBLISHED, Scripted(score(1), score(1), "?", "?")).value == 1.0
    outcome = judge(PUBLISHED, Scripted(score(1), score(0), "?", "?"))
    assert (outcome.value, outcome.votes) == (None, (1.0, 0.0, None))
    assert "no readable score" in outcome.reason


def test_a_dead_judge_leaves_the_sample_unscored_and_is_not_asked_on() -> None:
    scripted = Scripted(DOWN)
    outcome = judge(PUBLISHED, scripted)
    assert (outcome.value, len(scripted.requests)) == (None, 1)
    assert outcome.reason == str(DOWN)
    assert judge(ROBUST, Scripted(verdict=DOWN)).value is None


@pytest.mark.parametrize("spec", [PUBLISHED, ROBUST], ids=lambda spec: spec.name)
@pytest.mark.parametrize("metric", ["binary", "report05", "rubric"])
def test_a_text_without_an_answer_is_wrong_without_a_call(spec: ProtocolSpec, metric: str) -> None:
    scripted = Scripted(score(1))
    assert judge(spec, scripted, "<think>pneumonia", HEALTH, metric) == Outcome(0.0, reason="no answer")
    assert not scripted.requests and not scripted.asked


@pytest.mark.parametrize(
    ("verdicts", "value", "reason"),
    [
        ((True, True, False), 1.0, ""),
        ((True, False, False), 0.0, ""),
        ((True, None, True), 1.0, "no verdict: made up"),
        ((True, None, False), None, "no verdict: made up"),
        ((True, False), None, "the votes are split"),
        ((None, None, None), None, "no verdict: made up"),
    ],
)
def test_robust_takes_the_majority_of_a_panel(
    verdicts: tuple[bool | None, ...], value: float | None, reason: str
) -> None:
    outcome = judge(ROBUST, [Scripted(verdict=verdict) for verdict in verdicts])
    assert (outcome.value, outcome.reason) == (value, reason)
    assert outcome.votes == tuple(None if verdict is None else float(verdict) for verdict in verdicts)


def test_robust_asks_what_training_asks() -> None:
    scripted = Scripted()
    judge(ROBUST, scripted, "<X_RAY><think>t</think><answer>an infection</answer>")
    assert [candidate for candidate, _ in scripted.asked] == ["an infection"]
    assert scripted.asked[0][1].question == "What is seen?"


@pytest.mark.parametrize("spec", [PUBLISHED, ROBUST], ids=lambda spec: spec.name)
def test_a_report_is_the_mean_of_its_grades(spec: ProtocolSpec) -> None:
    grades = [score(2), score(4), score(3)]
    judges = [Scripted(*grades)] if spec is PUBLISHED else [Scripted(grade) for grade in grades]
    outcome = judge(spec, judges, "The lungs look clear.", REPORT, "report05")
    assert outcome.value == pytest.approx(0.6)
    assert outcome.votes == (0.4, 0.8, 0.6)
    lengths = [len(request.turns) for scripted in judges for request in scripted.requests]
    assert lengths == ([1, 3, 5] if spec is PUBLISHED else [1, 1, 1])


def test_a_report_with_most_grades_lost_is_unscored() -> None:
    assert judge(PUBLISHED, Scripted(score(4), "?"), "x", REPORT, "report05").value is None
    assert judge(PUBLISHED, Scripted(score(4), score(4), "?"), "x", REPORT, "report05").value == pytest.approx(0.8)


def test_a_report_that_equals_the_reference_needs_no_call_in_robust() -> None:
    scripted = Scripted(score(0))
    assert judge(ROBUST, scripted, REPORT.answer, REPORT, "report05").value == 1.0
    assert not scripted.requests
    assert judge(PUBLISHED, scripted, REPORT.answer, REPORT, "report05").value == 0.0


def test_the_rule_judge_grades_a_report_by_its_words_and_says_so() -> None:
    protocol = build_protocol(PUBLISHED, [JudgeSpec()])
    outcome = asyncio.run(protocol.judge(REPORT, "The lungs are hazy.", "report05"))
    assert (outcome.value, outcome.reason, protocol.judge_name) == (0.75, OVERLAP, "rule")


@given(st.text(), st.text())
def test_word_overlap_is_a_share(left: str, right: str) -> None:
    assert 0.0 <= word_overlap(left, right) <= 1.0
    assert word_overlap(left, right) == word_overlap(right, left)


def met(*criteria: str) -> Any:
    return Answering(lambda text: json.dumps({"criteria_met": any(f"Criterion:\n{name}" in text for name in criteria)}))


@pytest.mark.parametrize(
    ("criteria", "value", "raw"),
    [
        (("Names it", "Warns"), 1.0, "points 1 of 1"),
        (("Names it",), 0.75, "points 0.75 of 1"),
        (("Names it", "Warns", "Errs"), 0.5, "points 0.5 of 1"),
        # Below 0: the mean over conversations is cut to 0 and 1, not each of them (simple-evals).
        (("Errs",), -0.5, "points -0.5 of 1"),
        ((), 0.0, "points 0 of 1"),
    ],
)
def test_a_rubric_is_judged_criterion_by_criterion(criteria: tuple[str, ...], value: float, raw: str) -> None:
    answering = met(*criteria)
    outcome = judge(ROBUST, answering, "Rest.", HEALTH, "rubric")
    assert (outcome.value, outcome.reason) == (value, raw)
    assert outcome.votes == tuple(float(item["criterion"] in criteria) for item in ITEMS)
    assert len(answering.requests) == 3
    assert all("It hurts." in request.turns[0].content for request in answering.requests)


def test_an_unreadable_criterion_loses_its_rereads_and_not_the_conversation() -> None:
    lost = Answering(lambda text: "?" if "Criterion:\nWarns" in text else '{"criteria_met": true}')
    outcome = judge(PUBLISHED, lost, "Rest.", HEALTH, "rubric")
    assert (outcome.value, outcome.votes) == (pytest.approx(2 / 6), (1.0, None, 1.0))  # 6 - 4 points of 6
    found = "points 0.3333 of 1, without 1 of 3 criteria that could not be read: no readable score in 5 replies"
    assert outcome.reason.startswith(found) and len(lost.requests) == 2 + 5
    # A reply that can be read in the end is as good as a first one.
    late = Scripted(*["?"] * 4, '{"explanation": "it does", "criteria_met": true}')
    one = replace(HEALTH, meta={"rubrics": ITEMS[:1]})
    assert judge(PUBLISHED, late, "Rest.", one, "rubric").value == 1.0


def test_a_rubric_of_which_too_little_was_read_is_unscored() -> None:
    lost = Answering(lambda text: '{"criteria_met": true}' if "Criterion:\nErrs" in text else "?")
    outcome = judge(PUBLISHED, lost, "Rest.", HEALTH, "rubric")
    assert (outcome.value, outcome.votes) == (None, (None, None, 1.0))
    assert "no readable score" in outcome.reason
    # Nothing can be won without the criteria that were not read.
    items = [ITEMS[0], ITEMS[2], {"criterion": "Errs again", "points": -1}]
    lost = Answering(lambda text: "?" if "Names it" in text else '{"criteria_met": false}')
    assert judge(PUBLISHED, lost, "Rest.", replace(HEALTH, meta={"rubrics": items}), "rubric").value is None


def test_a_criterion_that_could_not_be_asked_about_leaves_the_conversation_unscored() -> None:
    outcome = judge(
        PUBLISHED, Scripted('{"criteria_met": true}', '{"criteria_met": true}', DOWN), "x", HEALTH, "rubric"
    )
    assert outcome.value is None and outcome.reason == str(DOWN)


def test_the_grader_reads_the_conversation_the_points_and_the_whole_answer() -> None:
    turns = [("user", "It hurts."), ("assistant", "Where?"), ("user", "Here.")]
    conversation = [{"role": role, "content": text} for role, text in turns]
    grader = Scripted('{"explanation": "yes", "criteria_met": true}')
    sample = replace(HEALTH, meta={"rubrics": ITEMS[2:] + ITEMS[:1], "conversation": conversation})
    judge(PUBLISHED, grader, "Rest. " * 5000 + "the end", sample, "rubric")
    shown = grader.requests[0].turns[0].content
    assert "user: It hurts.\n\nassistant: Where?\n\nuser: Here." in shown
    assert "Criterion:\nErrs\n(points: -4)" in shown and "the end" in shown and "[cut here]" not in shown
    schema = grader.requests[0].schema
    assert schema is not None and schema["required"] == ["explanation", "criteria_met"]
    assert grader.requests[0].max_tokens == 2048


def test_a_rubric_needs_a_model_and_a_rubric() -> None:
    outcome = asyncio.run(build_protocol(ROBUST, [JudgeSpec()]).judge(HEALTH, "Rest.", "rubric"))
    assert (outcome.value, "name a judge model" in outcome.reason) == (None, True)
    with pytest.raises(DataError, match="has no rubric"):
        judge(ROBUST, Scripted(), "Rest.", SAMPLE, "rubric")


def test_a_rubrics_value_is_points_over_what_can_be_won() -> None:
    criteria = [Criterion("a", 5), Criterion("b", 3), Criterion("c", -2)]
    assert rubric_value(criteria, [True, False, True]) == 0.375
    with pytest.raises(DataError, match="worth a point"):
        rubric_value([Criterion("a", -5)], [True])


def test_votes_of_one_judge_share_its_limits_and_the_first_is_the_training_judges() -> None:
    spec = JudgeSpec(kind="openai", url="http://127.0.0.1:9/v1", model="m", max_concurrent=8, max_per_minute=60)
    made = build_voters(ProtocolSpec("robust", seed=5), [spec])
    pools: list[Any] = [voter.judge.judge for voter in made]
    assert [(voter.temperature, voter.seed) for voter in made] == [(0, None), (0.7, 6), (0.7, 7)]
    assert [pool.spec.max_concurrent for pool in pools] == [3, 3, 2]
    assert [pool.spec.max_per_minute for pool in pools] == [20, 20, 20]
    assert all(pool.spec.swap for pool in pools)
    assert pools[0].spec.temperature == 0 and pools[0].spec.seed is None


def test_a_panel_has_one_vote_each() -> None:
    panel = [MODEL, JudgeSpec(kind="openai", url="http://127.0.0.1:9/v1", model="n")]
    assert [voter.name for voter in build_voters(ROBUST, panel)] == ["m", "n"]
    assert [voter.name for voter in build_voters(ProtocolSpec("robust", rounds=2), panel)] == ["m", "m", "n", "n"]
    assert build_protocol(ROBUST, panel).judge_name == "m+n"


@pytest.mark.parametrize(
    ("spec", "judges", "message"),
    [
        (PUBLISHED, [MODEL, MODEL], "protocol published got 2 judges"),
        (ROBUST, [], "no judge was named"),
        (ROBUST, [MODEL, JudgeSpec()], "the rule judge was named beside others"),
        (ROBUST, [replace(MODEL, max_concurrent=2)], "judge.max_concurrent is 2 for 3 votes"),
    ],
)
def test_judges_that_do_not_fit_are_refused(spec: ProtocolSpec, judges: list[JudgeSpec], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_protocol(spec, judges)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "publshed"}, "did you mean 'published'?"),
        ({"rounds": 0}, "protocol.rounds is 0"),
        ({"extract": "all"}, "protocol.extract is 'all'"),
        ({"temperature": 3}, "protocol.temperature is 3"),
        ({"suffix": None}, "protocol.suffix is None"),
        ({"swap": 1}, "protocol.swap is 1"),
        ({"rereads": -1}, "protocol.rereads is -1"),
        ({"votes": 3}, "unknown key 'votes'"),
    ],
)
def test_a_wrong_setting_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ProtocolSpec.from_mapping(settings)
    assert message in str(caught.value)


class OnlyVerdicts:
    """The judge of another package, which cannot be talked to."""

    endpoints = ()

    async def ask(self, question: Any) -> Verdict:
        return Verdict("infection" in question.candidate, "own")

    async def close(self) -> None: ...


@pytest.mark.parametrize("spec", [PUBLISHED, ROBUST], ids=lambda spec: spec.name)
def test_a_judge_that_only_gives_verdicts_is_asked_for_them_and_for_no_grades(spec: ProtocolSpec) -> None:
    assert judge(spec, OnlyVerdicts(), "an infection").value == 1.0
    assert judge(spec, OnlyVerdicts(), "a fracture").value == 0.0
    for sample, metric in ((REPORT, "report05"), (HEALTH, "rubric")):
        outcome = judge(spec, OnlyVerdicts(), "Rest.", sample, metric)
        assert outcome.value is None and "name a judge model" in outcome.reason


@pytest.mark.parametrize("spec", [PUBLISHED, ROBUST], ids=lambda spec: spec.name)
@pytest.mark.parametrize("source", ["s", "mimic-cxr"])
def test_what_shows_a_credentialed_row_is_restricted(spec: ProtocolSpec, source: str) -> None:
    for sample, metric in ((SAMPLE, "binary"), (REPORT, "report05"), (HEALTH, "rubric")):
        scripted = Scripted(score(1), '{"criteria_met": true}')
        judge(spec, scripted, "an infection", replace(sample, data_source=source), metric)
        found = [request.restricted for request in scripted.requests]
        found += [reference.credentialed_row is not None for _, reference in scripted.asked]
        assert found and set(found) == {source != "s"}


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ConfigError, match="metric is 'report'; accepted: binary, report05, rubric"):
        judge(ROBUST, Scripted(), metric="report")


def test_close_closes_each_judge_once() -> None:
    scripted = Scripted()
    asyncio.run(Protocol(ROBUST, [*voters(scripted), *voters(scripted)]).close())
    assert scripted.closed == 1
