# SPDX-License-Identifier: Apache-2.0
"""Solved examples: from which rows, never a question of the task or its picture, and how they are shown."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.assemble import TaskChoices, load_examples, load_items
from medix_verl.evaluation.tasks.few_shot import answer_shown, splits_for
from medix_verl.evaluation.tasks.pictures import Item
from medix_verl.evaluation.tasks.table import TaskSpec, find, select
from medix_verl.types import ImageRef, Sample


def drawing(number: int, saved: str = "PNG", side: int = 96) -> bytes:
    """A picture with structure; the same number is the same picture."""
    picture = Image.new("RGB", (96, 96), (20, 20, 20))
    draw = ImageDraw.Draw(picture)
    for step in range(6):
        x, y = (number * 37 + step * 29) % 70, (number * 53 + step * 17) % 70
        draw.ellipse((x, y, x + 12 + (number + step) % 13, y + 20), fill=(60 + 30 * step, 90, 200 - 20 * step))
    buffer = io.BytesIO()
    picture.resize((side, side)).save(buffer, saved, **({"quality": 70} if saved == "JPEG" else {}))
    return buffer.getvalue()


def own(folder: Path, rows: list[dict[str, object]], **keys: object) -> TaskSpec:
    """A task of one's own with a table of these rows."""
    folder.mkdir(exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "mine.yaml").write_text(json.dumps({"source": "rows.jsonl", **keys}), encoding="utf-8")
    (task,) = select(str(folder / "mine.yaml"))
    return task


def drawn(task: TaskSpec, count: int, seed: int = 0) -> list[Item]:
    choices, source = TaskChoices(seed=seed, few_shot=count), Path(str(task.source))
    return list(load_examples(task, source, choices, None, load_items(task, source, choices, None)))


def row(number: int, split: str, **more: object) -> dict[str, object]:
    asked = f"What does finding number {number} mean?"
    return {"id": f"{split}-{number}", "split": split, "question": asked, "answer": f"meaning {number}", **more}


def test_examples_are_of_the_training_rows_and_the_same_each_time(tmp_path: Path) -> None:
    task = own(tmp_path / "a", [row(n, "test") for n in range(5)] + [row(n, "train") for n in range(50, 90)])
    first = drawn(task, 4)
    assert len(first) == 4 and all(item.sample.id.startswith("train-") for item in first)
    assert first == drawn(task, 4) and first[:2] == drawn(task, 2)
    assert [item.sample.id for item in drawn(task, 4, seed=1)] != [item.sample.id for item in first]


def test_without_training_rows_the_validation_rows_are_taken(tmp_path: Path) -> None:
    task = own(tmp_path / "a", [row(n, "test") for n in range(5)] + [row(n, "val") for n in range(50, 60)])
    assert {item.sample.id.split("-")[0] for item in drawn(task, 3)} == {"val"}


@pytest.mark.parametrize("same", [lambda n: row(n, "train"), lambda n: row(n, "train", answer="another answer")])
def test_a_question_of_the_task_is_no_example(tmp_path: Path, same: Callable[[int], dict[str, object]]) -> None:
    task = own(tmp_path / "a", [row(n, "test") for n in range(30)] + [*map(same, range(30)), row(99, "train")])
    assert [item.sample.id for item in drawn(task, 1)] == ["train-99"]
    with pytest.raises(DataError, match=r"mine: 1 examples are left of the 31 rows .* choices.few_shot=2"):
        drawn(task, 2)


@pytest.mark.parametrize(("saved", "side"), [("PNG", 96), ("JPEG", 96), ("PNG", 64)])
def test_a_picture_of_the_task_and_a_changed_copy_of_it_is_no_example(tmp_path: Path, saved: str, side: int) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    for number in range(8):
        (folder / f"{number}.png").write_bytes(drawing(number))
        (folder / f"copy-{number}.{saved.lower()}").write_bytes(drawing(number, saved, side))
    (folder / "other.png").write_bytes(drawing(400))
    rows = [row(n, "test", image=f"{n}.png") for n in range(8)]
    rows += [row(100 + n, "train", image=f"copy-{n}.{saved.lower()}") for n in range(8)]
    task = own(folder, [*rows, row(300, "train", image="other.png")])
    assert task.pictures and [item.sample.id for item in drawn(task, 1)] == ["train-300"]
    with pytest.raises(DataError, match="1 examples are left"):
        drawn(task, 2)


def test_a_patient_of_the_task_has_no_example(tmp_path: Path) -> None:
    rows = [row(1, "test", patient_id="p1")] + [row(n, "train", patient_id=f"p{n - 9}") for n in (10, 11)]
    assert [item.sample.id for item in drawn(own(tmp_path / "a", rows), 1)] == ["train-11"]


def test_a_table_without_splits_has_no_examples(tmp_path: Path) -> None:
    rows = [{"question": f"Q{n}?", "answer": "x"} for n in range(9)]
    with pytest.raises(DataError, match="choices.few_shot needs its train or val split: .* has no column split"):
        drawn(own(tmp_path / "a", rows), 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [("healthbench", "graded by rubrics"), ("pmc_vqa", "no split but test"), ("usmle_sa", "no split but")],
)
def test_tasks_without_another_split_are_refused_before_anything_is_asked(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"choices.few_shot: .*{message}"):
        splits_for(find(name))


def test_the_published_tasks_have_their_splits() -> None:
    found = {task.name: [other.split for other in splits_for(task)] for task in select(["medqa", "medmcqa", "rad_vqa"])}
    assert found == {"medqa": ["train", "val"], "medmcqa": ["train"], "rad_vqa": ["train"]}


SHOWN = Sample("a", "s", "Q?", "mass", "CT", (ImageRef(path="x"),), ("cyst", "mass"), meta={"label": "B"})


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("medix", "<CT> <answer>B. mass</answer>"),
        ("medix_short", "<CT> <answer>B. mass</answer>"),
        ("published", "B. mass"),
    ],
)
def test_an_answer_is_shown_in_the_form_of_the_prompt(template: str, shown: str) -> None:
    assert answer_shown(SHOWN, template) == shown
    assert answer_shown(Sample("a", "s", "Q?", "mass"), "published") == "mass"


def test_the_same_words_about_another_picture_are_an_example(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    for number in (1, 400):
        (folder / f"{number}.png").write_bytes(drawing(number))
    rows = [
        {"id": split, "split": split, "question": "Is it normal?", "answer": "no", "image": f"{number}.png"}
        for split, number in (("test", 1), ("train", 400))
    ]
    assert [item.sample.id for item in drawn(own(folder, rows), 1)] == ["train"]
