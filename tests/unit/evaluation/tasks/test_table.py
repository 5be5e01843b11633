# SPDX-License-Identifier: Apache-2.0
"""The table of tasks: the published names, how they are found, and what a wrong table says."""

import json
from pathlib import Path
from typing import Any

import pytest

from medix_verl.data.converters.registry import find as find_converter
from medix_verl.data.converters.registry import options_of
from medix_verl.errors import ConfigError
from medix_verl.evaluation.tasks.table import METRICS, SETS, TaskSpec, find, read_tasks, select, tasks

TEXT = [
    "mmlu_clinical_knowledge",
    "mmlu_college_biology",
    "mmlu_college_medicine",
    "mmlu_medical_genetics",
    "mmlu_professional_medicine",
    "mmlu_anatomy",
    "medmcqa",
    "medqa",
    "usmle_sa",
    "pubmedqa",
    "mimic_cxr_report_summarization",
]
PICTURES = ["slake_vqa", "rad_vqa", "path_vqa", "pmc_vqa", "pmc_vqa_hard", "mimic_cxr_report_generation"]
BEYOND = ["mmmu_med", "medxpertqa_text", "medxpertqa_mm", "omnimedvqa", "healthbench"]
NEWER = ["medbullets", "supergpqa_medical", "cmb_exam", "medframeqa", "gmai_mmbench"]
GOOD: dict[str, Any] = {
    "name": "t",
    "title": "T",
    "group": "llm",
    "converter": "medqa",
    "split": "test",
    "metric": "binary",
    "answer_types": ["closed"],
    "licence": "MIT",
}


def test_the_17_published_tasks_stand_under_their_names_and_in_their_order() -> None:
    published = select("published")
    assert [task.name for task in published] == TEXT + PICTURES
    assert [task.published_name for task in published] == TEXT + PICTURES
    assert [task.group for task in published] == ["llm"] * 11 + ["vlm"] * 6


def test_all_has_ten_more() -> None:
    assert [task.name for task in select("all")] == TEXT + PICTURES + BEYOND + NEWER
    assert {task.name for task in select("llm")} == {*TEXT, "medxpertqa_text", "healthbench", *NEWER[:3]}
    assert {task.name for task in select("vlm")} == {*PICTURES, *BEYOND[:1], *BEYOND[2:4], *NEWER[3:]}


def test_parts_of_a_set_are_asked_by_name_and_count_in_no_average_twice() -> None:
    parts = {task.name: (task.part_of, task.size, task.options) for task in tasks().values() if task.part_of}
    assert parts == {
        "healthbench_hard": ("healthbench", 1000, {"subset": "hard"}),
        "healthbench_consensus": ("healthbench", 3671, {"subset": "consensus"}),
        "medbullets_op4": ("medbullets", 308, {"options": "4"}),
    }
    assert [task.name for task in select("healthbench_hard")] == ["healthbench_hard"]
    assert not {task.name for name in SETS for task in select(name)} & set(parts)


@pytest.mark.parametrize("task", tasks().values(), ids=lambda task: task.name)
def test_every_task_names_a_converter_that_has_its_split_and_options(task: TaskSpec) -> None:
    converter = find_converter(task.converter)
    assert task.split in converter.SPEC.splits
    assert set(task.options) <= set(options_of(converter))
    assert task.pictures == (task.group == "vlm")
    assert task.licence and task.metric in METRICS


def test_only_the_reports_of_mimic_are_credentialed() -> None:
    closed = [task for task in tasks().values() if task.credentialed]
    assert [task.name for task in closed] == ["mimic_cxr_report_summarization", "mimic_cxr_report_generation"]
    assert all("physionet.org" in task.credential for task in closed)
    assert [task.name for task in tasks().values() if task.metric == "report05"] == [task.name for task in closed]


def test_select_takes_names_groups_and_lists_each_task_once() -> None:
    assert [task.name for task in select("rad_vqa, medqa")] == ["medqa", "rad_vqa"]
    assert [task.name for task in select(["medqa", "medqa", "llm"])] == [task.name for task in select("llm")]
    assert [task.name for task in select(["all,healthbench_hard", "medqa"])] == [
        task.name for task in select(["all", "healthbench_hard"])
    ]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("slakes", "unknown task 'slakes'; did you mean 'slake'?"),
        ("SLAKE-VQA", "did you mean 'slake_vqa'?"),
        ("medqa,publshed", "did you mean 'published'?"),
        ("zzz", "unknown task 'zzz'; `medix-verl evaluate list` shows them"),
        ("", "no task was named"),
    ],
)
def test_an_unknown_task_is_refused_with_the_nearest_name(wanted: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        select(wanted)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_find_gives_one() -> None:
    assert find("medqa").size == 1273


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group": "lmm"}, "group is 'lmm'; accepted: llm, vlm"),
        ({"metric": "accuracy"}, "metric is 'accuracy'"),
        ({"split": "validation"}, "split is 'validation'"),
        ({"answer_types": ["openly"]}, "answer_types is 'openly'"),
        ({"size": 0}, "size is 0"),
        ({"title": " "}, "title is ' '"),
        ({"credentialed": True}, "credentialed without credential"),
        ({"credentialed": "yes"}, "credentialed is 'yes'"),
        ({"converters": "x"}, "unknown key 'converters'"),
        ({"name": None}, "lacks name"),
    ],
)
def test_a_wrong_line_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    row = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([row]))
    with pytest.raises(ConfigError) as caught:
        read_tasks(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not a table of tasks"), ("{}", "write a JSON list of objects"), (json.dumps([GOOD, GOOD]), "'t' twice")],
)
def test_a_wrong_table_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_tasks(path)
