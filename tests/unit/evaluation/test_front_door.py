# SPDX-License-Identifier: Apache-2.0
"""`medix_verl.evaluate`: what is refused before anything is asked, by the names of its fields."""

from pathlib import Path
from typing import Any

import pytest

from medix_verl import JudgeSpec, evaluate
from medix_verl.errors import MedixError
from medix_verl.evaluation.assemble import TaskChoices
from medix_verl.evaluation.front_door import outside_of_a_loop, settings_of
from medix_verl.evaluation.grading.judge_settings import judge_specs
from medix_verl.evaluation.grading.spec import ProtocolSpec
from medix_verl.evaluation.models.source import Model, read_model
from medix_verl.evaluation.task_run import Limits

MODEL = Model("m", "http://127.0.0.1:1/v1")
SERVED = JudgeSpec(kind="openai", url="http://127.0.0.1:2/v1", model="q")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tasks": "slak_vqa"}, "unknown task 'slak_vqa'; did you mean 'slake_vqa'"),
        ({"tasks": []}, "no task was named"),
        ({"sources": {"medqua": "x"}}, "unknown task 'medqua'"),
        ({"sources": {"medqa": "gone"}}, r'sources\["medqa"\]=gone: there is no such file or folder'),
        ({"tasks": "mimic_cxr_report_generation"}, r'sources\["mimic_cxr_report_generation"\]=PATH'),
        ({"tasks": "healthbench"}, 'type judge.kind="openai" judge.url=URL judge.model=NAME'),
        ({"judge": JudgeSpec(guard=False)}, "judge.guard was given and would do nothing"),
        (
            {"judge": JudgeSpec(kind="openai", url="http://127.0.0.1:2/v1", model="q", soft=True)},
            'judge.soft was given and would do nothing: protocol published .* choose protocol.name="robust"',
        ),
        ({"judge": JudgeSpec(kind="openai", model="q")}, "got no judge.url"),
        ({"protocol": ProtocolSpec("robust", rounds=3)}, 'protocol.rounds=3 was given with judge.kind="rule"'),
        ({"choices": {"limit": 0}}, "choices.limit is 0; set it to an integer of at least 1 or to null"),
        ({"choices": {"condition": "blnk"}}, "choices.condition is 'blnk'; accepted: real, blank, shuffled"),
        ({"choices": {"condition": "blank"}}, 'choices.condition="blank" for tasks without pictures'),
        ({"choices": {"template": "medx"}}, "choices.template is 'medx'; accepted: .*did you mean 'medix'"),
        ({"choices": {"few_shot": -1}}, "choices.few_shot is -1"),
        ({"limits": {"connections": 0}}, "limits.connections is 0; set it to an integer of at least 1"),
        ({"networks": ["8.8.8.8/32"]}, "networks 8.8.8.8/32 is not a private range"),
        ({"model": "no such"}, "MODEL is 'no such'"),
    ],
)
def test_errors_name_fields(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    kinds: dict[str, Any] = {"choices": TaskChoices, "limits": Limits}

    def asked() -> None:
        made = {key: kinds[key](**value) if key in kinds else value for key, value in given.items()}
        evaluate(**{"model": MODEL, "tasks": ["medqa"], "out": tmp_path / "out", **made})

    with pytest.raises(MedixError, match=message) as caught:
        asked()
    assert "--" not in str(caught.value) and not (tmp_path / "out").exists()


def test_a_judge_is_what_its_spec_says() -> None:
    assert [judge.kind for judge in judge_specs(settings_of(None))] == ["rule"]
    (judge,) = judge_specs(settings_of(SERVED))
    assert (judge.kind, judge.model, judge.urls) == ("openai", "q", SERVED.urls)
    panel = JudgeSpec(kind="openai", url="http://127.0.0.1:2/v1", panel=[{"model": "a"}, {"model": "b"}])
    assert [judge.model for judge in judge_specs(settings_of(panel))] == ["a", "b"]
    assert settings_of(JudgeSpec()) == {"kind": "rule"}


def test_a_model_of_a_server_is_named_by_its_field() -> None:
    with pytest.raises(MedixError, match="model.name is for a URL"):
        read_model("owner/name", "m")


def test_work_that_needs_a_loop_runs_where_one_runs_already() -> None:
    import asyncio

    done: list[int] = []

    def work() -> None:
        asyncio.run(asyncio.sleep(0))
        done.append(1)

    async def notebook() -> None:
        outside_of_a_loop(work)

    outside_of_a_loop(work)
    asyncio.run(notebook())
    assert done == [1, 1]
