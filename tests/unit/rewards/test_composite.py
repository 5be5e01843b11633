# SPDX-License-Identifier: Apache-2.0
"""The composite with hand-written judges and encoders: who is asked, what a failure means, what comes out."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.embedding.hashing import HashingEncoder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError, EncoderError, JudgeError
from medix_verl.judge.judge import GuardedJudge, Question
from medix_verl.judge.rule.judge import RuleJudge
from medix_verl.judge.spec import JudgeSpec
from medix_verl.response import parse_response
from medix_verl.rewards.composite import CompositeReward
from medix_verl.rewards.keys import to_verl
from medix_verl.rewards.spec import FailureSpec, RewardSpec, WeightsSpec
from medix_verl.types import Reference, RewardBreakdown, Similarity, Verdict

REFERENCE = Reference("pneumonia", modality="X_RAY", question="What is seen?")
OFF = RewardSpec(semantic=SemanticSpec(enable=False))
RENORMALISE = RewardSpec(failure=FailureSpec(policy="renormalise"))


class FakeJudge:
    """Says what it is told to, or raises it, and remembers what it was asked."""

    endpoints = ()

    def __init__(self, outcome: bool | Exception | None = True, probability: float | None = None) -> None:
        self.outcome = outcome
        self.probability = probability
        self.asked: list[tuple[str, Reference]] = []
        self.closed = False

    async def ask(self, question: Question) -> Verdict:
        self.asked.append((question.candidate, question.reference))
        await asyncio.sleep(0)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        reason = "" if self.outcome is not None else "server down"
        return Verdict(self.outcome, "fake", reason, self.probability)

    async def close(self) -> None:
        self.closed = True


class FakeEncoder:
    """Twin of FakeJudge."""

    endpoints = ()

    def __init__(self, outcome: float | Exception | None = 0.9) -> None:
        self.outcome = outcome
        self.asked: list[tuple[str, str]] = []
        self.closed = False

    async def compare(self, candidate: str, reference: str) -> Similarity:
        self.asked.append((candidate, reference))
        await asyncio.sleep(0)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return Similarity(self.outcome, "" if self.outcome is not None else "model gone")

    async def close(self) -> None:
        self.closed = True


def text(answer: str, modality: str = "X_RAY") -> str:
    return f"<{modality}><think>t</think><answer>{answer}</answer>"


def score(
    response: str,
    judge: FakeJudge | None = None,
    encoder: FakeEncoder | None = None,
    reference: Reference = REFERENCE,
    spec: RewardSpec | None = None,
) -> RewardBreakdown:
    return asyncio.run(CompositeReward(spec, judge or FakeJudge(), encoder or FakeEncoder()).score(response, reference))


def test_everything_right() -> None:
    found = score(text("lung infection"))
    assert (found.score, found.acc, found.answer, found.reason) == (1.0, 1.0, "lung infection", "")
    assert found.terms == dict.fromkeys(("judge", "semantic", "format", "modality"), 1.0)
    assert found.judge_ok and found.semantic_ok and found.modality_applies and found.semantic_applies


def test_equality_asks_nobody() -> None:
    judge, encoder = FakeJudge(False), FakeEncoder(0.0)
    found = score(text("Pneumonia."), judge, encoder)
    assert (found.score, found.acc, found.semantic) == (1.0, 1.0, 1.0)
    assert judge.asked == encoder.asked == []


def test_an_equal_answer_is_counted_by_a_judge_that_counts() -> None:
    judge = GuardedJudge(FakeJudge())
    asyncio.run(CompositeReward(None, judge, FakeEncoder()).score(text("pneumonia"), REFERENCE))
    assert (judge.counters.asked, judge.counters.equality) == (1, 1)


@pytest.mark.parametrize("response", ["", "pneumonia", "<think>t <answer>pneumonia</answer>", text("")])
def test_no_answer_is_wrong_and_asks_nobody(response: str) -> None:
    judge, encoder = FakeJudge(), FakeEncoder()
    found = score(response, judge, encoder)
    assert (found.judge, found.semantic, found.judge_ok, found.semantic_ok) == (0.0, 0.0, True, True)
    assert judge.asked == encoder.asked == []


def test_what_a_guard_stops_asks_nobody_and_gets_nothing_for_its_meaning() -> None:
    judge, encoder = FakeJudge(), FakeEncoder(1.0)
    reference = Reference("right lower lobe pneumonia", "X_RAY", question="What abnormality does this image show?")
    found = score(text("Based on the image,"), judge, encoder, reference)
    assert (found.acc, found.judge, found.semantic, found.score) == (0.0, 0.0, 0.0, pytest.approx(0.1 + 0.9 * 0.05))
    assert judge.asked == encoder.asked == []


def test_what_the_services_are_asked() -> None:
    judge, encoder = FakeJudge(), FakeEncoder()
    score(text("lung infection"), judge, encoder)
    assert judge.asked == [("lung infection", REFERENCE)]
    assert encoder.asked == [("lung infection", "pneumonia")]


def test_an_options_letter_is_compared_by_its_text() -> None:
    encoder = FakeEncoder()
    score(text("lung infection"), encoder=encoder, reference=Reference("B", options=("fracture", "pneumonia")))
    assert encoder.asked == [("lung infection", "pneumonia")]


@pytest.mark.parametrize(
    ("correct", "cosine", "modality", "expected"),
    [
        (True, 0.79, "X_RAY", 0.6625),
        (False, 0.8, "X_RAY", 0.4825),
        (False, 0.1, "CT_SCAN", 0.1),
        (True, 0.9, "CT_SCAN", 0.955),
    ],
)
def test_published_levels(correct: bool, cosine: float, modality: str, expected: float) -> None:
    found = score(text("x", modality), FakeJudge(correct), FakeEncoder(cosine))
    assert found.score == pytest.approx(expected)
    assert found.acc == float(correct)


def test_text_only() -> None:
    found = score("<think>t</think><answer>x</answer>", reference=Reference("pneumonia"))
    assert (found.score, found.modality, found.modality_applies) == (1.0, None, False)


def test_semantic_off_builds_and_asks_no_encoder() -> None:
    encoder = FakeEncoder(None)
    found = score(text("x"), encoder=encoder, spec=OFF)
    assert (found.score, found.semantic, found.semantic_applies, found.semantic_ok) == (1.0, None, False, False)
    assert encoder.asked == []


@pytest.mark.parametrize("outcome", [None, JudgeError("server down")])
def test_a_failed_judge_is_unscored(outcome: Exception | None) -> None:
    found = score(text("x"), FakeJudge(outcome))
    assert (found.score, found.acc, found.judge, found.judge_ok) == (None, None, None, False)
    assert (found.semantic, found.format, found.modality, found.semantic_ok) == (1.0, 1.0, 1.0, True)
    assert found.reason == "judge: server down"


@pytest.mark.parametrize("outcome", [None, EncoderError("model gone")])
def test_a_failed_encoder_is_unscored(outcome: Exception | None) -> None:
    found = score(text("x"), encoder=FakeEncoder(outcome))
    assert (found.score, found.semantic, found.semantic_ok, found.acc) == (None, None, False, 1.0)
    assert found.reason == "semantic: model gone"


def test_both_failed() -> None:
    found = score(text("x"), FakeJudge(None), FakeEncoder(float("nan")))
    assert found.reason == "judge: server down; semantic: the encoder gave nan"


def test_renormalising_scores_over_what_answered() -> None:
    found = score(text("x"), FakeJudge(None), FakeEncoder(0.9), spec=RENORMALISE)
    assert (found.score, found.acc, found.judge_ok, found.semantic) == (1.0, None, False, 1.0)
    assert found.reason == "judge: server down"
    found = score(text("x"), FakeJudge(False), FakeEncoder(None), spec=RENORMALISE)
    assert found.score == pytest.approx(0.9 * 0.05 / 0.625 + 0.1)
    assert (found.acc, found.semantic_ok, found.reason) == (0.0, False, "semantic: model gone")


def test_an_unknown_verdict_is_sent_to_verl_with_its_flag() -> None:
    row = to_verl(score(text("x"), FakeJudge(None), spec=RENORMALISE))
    assert (row["acc"], row["judge"], row["judge_ok"], row["score"]) == (0.0, 0.0, 0.0, 1.0)
    assert set(row) == set(to_verl(score(text("x"))))


@pytest.mark.parametrize(
    ("spec", "judge", "encoder"),
    [
        (RENORMALISE, None, None),
        (replace(RENORMALISE, semantic=SemanticSpec(enable=False)), None, 0.9),
        (replace(RENORMALISE, weights=WeightsSpec(semantic=0)), None, 0.9),
        (replace(RENORMALISE, weights=WeightsSpec(judge=0)), True, None),
        (RewardSpec(failure=FailureSpec(policy="abort")), None, 0.9),
    ],
)
def test_form_alone_is_never_a_score(spec: RewardSpec, judge: bool | None, encoder: float | None) -> None:
    """Neither the judge nor the encoder said anything that counts, so nobody knows whether the answer is right."""
    found = score(text("x"), FakeJudge(judge), FakeEncoder(encoder), spec=spec)
    assert found.score is None
    assert found.reason


def test_a_soft_verdict_grades_the_term_and_leaves_acc_hard() -> None:
    found = score(text("x"), FakeJudge(True, probability=0.75), FakeEncoder(0.1))
    assert (found.acc, found.judge) == (1.0, 0.75)
    assert found.score == pytest.approx(0.9 * (0.575 * 0.75 + 0.05) + 0.1)
    assert score(text("x"), FakeJudge(False, probability=0.25)).acc == 0.0


@pytest.mark.parametrize(("probability", "expected"), [(float("nan"), 1.0), (1.5, 1.0), (-0.1, 0.0), (None, 1.0)])
def test_a_probability_that_is_none(probability: float | None, expected: float) -> None:
    assert score(text("x"), FakeJudge(True, probability)).judge == expected
    assert score(text("x"), FakeJudge(None, probability)).judge is None


def test_the_soft_semantic_term() -> None:
    spec = RewardSpec(semantic=SemanticSpec(mode="soft", low=0.5, high=0.9))
    found = score(text("x"), FakeJudge(True), FakeEncoder(0.8), spec=spec)
    assert found.semantic == pytest.approx(0.75)
    assert found.score == pytest.approx(0.9 * (0.575 + 0.375 * 0.75 + 0.05) + 0.1)


def test_both_are_asked_at_once() -> None:
    arrived: list[str] = []

    async def meet(name: str) -> None:
        arrived.append(name)
        while len(arrived) < 2:
            await asyncio.sleep(0.001)

    class Meeting(FakeJudge):
        async def ask(self, question: Question) -> Verdict:
            await asyncio.wait_for(meet("judge"), 2)
            return await super().ask(question)

    class MeetingEncoder(FakeEncoder):
        async def compare(self, candidate: str, reference: str) -> Similarity:
            await asyncio.wait_for(meet("encoder"), 2)
            return await super().compare(candidate, reference)

    assert score(text("x"), Meeting(), MeetingEncoder()).score == 1.0


def test_a_parsed_response_is_taken_as_it_is() -> None:
    async def main() -> list[RewardBreakdown]:
        reward = CompositeReward(None, FakeJudge(), FakeEncoder())
        return [await reward.score(given, REFERENCE) for given in (text("x"), parse_response(text("x")))]

    first, second = asyncio.run(main())
    assert first == second


def test_many_keep_their_order() -> None:
    pairs = [(text(str(number)), Reference(str(number % 3))) for number in range(9)]
    found = asyncio.run(CompositeReward(OFF).score_many(pairs))
    assert [item.answer for item in found] == [str(number) for number in range(9)]
    assert [item.acc for item in found] == [1.0] * 3 + [0.0] * 6


def test_services_are_built_when_first_needed() -> None:
    reward = CompositeReward(RewardSpec(semantic=SemanticSpec(kind="hashing")))
    assert reward.score_sync(text("pneumonia"), REFERENCE).score == 1.0
    assert reward.judge is None
    assert reward.score_sync(text("it is pneumonia"), REFERENCE).acc == 1.0
    assert isinstance(reward.judge.judge, RuleJudge)
    assert isinstance(reward.encoder, HashingEncoder)
    reward.close_sync()


def test_from_spec_builds_at_once() -> None:
    reward = CompositeReward.from_spec(replace(OFF, judge=JudgeSpec(kind="verl", model="m")), served_url="h:1")
    assert "http://h:1/v1" in repr(reward.judge.judge)
    assert reward.encoder is None
    with pytest.raises(ConfigError, match="verl serves no reward model"):
        CompositeReward.from_spec(replace(OFF, judge=JudgeSpec(kind="verl", model="m")))


def test_closing_closes_both() -> None:
    judge, encoder = FakeJudge(), FakeEncoder()
    CompositeReward(None, judge, encoder).close_sync()
    assert (judge.closed, encoder.closed) == (True, True)


def test_score_sync_refuses_to_block_an_event_loop() -> None:
    async def main() -> None:
        CompositeReward(OFF).score_sync(text("x"), REFERENCE)

    with pytest.raises(RuntimeError, match=r"inside an event loop; type: await reward.score\(...\)"):
        asyncio.run(main())


@given(
    st.text(max_size=60) | st.text(max_size=10).map(text),
    st.sampled_from([True, False, None]),
    st.none() | st.floats(-1, 1),
    st.sampled_from([None, "X_RAY"]),
)
def test_a_score_is_in_bounds_or_has_a_reason(
    response: str, correct: bool | None, cosine: float | None, modality: str | None
) -> None:
    found = score(response, FakeJudge(correct), FakeEncoder(cosine), Reference("pneumonia", modality=modality))
    assert (found.score is None) == bool(found.reason)
    assert found.score is None or 0 <= found.score <= 1
    assert found.judge_ok is (found.judge is not None)


@pytest.mark.parametrize("text", ["<answer>pneumonia</answer>", "<answer>cyst</answer>", "no answer"])
def test_a_credentialed_row_stops_at_a_judge_elsewhere_whatever_the_answer(text: str) -> None:
    row = replace(REFERENCE, credentialed_row="row 'q7' of mimic-cxr")
    elsewhere = JudgeSpec(kind="openai", url="http://93.184.216.34/v1", model="m")
    reward = CompositeReward(replace(OFF, judge=elsewhere))
    with pytest.raises(ConfigError, match="row 'q7' of mimic-cxr is credentialed.*93.184.216.34"):
        reward.score_sync(text, row)
    reward.close_sync()
    assert CompositeReward(OFF).score_sync(text, row).score is not None  # the rule judge asks nobody
