# SPDX-License-Identifier: Apache-2.0
"""An evaluation's judge sees the question's own pictures, and a panel of the settings is one voter a member."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from medix_verl.errors import ConfigError, DataError, JudgeError
from medix_verl.evaluation.grading.judge_settings import check_judging, facts_of_judging, judge_specs, judgeable
from medix_verl.evaluation.grading.preflight import ask_judges
from medix_verl.evaluation.grading.spec import ProtocolSpec, build_protocol, build_voters
from medix_verl.evaluation.tasks.pictures import as_ref, kept_refs, prepare, show_as
from medix_verl.evaluation.tasks.table import find
from medix_verl.judge.mock import MockJudge, MockSpec
from medix_verl.judge.pictures import encode_picture
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import ImageRef, Sample

ROBUST, PUBLISHED = ProtocolSpec("robust", rounds=1, swap=False), ProtocolSpec("published")
SERVED = {"kind": "openai", "url": "http://127.0.0.1:1/v1", "model": "q"}


def encoded(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 12), (shade, 10, 20)).save(buffer, "PNG")
    return buffer.getvalue()


def sample(name: str, shade: int, **more: Any) -> Sample:
    return Sample(name, "set", "What is seen?", "pneumonia", images=(ImageRef(bytes=encoded(shade)),), **more)


def seen_by(work: Any, **mock: Any) -> list[str]:
    """The pictures that a server was shown in the course of some work."""

    async def main() -> list[str]:
        async with MockJudge(MockSpec(verdict="yes", **mock)) as server:
            settings = {"kind": "openai", "url": server.url, "model": "m", "images": True, "cache": "none"}
            await work(settings)
            return list(server.pictures.elements())

    return asyncio.run(main())


def sha(shade: int) -> str:
    import hashlib

    return hashlib.sha256(encode_picture(ImageRef(bytes=encoded(shade)), "q", 1024 * 1024)).hexdigest()


@pytest.mark.parametrize(
    ("metric", "count"), [("binary", 1), ("report05", 1), ("rubric", 2)], ids=["verdict", "grade", "each criterion"]
)
def test_every_way_of_judging_shows_the_picture(metric: str, count: int) -> None:
    rubric = [{"criterion": "Names it", "points": 1}, {"criterion": "Warns", "points": 1}]

    async def work(settings: dict[str, Any]) -> None:
        protocol = build_protocol(ROBUST, judge_specs(settings))
        one = sample("a", 50, meta={"rubrics": rubric})
        await protocol.judge(one, "<answer>a shadow</answer>", metric, one.images)
        await protocol.close()

    assert set(seen_by(work)) == {sha(50)}
    # What cannot be read is asked again, so a conversation's picture may be shown more often.
    assert len(seen_by(work)) >= count


def test_the_judge_sees_the_question_s_own_picture_whatever_the_model_was_shown() -> None:
    items = [prepare(sample(name, shade), None, Path()) for name, shade in (("a", 50), ("b", 90))]
    for condition in ("blank", "shuffled"):
        shown = {item.sample.id: item for item in show_as(items, condition, 0)}
        refs = [as_ref(picture) for picture in shown["a"].pictures]

        async def work(settings: dict[str, Any], refs: list[ImageRef] = refs) -> None:
            protocol = build_protocol(ROBUST, judge_specs(settings))
            await protocol.judge(sample("a", 50), "<answer>a shadow</answer>", "binary", refs)
            await protocol.close()

        assert seen_by(work) == [sha(50)]
    with pytest.raises(DataError, match="a blank picture is not a picture of the question"):
        as_ref(next(item for item in show_as(items, "blank", 0)).shown[0])


def test_a_picture_that_cannot_be_read_leaves_the_answer_unscored() -> None:
    async def work(settings: dict[str, Any]) -> None:
        protocol = build_protocol(ROBUST, judge_specs(settings))
        for metric in ("binary", "report05"):
            outcome = await protocol.judge(sample("a", 50), "<answer>a shadow</answer>", metric, [ImageRef(bytes=b"x")])
            assert outcome.value is None and "is not a readable picture" in outcome.reason
        await protocol.close()

    assert seen_by(work) == []


def test_judging_again_finds_the_kept_pictures(tmp_path: Path) -> None:
    item = prepare(sample("a", 50), tmp_path / "images", tmp_path)
    name = item.pictures[0].hash
    (ref,) = kept_refs([name], tmp_path / "images", "a")
    assert encode_picture(ref, "q", 4096) == encode_picture(ImageRef(bytes=encoded(50)), "q", 4096)
    with pytest.raises(DataError, match="row 'a': its picture was not kept.*evaluate again with judge.images=True"):
        kept_refs(["0" * 32], tmp_path / "images", "a")


def test_the_published_protocol_shows_no_pictures_and_says_so() -> None:
    with pytest.raises(
        ConfigError, match='judge.images was given and would do nothing: .*choose protocol.name="robust"'
    ):
        check_judging({**SERVED, "images": True}, PUBLISHED)
    with pytest.raises(ConfigError, match="judge.images was given and would do nothing: the rule judge"):
        check_judging({"images": True}, ProtocolSpec("robust"))
    check_judging({**SERVED, "images": True}, ProtocolSpec("robust"))


def test_a_server_of_texts_is_told_before_anything_is_generated() -> None:
    async def serve(pictures: str) -> str:
        async with MockJudge(MockSpec(verdict="yes", pictures=pictures)) as server:
            specs = judge_specs({"kind": "openai", "url": server.url, "model": "m", "images": True})
            try:
                await asyncio.to_thread(ask_judges, specs)
            except JudgeError as error:
                return str(error)
            assert sum(server.pictures.values()) == 2  # with a right and with a wrong answer
            return ""

    assert asyncio.run(serve("take")) == ""
    assert "refuses a question with a picture" in asyncio.run(serve("refuse"))


def test_the_manifest_says_that_pictures_were_shown() -> None:
    plain = facts_of_judging(judge_specs(SERVED), ROBUST)["judge"]
    seen = facts_of_judging(judge_specs({**SERVED, "images": True, "max_images": 2}), ROBUST)["judge"]
    assert "images" not in plain and "panel" not in plain
    assert {name: seen[name] for name in ("images", "max_images", "image_pixels")} == {
        "images": True,
        "max_images": 2,
        "image_pixels": 1024 * 1024,
    }


PANEL = [{"model": "a"}, {"model": "b", "url": "http://127.0.0.1:2/v1", "prompt": "pictures", "images": True}]


def test_a_panel_is_a_voter_for_each_member_and_is_in_the_manifest() -> None:
    """Members can be talked to, which the panel as a whole cannot; so reports and rubrics are graded, too."""
    settings = {**SERVED, "model": None, "panel": PANEL}
    specs = judge_specs(settings)
    assert [(spec.model, spec.images, spec.breaker) for spec in specs] == [("a", False, "stop"), ("b", True, "stop")]
    voters = build_voters(ROBUST, specs)
    assert [voter.name for voter in voters] == ["a", "b"] and all(voter.judge.can_chat for voter in voters)
    facts = facts_of_judging(specs, ROBUST)
    assert facts["judge"]["model"] == ["a", "b"]
    assert facts["judge_url"] == ["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"]
    assert [(member["model"], member["prompt"]) for member in facts["judge"]["panel"]] == [
        ("a", "reference"),
        ("b", "pictures"),
    ]
    check_judging(settings, ROBUST)
    assert len(judgeable([find("medqa"), find("healthbench")], settings, lambda line: None)) == 2


def test_a_panel_that_an_evaluation_cannot_use_is_refused() -> None:
    with_rule = {**SERVED, "panel": [{"model": "a"}, {"kind": "rule"}]}
    with pytest.raises(ConfigError, match="the rule judge was named beside others"):
        build_voters(ROBUST, judge_specs(with_rule))
    two = judge_specs({**SERVED, "panel": [{"model": "a"}, {"model": "b"}]})
    with pytest.raises(
        ConfigError, match='protocol published got 2 judges; give one, or choose protocol.name="robust"'
    ):
        build_protocol(PUBLISHED, two)
    with pytest.raises(ConfigError, match="are the same judge"):
        judge_specs({**SERVED, "panel": [{"model": "a"}, {"model": "a"}]})


def test_a_panel_whole_is_no_voter_and_says_what_to_type() -> None:
    spec = JudgeSpec.from_mapping({**SERVED, "panel": [{"model": "a"}, {"model": "b"}]})
    with pytest.raises(ConfigError, match=r"a panel.*medix_verl.evaluation.grading.judge_settings.judge_specs"):
        build_voters(ROBUST, [replace(spec)])
