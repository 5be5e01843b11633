# SPDX-License-Identifier: Apache-2.0
"""Putting a task together: judges from flags, questions with their pictures, and what a response depends on."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.assemble import TaskChoices, load_items
from medix_verl.evaluation.grading.judge_settings import judge_specs
from medix_verl.evaluation.grading.spec import ProtocolSpec, build_protocol
from medix_verl.evaluation.models.generation import GenerationSpec
from medix_verl.evaluation.task_run import Answering, TaskRun, answer_type_of, cluster_of, question_key
from medix_verl.evaluation.tasks.pictures import Picture
from medix_verl.evaluation.tasks.table import find
from medix_verl.runtime.dispatch import Breaker
from medix_verl.types import ImageRef, Sample

URL = "http://127.0.0.1:1/v1"


def sample(name: str = "a", **changes: Any) -> Sample:
    return replace(Sample(name, "medqa", "Which?", "x", options=("x", "y")), **changes)


def loader(*samples: Sample) -> Any:
    def load(spec: object, source: object, limit: object, seed: object) -> Iterator[Sample]:
        return iter(samples)

    return load


def run(*samples: Sample, **answering: Any) -> TaskRun:
    spec = find("medqa")
    items = load_items(spec, None, TaskChoices(), None, loader(*samples))
    protocol = build_protocol(ProtocolSpec("published"), judge_specs({}))
    return TaskRun(spec, items, protocol, Answering("owner/name", **answering))


def test_the_default_judge_is_the_rule() -> None:
    assert [judge.kind for judge in judge_specs({})] == ["rule"]


def test_a_panel_has_a_server_for_each_or_one_for_all() -> None:
    one = judge_specs({"kind": "openai", "url": URL, "model": "a, b"})
    two = judge_specs({"kind": "openai", "url": f"{URL},http://127.0.0.1:2/v1", "model": "a,b"})
    assert [(judge.model, judge.urls) for judge in one] == [("a", (URL,)), ("b", (URL,))]
    assert two[1].urls == ("http://127.0.0.1:2/v1",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "openai", "model": "a"}, "got no judge.url"),
        ({"kind": "openai", "url": URL}, "got no judge.model"),
        ({"kind": "rule", "url": URL}, 'type judge.kind="openai"'),
        ({"kind": "openai", "url": f"{URL},{URL}", "model": "a,b,c"}, "2 servers for 3 models"),
        ({"kind": "opnai", "url": URL, "model": "a"}, "did you mean 'openai'"),
    ],
)
def test_judges_that_do_not_fit_are_refused(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        judge_specs(settings)


def test_an_empty_task_and_an_id_that_is_there_twice_are_refused() -> None:
    with pytest.raises(DataError, match="medqa has no question"):
        run()
    with pytest.raises(DataError, match="id 'a' is there twice"):
        run(sample(), sample())


def test_a_response_depends_on_question_pictures_and_settings_and_nothing_else() -> None:
    base = run(sample())
    item = base.items["a"]
    key = question_key(base, item)
    assert key == question_key(replace(base, condition="blank", model_breaker=Breaker(1)), item)
    others = [
        (run(sample(question="What?")), "a"),
        (run(sample("b")), "b"),
        (run(sample(), generation=GenerationSpec(seed=1)), "a"),
        (run(sample(), generation=GenerationSpec(temperature=0.5)), "a"),
        (run(sample(), template="medix_short"), "a"),
        (run(sample(), generation=GenerationSpec(max_tokens=7)), "a"),
    ]
    keys = {question_key(other, other.items[name]) for other, name in others}
    real = Picture("00", (1, 1), "image/png", data=b"x")
    keys |= {question_key(base, replace(item, shown=(picture,))) for picture in (real, replace(real, data=None))}
    assert len(keys | {key}) == len(others) + 3


@pytest.mark.parametrize(
    ("changes", "cluster"),
    [
        ({}, "a"),
        ({"meta": {"image_id": ["b.png", "a.png"]}}, "image:a.png+b.png"),
        ({"meta": {"image_id": ["b.png"], "patient_id": "p1"}}, "patient:p1"),
        ({"images": (ImageRef(path="aa11"),)}, "image:aa11"),
        ({"meta": {"image_id": []}}, "a"),
    ],
)
def test_clusters(changes: dict[str, Any], cluster: str) -> None:
    assert cluster_of(sample(**changes)) == cluster


def test_answer_types() -> None:
    assert answer_type_of(find("medqa"), sample(meta={"answer_type": "open"})) == "closed"
    assert answer_type_of(find("slake_vqa"), sample(meta={"answer_type": "open"})) == "open"
    assert answer_type_of(find("slake_vqa"), sample()) == "closed"
    assert answer_type_of(find("mimic_cxr_report_generation"), sample()) == "report"
