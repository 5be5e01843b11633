# SPDX-License-Identifier: Apache-2.0
"""Questions of another number, split or part than the task's are named; published layouts are not."""

from dataclasses import replace
from pathlib import Path

import pytest

from helpers import task_layouts as layouts
from medix_verl.evaluation.tasks.expected import SourceFacts, deviations
from medix_verl.evaluation.tasks.load import load
from medix_verl.evaluation.tasks.table import find, tasks


@pytest.mark.parametrize(
    ("task", "questions", "refused", "limit", "message"),
    [
        ("pubmedqa", 1000, 0, None, "1000 questions, and the published set (test) has 500"),
        ("pubmedqa", 500, 0, None, ""),
        ("pubmedqa", 500, 0, 500, ""),
        ("mmlu_anatomy", 144, 0, None, "144 questions, and the published set (test) has 135"),
        ("slake_vqa", 4919, 4900, None, "4919 questions, and the published set (test) has 1061"),
        ("slake_vqa", 1061, 1033, None, ""),  # the other language is refused
        ("medqa", 1270, 3, None, ""),
        ("medqa", 1270, 2, None, "1270 questions, and the published set (test) has 1273"),
        ("medqa", 50, 0, 50, ""),
        ("medqa", 48, 0, 50, "48 questions, and the published set (test) has 1273"),
        ("pmc_vqa", 7, 0, None, ""),  # of no published number
    ],
)
def test_the_number_of_questions(task: str, questions: int, refused: int, limit: int | None, message: str) -> None:
    assert deviations(find(task), SourceFacts("data"), questions, refused, limit) == ([message] if message else [])


@pytest.mark.parametrize(
    ("task", "place", "file", "message"),
    [
        ("slake_vqa", "slake", "test.json", ""),
        ("slake_vqa", "slake/train.json", "train.json", "is of the split train, and the task is of test"),
        ("slake_vqa", "slake", "my_train.json", "is of the split train"),
        ("medqa", "train/medqa", "test.json", ""),  # a folder of the user's own
        ("medmcqa", "m", "data/test-00000-of-00001.parquet", "is of the split test, and the task is of val"),
        ("medmcqa", "m", "data/validation-00000-of-00001.parquet", ""),
        ("pubmedqa", "p", "pqa_labeled/train-00000-of-00001.parquet", ""),  # its authors call the test set so
        ("mmlu_anatomy", "mmlu", "anatomy/test-0.parquet", ""),
        (
            "mmlu_anatomy",
            "mmlu/college_biology",
            "test-0.parquet",
            "is of subset college_biology, and the task is of an",
        ),
        ("mmlu_anatomy", "m/college_biology/test-0.parquet", "test-0.parquet", "is of subset college_biology"),
        ("medxpertqa_mm", "x", "MM/test.jsonl", ""),
        ("medxpertqa_mm", "x", "Text/test.jsonl", "is of subset text, and the task is of mm"),
        ("mmmu_med", "x", "Pharmacy/dev-00000-of-00001.parquet", ""),
    ],
)
def test_split_and_part(task: str, place: str, file: str, message: str) -> None:
    spec = replace(find(task), size=None)
    found = deviations(spec, SourceFacts(place, files=[file]), 3, 0, None)
    assert [message in text for text in found] == ([True] if message else []), found


@pytest.mark.parametrize("name", list(tasks()))
def test_published_layouts_deviate_in_their_number_only(name: str, tmp_path: Path) -> None:
    spec, facts = find(name), SourceFacts()
    count = sum(1 for _ in load(spec, layouts.write(name, tmp_path / "set"), facts=facts))
    assert facts.files and facts.digest and facts.place.endswith("set")
    assert deviations(replace(spec, size=count), facts, count, 0, None) == []


def test_the_file_of_another_split_or_subject_is_named_when_it_is_read(tmp_path: Path) -> None:
    folder = layouts.write("rad_vqa", tmp_path / "set")
    file = next(folder.rglob("test-*.parquet")).rename(folder / "train-0.parquet")
    facts = SourceFacts()
    count = sum(1 for _ in load(find("rad_vqa"), file, facts=facts))
    assert deviations(find("rad_vqa"), facts, count, 0, None) == [
        f"{count} questions, and the published set (test) has 451",
        "the file train-0.parquet is of the split train, and the task is of test",
    ]
    folder = layouts.write("mmlu_anatomy", tmp_path / "mmlu")
    facts = SourceFacts()
    file = next((folder / "college_biology").glob("test-*"))
    assert sum(1 for _ in load(find("mmlu_anatomy"), file, facts=facts))
    (message,) = deviations(replace(find("mmlu_anatomy"), size=None), facts, 2, 0, None)
    assert message.endswith("is of subset college_biology, and the task is of anatomy")
