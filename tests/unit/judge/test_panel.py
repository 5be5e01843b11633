# SPDX-License-Identifier: Apache-2.0
"""A panel: how votes become a verdict, what is counted of them, who may see what, and which panels are refused."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from medix_verl.errors import ConfigError
from medix_verl.judge.judge import GuardedJudge, Question, build_judge, endpoints_of
from medix_verl.judge.mock import MockJudge, MockSpec
from medix_verl.judge.panel import Member, Panel, decide
from medix_verl.judge.pictures import probe_picture, ref_of_pixels
from medix_verl.judge.pool import JudgePool
from medix_verl.judge.rule.judge import RuleJudge
from medix_verl.judge.service import PanelService, RemoteJudge, question_of, share_of
from medix_verl.judge.spec import JudgeSpec
from medix_verl.judge.stats import JudgeStats, add_up, panel_shares
from medix_verl.openai_client import RequestError
from medix_verl.rewards.metrics import Tally, service_metrics
from medix_verl.runtime.shared_actor import ActorHost, Answers
from medix_verl.types import Failure, Reference, Verdict

REFERENCE = Reference("pneumonia", question="What is seen?")
CLOSED = replace(REFERENCE, credentialed_row="row 'q7' of mimic-cxr")
YES, NO = Verdict(True, "m"), Verdict(False, "m")
DOWN, REFUSED = Verdict(None, "m", "gone", failure=Failure.UNREACHABLE), Verdict(None, "m", failure=Failure.REFUSED)

RULE = [
    # votes, verdict, failure, why this is so
    ((YES, YES, YES), True, None, "all agree"),
    ((YES, YES, NO), True, None, "two of three"),
    ((NO, YES, NO), False, None, "two of three"),
    ((YES, YES, DOWN), True, None, "one failing member of three leaves 2:0"),
    ((YES, NO, DOWN), None, Failure.DISAGREEMENT, "1:1, and who could decide is not there"),
    ((YES, DOWN, DOWN), None, Failure.UNREACHABLE, "one of three is no majority that can decide"),
    ((DOWN, REFUSED, REFUSED), None, Failure.REFUSED, "nobody answered; the commonest cause"),
    ((YES, YES), True, None, "both of two"),
    ((YES, NO), None, Failure.DISAGREEMENT, "a tie"),
    ((YES, DOWN), None, Failure.UNREACHABLE, "one of two is half, and no majority"),
    ((YES, YES, NO, NO), None, Failure.DISAGREEMENT, "a tie of four"),
    ((YES, YES, NO, DOWN), True, None, "three of four answered, two of them agree"),
    ((YES, YES, DOWN, DOWN), None, Failure.UNREACHABLE, "two of four are half"),
    ((YES, NO, NO, DOWN, DOWN), False, None, "three of five answered"),
]


@pytest.mark.parametrize(("votes", "correct", "failure", "why"), RULE)
def test_what_a_panel_says(votes: tuple[Verdict, ...], correct: bool | None, failure: Failure | None, why: str) -> None:
    verdict = decide([f"judge-{place}" for place in range(len(votes))], votes)
    assert (verdict.correct, verdict.failure) == (correct, failure), why
    assert bool(verdict.reason) == (len({vote.correct for vote in votes}) > 1 or correct is None)


def test_the_reason_says_how_the_votes_fell_and_who_failed() -> None:
    assert decide("abc", (YES, NO, YES)).reason == "2 YES, 1 NO"
    assert decide("abc", (YES, DOWN, YES)).reason == "2 YES, 0 NO, 1 without a verdict"
    assert "1 YES, 1 NO, 1 without a verdict; b: gone" in decide("abc", (YES, DOWN, NO)).reason
    assert "1 of 3 judges of the panel answered, too few to decide; b: gone" in decide("abc", (YES, DOWN, DOWN)).reason


def soft(correct: bool, probability: float) -> Verdict:
    return Verdict(correct, "m", probability=probability)


@pytest.mark.parametrize(
    ("votes", "probability"),
    [
        ((soft(True, 0.9), soft(True, 0.7), soft(False, 0.1)), 0.8),
        ((soft(False, 0.2), soft(False, 0.4), soft(True, 0.9)), 0.3),
        ((soft(True, 0.6), YES, NO), 0.8),
        ((YES, YES, soft(False, 0.1)), None),
    ],
    ids=["a YES", "a NO", "a member without one counts as its word", "the minority's says nothing"],
)
def test_p_yes_is_the_mean_of_the_majority_s(votes: tuple[Verdict, ...], probability: float | None) -> None:
    found = decide("abc", votes).probability
    assert found == (None if probability is None else pytest.approx(probability))


class Scripted:
    """A judge that always says one thing, or raises."""

    def __init__(self, says: Verdict | Exception, *endpoints: str) -> None:
        self.says = says
        self.endpoints = endpoints
        self.asked: list[Question] = []

    async def ask(self, question: Question) -> Verdict:
        self.asked.append(question)
        await asyncio.sleep(0)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    async def close(self) -> None: ...


def panel(*says: Verdict | Exception) -> Panel:
    return Panel([Member(f"judge-{place}", Scripted(one)) for place, one in enumerate(says)])


@pytest.mark.parametrize(
    "error", [RequestError("gone", Failure.TIMEOUT), KeyError("a bug"), RuntimeError("")], ids=repr
)
def test_a_member_that_raises_has_failed_and_the_others_decide(error: Exception) -> None:
    assert asyncio.run(panel(YES, error, YES).ask(Question("a", REFERENCE))).correct is True
    lost = asyncio.run(panel(YES, error, NO).ask(Question("a", REFERENCE)))
    assert lost.failure is Failure.DISAGREEMENT and "judge-1" in lost.reason


def test_wrong_settings_are_no_vote() -> None:
    with pytest.raises(ConfigError, match="wrong"):
        asyncio.run(panel(YES, ConfigError("wrong"), YES).ask(Question("a", REFERENCE)))


def test_the_members_are_asked_side_by_side() -> None:
    async def main() -> None:
        slow = [Scripted(YES) for _ in range(3)]
        async with AsyncExitStack() as stack:
            mocks = [await stack.enter_async_context(MockJudge(MockSpec(latency_ms=200, verdict="yes"))) for _ in slow]
            judge = build_judge(spec_of(*mocks))
            start = asyncio.get_running_loop().time()
            assert (await judge.ask("a shadow", REFERENCE)).correct
            assert asyncio.get_running_loop().time() - start < 0.5
            await judge.close()

    asyncio.run(main())


def spec_of(*mocks: MockJudge, **more: Any) -> JudgeSpec:
    entries = [{"model": f"judge-{place}", "url": mock.url} for place, mock in enumerate(mocks)]
    section = {"kind": "openai", "timeout_s": 5.0, "max_retries": 0, "panel": entries, **more}
    return JudgeSpec.from_mapping(section)


def serving(work: Callable[[list[MockJudge]], Awaitable[None]], *verdicts: str, **mock: Any) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            mocks = [
                await stack.enter_async_context(MockJudge(MockSpec(verdict=verdict, **mock))) for verdict in verdicts
            ]
            await work(mocks)

    asyncio.run(main())


def test_three_servers_decide_and_are_counted() -> None:
    async def work(mocks: list[MockJudge]) -> None:
        judge = build_judge(spec_of(*mocks))
        assert isinstance(judge.judge, Panel)
        assert judge.endpoints == tuple(mock.url for mock in mocks)
        verdicts = [await judge.ask(text, REFERENCE) for text in ("a shadow", "an effusion", "Pneumonia", ":")]
        assert [verdict.correct for verdict in verdicts] == [True, False, True, False]
        assert [verdict.source for verdict in verdicts] == ["judge-0+judge-1+judge-2"] * 2 + ["equality", "guard"]
        assert [mock.requests for mock in mocks] == [2, 2, 2]
        stats = judge.judge.take_stats()
        assert (stats.asked, stats.equality, stats.guard_hits, stats.calls, stats.unscored) == (4, 1, 1, 6, 0)
        assert stats.panel == {
            **{"compared": 2, "agreed": 0},
            **{"verdicts_1": 2, "yes_1": 2, "dissents_1": 1},
            **{"verdicts_2": 2, "yes_2": 0, "dissents_2": 1},
            **{"verdicts_3": 2, "yes_3": 1, "dissents_3": 0},
        }
        assert judge.judge.take_stats() == JudgeStats()
        await judge.close()

    serving(work, "yes", "no", "contains:a shadow")


def test_a_member_that_is_down_leaves_two_who_must_agree() -> None:
    async def work(mocks: list[MockJudge]) -> None:
        await mocks[2].stop()
        judge = build_judge(spec_of(*mocks, breaker="off"))
        agreed = await judge.ask("a shadow", REFERENCE)
        split = await judge.ask("an effusion", REFERENCE)
        assert (agreed.correct, split.correct, split.failure) == (True, None, Failure.DISAGREEMENT)
        stats = judge.judge.stats()  # type: ignore[attr-defined]
        assert (stats.unscored, stats.failures["disagreement"], stats.failures["unreachable"]) == (1, 1, 2)
        assert (stats.panel["compared"], stats.panel["agreed"], stats.panel["verdicts_3"]) == (2, 1, 0)
        await judge.close()

    serving(work, "yes", "contains:a shadow", "yes")


def test_each_member_has_its_own_cache_and_limits() -> None:
    async def work(mocks: list[MockJudge]) -> None:
        entries = [
            {"model": "m", "url": mocks[0].url, "max_concurrent": 1},
            {"model": "m", "url": mocks[1].url, "max_concurrent": 4},
        ]
        spec = JudgeSpec.from_mapping({"kind": "openai", "panel": entries, "max_retries": 0})
        judge = build_judge(spec)
        for _ in range(2):
            texts = [f"finding {number}" for number in range(8)]
            found = await asyncio.gather(*(judge.ask(text, REFERENCE) for text in texts))
            assert {verdict.failure for verdict in found} == {Failure.DISAGREEMENT}
        assert [mock.peak for mock in mocks] == [1, 4]
        assert [mock.requests for mock in mocks] == [8, 8]
        await judge.close()

    serving(work, "yes", "no", latency_ms=10)


def test_one_file_may_hold_the_replies_of_all_models(tmp_path: Any) -> None:
    async def work(mocks: list[MockJudge]) -> None:
        spec = spec_of(*mocks, cache=str(tmp_path / "replies.sqlite"))
        for _ in range(2):
            judge = build_judge(spec)
            assert (await judge.ask("a shadow", REFERENCE)).reason == "2 YES, 1 NO"
            await judge.close()
        assert [mock.requests for mock in mocks] == [1, 1, 1]

    serving(work, "yes", "yes", "no")


def test_the_pictures_go_to_the_members_that_see_them() -> None:
    async def work(mocks: list[MockJudge]) -> None:
        spec = spec_of(*mocks, images=True)
        blind = [{**spec.panel[0], "images": False}, *spec.panel[1:], {"kind": "rule"}]
        judge = build_judge(replace(spec, panel=tuple(blind)))
        reference = replace(REFERENCE, images=(probe_picture(),))
        await judge.ask("a shadow", reference)
        assert [sum(mock.pictures.values()) for mock in mocks] == [0, 1, 1]
        assert judge.pictures is not None and judge.pictures.encoded == 1
        await judge.close()

    serving(work, "yes", "yes", "no")


LOCAL, FOREIGN = "http://127.0.0.1:9/v1", "http://93.184.216.34/v1"


def test_one_foreign_member_is_enough_to_refuse_a_credentialed_row() -> None:
    """Not even the local ones are asked, and no picture is read."""
    entries = [{"model": "a", "url": LOCAL}, {"model": "b", "url": LOCAL}, {"model": "c", "url": FOREIGN}]
    spec = JudgeSpec.from_mapping({"kind": "openai", "images": True, "panel": entries})
    judge = build_judge(spec)
    assert endpoints_of(spec) == judge.endpoints == (LOCAL, FOREIGN)
    with pytest.raises(ConfigError, match=r"row 'q7' of mimic-cxr.*93\.184\.216\.34"):
        asyncio.run(judge.ask("a shadow", replace(CLOSED, images=(probe_picture(),))))
    stats = judge.judge.stats()  # type: ignore[attr-defined]
    assert stats.calls == stats.asked == 0 and judge.pictures is not None and judge.pictures.encoded == 0


def test_what_verl_serves_is_the_run_s_own_and_the_others_are_not() -> None:
    entries = [{"kind": "verl"}, {"kind": "openai", "model": "b", "url": LOCAL}]
    spec = JudgeSpec.from_mapping({"kind": "openai", "url": FOREIGN, "panel": entries})
    judge = build_judge(spec, served_url="93.184.216.35:80", served_model="served")
    judge.check_row(CLOSED)
    assert endpoints_of(spec) == (LOCAL,) and len(judge.endpoints) == 2
    entries[1]["url"] = FOREIGN
    spec = JudgeSpec.from_mapping({"kind": "openai", "panel": entries})
    with pytest.raises(ConfigError, match=r"93\.184\.216\.34/v1 is not local"):
        build_judge(spec, served_url="93.184.216.35:80", served_model="served").check_row(CLOSED)
    # The same address as a server of somebody's and as the run's own: somebody's counts.
    same = JudgeSpec.from_mapping({"kind": "verl", "panel": [{}, {"kind": "openai", "model": "b", "url": FOREIGN}]})
    with pytest.raises(ConfigError, match="is not local"):
        build_judge(same, served_url="93.184.216.34", served_model="served").check_row(CLOSED)


def test_a_judge_that_does_not_say_whom_it_asks_is_no_member(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unknown:
        async def ask(self, question: Question) -> Verdict:
            return YES

    monkeypatch.setattr("medix_verl.judge.judge.installed_factory", lambda kind: lambda spec: Unknown())
    monkeypatch.setattr("medix_verl.judge.spec.installed_kinds", lambda: {"lab": None})
    spec = JudgeSpec.from_mapping({"panel": [{"kind": "lab"}, {"kind": "rule"}]})
    with pytest.raises(ConfigError, match="Unknown is not an object with endpoints"):
        build_judge(spec)


class Elsewhere:
    """A server that answers as it is told and keeps what it got."""

    def __init__(self, answer: Callable[[web.BaseRequest], web.Response]) -> None:
        self.answer = answer
        self.bodies: list[bytes] = []

    async def handle(self, request: web.BaseRequest) -> web.Response:
        self.bodies.append(await request.read())
        return self.answer(request)

    async def __aenter__(self) -> Elsewhere:
        self.runner = web.ServerRunner(web.Server(self.handle), shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()


def test_no_redirect_and_no_proxy_takes_a_credentialed_picture_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with Elsewhere(lambda request: web.Response(status=500)) as foreign:
            moved = web.Response(status=307, headers={"Location": f"{foreign.url}/v1/chat/completions"})
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(name, foreign.url)
            async with (
                MockJudge(MockSpec(verdict="yes")) as first,
                MockJudge(MockSpec(verdict="yes")) as second,
                Elsewhere(lambda request: moved) as third,
            ):
                entries = [
                    {"model": f"m{place}", "url": url}
                    for place, url in enumerate((first.url, second.url, f"{third.url}/v1"))
                ]
                section = {"kind": "openai", "images": True, "max_retries": 0, "panel": entries}
                judge = build_judge(JudgeSpec.from_mapping(section))
                verdict = await judge.ask("a shadow", replace(CLOSED, images=(probe_picture(),)))
                assert verdict.correct and verdict.reason == "2 YES, 0 NO, 1 without a verdict"
                assert sum(first.pictures.values()) == sum(second.pictures.values()) == 1
                assert len(third.bodies) == 1 and b"image_url" in third.bodies[0]
                assert foreign.bodies == []
                await judge.close()

    asyncio.run(main())


ONE = {"model": "a", "url": "http://a/v1"}
REFUSALS = [
    ([ONE], r"judge.panel is 'a list of 1'; write two judge sections or more"),
    ("a,b", r"judge.panel is 'a str'; write two"),
    ([ONE, "b"], r"judge.panel is 'a list of 2'; write two"),
    ([ONE, ONE], r"judge.panel\[0\] and judge.panel\[1\] are the same judge"),
    ([ONE, {"kind": "rule"}, {"kind": "rule"}], r"judge.panel\[1\] and judge.panel\[2\] are the same judge"),
    ([ONE, {"modle": "b"}], r"judge.panel\[1\] has an unknown key 'modle'; accepted: kind, .*did you mean 'model'"),
    ([ONE, {"timeout_s": 0}], r"judge.panel\[1\]: judge.timeout_s is 0"),
    ([ONE, {"kind": "opnai"}], r"judge.panel\[1\]: judge.kind is 'opnai'; accepted: rule, openai"),
    ([ONE, {"url": "http://user:quite-private@b/v1"}], r"judge.panel\[1\]: judge.url holds credentials"),
    ([ONE, {"panel": [ONE, ONE]}], r"judge.panel\[1\] has panel.*a panel has no panel in it"),
    (
        [ONE, {"guard": False}],
        r"judge.panel\[1\] has guard, which is for the whole panel: write it once, as judge.guard",
    ),
    ([ONE, {"allow_credentialed": True}], r"judge.panel\[1\] has allow_credentialed"),
    ([ONE, {"kind": "rule", "images": True}], r"judge.panel\[1\]: judge.images is true with judge.kind 'rule'"),
]


@pytest.mark.parametrize(("entries", "message"), REFUSALS)
def test_a_panel_that_is_refused(entries: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        JudgeSpec.from_mapping({"kind": "openai", "panel": entries})
    assert "quite-private" not in str(raised.value)


def test_a_key_is_sent_to_no_address_for_which_it_was_not_written() -> None:
    section = {"kind": "openai", "url": "http://a/v1", "api_key_env": "MEDIX_TEST_KEY"}
    panel = [{"model": "a"}, {"model": "b", "url": "http://b/v1"}]
    with pytest.raises(ConfigError, match=r"judge.panel\[1\] has an address of its own.*write api_key_env there too"):
        JudgeSpec.from_mapping({**section, "panel": panel})
    for own in ("MEDIX_TEST_KEY", "OTHER", None):
        spec = JudgeSpec.from_mapping({**section, "panel": [panel[0], {**panel[1], "api_key_env": own}]})
        assert [member.api_key_env for member in spec.members] == ["MEDIX_TEST_KEY", own]


def test_one_cache_file_for_the_same_model_at_two_addresses_is_refused(tmp_path: Any) -> None:
    """The address is in no key: the second would be given the first one's replies, and agree with itself."""
    panel = [{"url": "http://a/v1"}, {"url": "http://b/v1"}]
    section = {"kind": "openai", "model": "m", "panel": panel}
    assert len(JudgeSpec.from_mapping(section).members) == 2
    with pytest.raises(ConfigError, match=r"differ in their address only and share the cache file"):
        JudgeSpec.from_mapping({**section, "cache": str(tmp_path / "x.sqlite")})
    own = [{**entry, "cache": str(tmp_path / f"{place}.sqlite")} for place, entry in enumerate(panel)]
    assert len(JudgeSpec.from_mapping({**section, "panel": own}).members) == 2


def test_members_have_the_panel_s_values_for_what_they_leave_out() -> None:
    panel = [{"model": "a"}, {"kind": "verl"}, {"url": ["http://b/v1", "http://c/v1"], "soft": False}]
    spec = JudgeSpec.from_mapping({"kind": "openai", "url": "http://x/v1", "model": "m", "soft": True, "panel": panel})
    assert [member.model for member in spec.members] == ["a", "m", "m"]
    assert [member.soft for member in spec.members] == [True, True, False]
    assert spec.members[2].urls == ("http://b/v1", "http://c/v1")
    assert all(member.panel == () and member.members == () for member in spec.members)
    assert JudgeSpec.from_mapping({"panel": []}) == JudgeSpec.from_mapping({"panel": None}) == JudgeSpec()
    again = pickle.loads(pickle.dumps(spec))
    assert again == spec and hash(again) == hash(spec) and repr(again) == repr(spec)


# In the run's shared worker.


class HereLink:
    """A worker in this process; what goes to it is pickled, as Ray does."""

    def __init__(self, spec: JudgeSpec) -> None:
        self.host = ActorHost(PanelService, (spec, 0, None, None), "", "judge worker")
        self.items: list[Any] = []

    async def ask(self, items: Sequence[Any], note: Any = None) -> Answers:
        self.items.extend(items)
        return await self.host.ask("", pickle.loads(pickle.dumps(list(items))), note)

    async def rest(self, ticket: str) -> Answers:
        answers = await self.host.rest(ticket)
        assert answers is not None
        return answers

    async def call(self, method: str, *args: Any) -> Any:
        return await self.host.call(method, *args)


def test_the_shared_worker_holds_the_panel_and_counts_for_the_whole_run() -> None:
    async def work(mocks: list[MockJudge]) -> None:
        spec = spec_of(*mocks, images=True)
        spec = replace(spec, panel=(*spec.panel, {"kind": "rule"}))
        link = HereLink(spec)
        clients = [RemoteJudge(spec, [mock.url for mock in mocks], "panel", [link]) for _ in range(2)]
        judges = [GuardedJudge(client, spec, client.counters) for client in clients]
        picture = probe_picture()
        reference = replace(REFERENCE, synonyms=("lung infection",), images=(picture,))
        for judge in judges:
            asked = (judge.ask(text, reference) for text in ("an effusion", "lung infection", "Pneumonia"))
            verdicts = await asyncio.gather(*asked)
            assert [verdict.correct for verdict in verdicts] == [False, True, True]
        # A member may be a judge that reads more of the reference than a server is told.
        whole = {question_of(item).reference for item in link.items}
        assert whole == {replace(reference, images=())}
        broken = replace(reference, images=(replace(picture, bytes=b"no"),))
        assert (await judges[0].ask("an effusion", broken)).failure is Failure.UNREADABLE
        await judges[0].ask("a cyst", reference)
        stats = await clients[0].stats()
        assert stats.asked == 8 and stats.no_picture == stats.unscored == 1
        assert stats.panel["compared"] == stats.asked - stats.equality - stats.no_picture
        assert stats.panel["verdicts_3"] == stats.panel["compared"] and stats.panel["yes_1"] == 0
        for judge in judges:
            await judge.close()
        await link.host.close()

    serving(work, "no", "contains:lung infection")


def test_a_picture_of_many_answers_is_in_a_batch_once() -> None:
    async def work(mocks: list[MockJudge]) -> None:
        sizes: list[int] = []

        class Weighed(HereLink):
            async def ask(self, items: Sequence[Any], note: Any = None) -> Answers:
                sizes.append(len(pickle.dumps(list(items))))
                return await super().ask(items, note)

        spec = spec_of(*mocks, images=True)
        link = Weighed(spec)
        client = RemoteJudge(spec, [mock.url for mock in mocks], "panel", [link])
        judge = GuardedJudge(client, spec, client.counters)
        noise = ref_of_pixels(Image.effect_noise((200, 200), 90))
        await judge.ask("a cyst", replace(REFERENCE, images=(noise,)))
        asked = (judge.ask(f"finding {n}", replace(REFERENCE, images=(noise,))) for n in range(8))
        await asyncio.gather(*asked)
        assert sizes[0] > 30_000 and max(sizes) < 2 * sizes[0]
        await judge.close()
        await link.host.close()

    serving(work, "yes", "no")


def test_workers_divide_the_members_limits() -> None:
    section = {"kind": "openai", "url": "http://a/v1", "workers": 2, "max_concurrent": 9}
    spec = JudgeSpec.from_mapping({**section, "panel": [{"model": "a"}, {"model": "b", "max_concurrent": 4}]})
    shares = [[share_of(member, place).max_concurrent for member in spec.members] for place in (0, 1)]
    assert shares == [[5, 2], [4, 2]]
    with pytest.raises(ConfigError, match=r"judge.panel\[1\]: judge.max_concurrent is 1 for 2 workers"):
        JudgeSpec.from_mapping({**section, "panel": [{"model": "a"}, {"model": "b", "max_concurrent": 1}]})


def test_a_panel_holds_no_conversation_and_says_so() -> None:
    judge = GuardedJudge(panel(YES, NO))
    assert not judge.can_chat


def test_the_parts_of_a_panel_are_what_they_seem() -> None:
    spec = JudgeSpec.from_mapping({"kind": "openai", "panel": [ONE, {"kind": "rule"}]})
    built = build_judge(spec).judge
    assert isinstance(built, Panel)
    assert [type(member.judge) for member in built.members] == [JudgePool, RuleJudge]
    assert built.model == "a+rule" and built.endpoints == ("http://a/v1",)
    with pytest.raises(ConfigError, match="a panel got 1 judges"):
        Panel(built.members[:1])


# Metrics.


def test_shares_are_made_of_counts_that_add_up() -> None:
    one = JudgeStats(asked=3, panel={"compared": 2, "agreed": 2, "verdicts_1": 2, "yes_1": 1, "dissents_1": 0})
    two = JudgeStats(asked=9, panel={"compared": 8, "agreed": 2, "verdicts_1": 6, "yes_1": 5, "dissents_1": 4})
    flat = add_up([one, two]).flat()
    assert flat["asked"] == 12 and flat["panel_compared"] == 10
    assert panel_shares(flat) == {"agreement": 0.4, "member_1_yes": 0.75, "member_1_dissent": 0.5}
    assert panel_shares(JudgeStats().flat()) == {}
    assert panel_shares({"panel_compared": 0.0, "panel_agreed": 0.0, "panel_verdicts_2": 0.0}) == {}


def test_the_training_log_has_the_agreement() -> None:
    given = service_metrics({"panel_compared": 10.0, "panel_agreed": 4.0}, {})
    assert given["medix/judge/agreement"] == 0.4 and given["medix/judge/panel_compared"] == 10.0
    tally = Tally("medix")
    for agreed in (1.0, 3.0):  # a validation in two batches: shares are not added
        tally.add([{"score": 1.0}], {"panel_compared": 5.0, "panel_agreed": agreed}, {})
    assert tally.metrics()["medix/judge/agreement"] == 0.4
    assert not any("agreement" in name for name in service_metrics(JudgeStats().flat(), {}))
