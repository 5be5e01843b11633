# SPDX-License-Identifier: Apache-2.0
"""Own tasks: files, tables, sets that `prepare` knows, and tasks of installed packages."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from helpers import lab_package as lab
from helpers.places import ROOT
from medix_verl.cli.main import main
from medix_verl.errors import ConfigError, DataError, MedixError
from medix_verl.evaluation.assemble import TaskChoices, load_items
from medix_verl.evaluation.models.source import Model
from medix_verl.evaluation.store.read import is_open, spec_of
from medix_verl.evaluation.suite import SuiteSpec
from medix_verl.evaluation.tasks.load import load
from medix_verl.evaluation.tasks.table import TaskSpec, by_task, facts_of, find, select, tasks

TABLE = "Frage,answer,options,split\nWhat is it?,a nodule,a nodule|nothing,test\nAnd this?,nothing,,train\n"


def written(folder: Path, table: str = TABLE, **keys: Any) -> Path:
    """A file of one task, and its table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "questions.csv").write_text(table, encoding="utf-8")
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"source": "questions.csv", **keys}), encoding="utf-8")
    return path


def one(path: Path | str) -> TaskSpec:
    (task,) = select(str(path))
    return task


def test_a_file_says_source_columns_split_grading_and_prompt(tmp_path: Path) -> None:
    keys = {"columns": {"question": "Frage"}, "split": "test", "prompt": "published", "size": 1, "licence": "ours"}
    task = one(written(tmp_path / "a", name="nodules", **keys))
    assert (task.name, task.group, task.split, task.metric, task.prompt) == (
        *("nodules", "llm", "test", "binary"),
        "published",
    )
    (sample,) = load(task, task.source)
    assert (sample.question, sample.answer, sample.meta["label"], sample.meta["licence"]) == (
        *("What is it?", "a nodule", "A"),
        "ours",
    )
    other = one(written(tmp_path / "b", columns={"question": "Frage"}, split="train", grading="report05"))
    assert (other.name, other.metric, other.answer_types) == ("mine", "report05", ("report",))
    assert [sample.answer for sample in load(other, other.source)] == ["nothing"]


def test_a_table_by_itself_and_its_pictures(tmp_path: Path) -> None:
    table = tmp_path / "my questions, 2.csv"
    table.write_text("question,answer,image\nWhat?,a nodule,a.png\n", encoding="utf-8")
    task = one(f"own:{table}")
    assert (task.name, task.group, task.pictures, task.source) == ("my_questions_2", "vlm", True, str(table))
    assert [found.name for found in select(["medqa", f"own:{table}"])] == ["medqa", "my_questions_2"]


def test_a_file_may_hold_several(tmp_path: Path) -> None:
    path = written(tmp_path, "question,answer\nWhat?,this\n")
    path.write_text(
        "- {name: first, source: questions.csv}\n- {name: second, source: questions.csv, answers: [open]}\n"
        "- {name: published, converter: vqa-rad, split: train, options: {}}\n".replace("published", "radiology"),
        encoding="utf-8",
    )
    first, second, third = select(str(path))
    assert (first.answer_types, second.answer_types) == (("open", "closed"), ("open",))
    assert (third.converter, third.split, third.hub_id, third.group) == (
        *("vqa-rad", "train", "flaviagiammarino/vqa-rad"),
        "vlm",
    )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"grading": "exact"}, r"task 'mine': grading is 'exact'; accepted: binary, report05, rubric"),
        ({"colums": {}}, r"task 'mine' has an unknown key 'colums'; .*did you mean 'columns'"),
        ({"split": "testing"}, r"task 'mine': split is 'testing'; accepted: train, val, test"),
        ({"prompt": "medx"}, r"prompt template 'medx' is not known"),
        ({"source": "gone.csv"}, r"task 'mine': source is 'gone.csv', and there is no .*gone.csv"),
        ({"columns": {"question": "Farge"}}, r"has no column 'question'; it has Frage"),
        ({"options": {"encding": "utf-8"}}, r"no option 'encding'.*did you mean 'encoding'"),
        ({"converter": "slak"}, r"unknown data set 'slak'"),
        ({"converter": "medqa", "columns": {"question": "Frage"}}, "columns is for tables, and medqa is none"),
        ({"converter": "pmc-vqa", "split": "val"}, "split is 'val'; pmc-vqa has "),
        ({"name": "all"}, "task 'all' is not a task name"),
        ({"name": "a.real"}, "task 'a.real' is not a task name"),
        ({"size": "many"}, "task 'mine': size is 'many'; set it to an integer"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_before_anything_is_asked(
    keys: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = written(tmp_path, **{"columns": {"question": "Frage"}, **keys})
    with pytest.raises(MedixError, match=message) as caught:
        select(str(path))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [("[]", "holds no task"), ("just words", "holds no task"), ("{a: [", "is not YAML"), ("- 3", "holds no task")],
)
def test_a_file_that_is_no_task_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        select(str(path))


@pytest.mark.parametrize("word", ["gone.yaml", "own:gone.csv"])
def test_a_file_that_is_not_there_is_said(word: str) -> None:
    with pytest.raises(ConfigError, match="there is no such file; give a table as own:FILE"):
        select(word)


def test_two_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    table = "question,answer\nWhat?,this\n"
    own = written(tmp_path / "a", table, name="medqa")
    with pytest.raises(ConfigError, match="two tasks are called 'medqa'; give your own another `name`"):
        select(str(own))
    with pytest.raises(ConfigError, match="two tasks are called 'mine'"):
        select([str(written(tmp_path / "b", table)), str(written(tmp_path / "c", table))])


def test_rows_that_must_stay_make_a_task_that_stays(tmp_path: Path) -> None:
    table = "question,answer,credentialed\nWhat?,this,yes\n"
    task = one(written(tmp_path / "a", table))
    with pytest.raises(DataError, match="is credentialed, and the task is not; write `credentialed: true`"):
        load_items(task, Path(str(task.source)), TaskChoices(), None)
    task = one(written(tmp_path / "b", table, credentialed=True))
    assert task.credentialed and task.credential and len(load_items(task, Path(str(task.source)), TaskChoices(), None))
    for keys in ({"options": {"credentialed": True}}, {"converter": "mimic-cxr", "options": {}}):
        assert one(written(tmp_path / "c", "question,answer\nWhat?,this\n", **keys)).credentialed


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("slake", ["slake_vqa"]),
        ("vqa-rad", ["rad_vqa"]),
        ("medxpertqa", ["medxpertqa_text", "medxpertqa_mm"]),
        ("healthbench", ["healthbench"]),
        ("iu-xray", ["iu_xray"]),
    ],
)
def test_the_name_that_prepare_uses_is_accepted(name: str, found: list[str]) -> None:
    assert [task.name for task in select(name)] == found


def test_a_set_beyond_the_table_is_a_task_by_itself() -> None:
    task = find("iu-xray")
    assert (task.converter, task.split, task.metric, task.answer_types, task.group) == (
        *("iu-xray", "test", "report05", ("report",)),
        "vlm",
    )
    assert find("mimic-cxr").credentialed


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own", "'own' is read from your own files; name a table as own:FILE"),
        ("pubmedvision", "'pubmedvision' has no split but train, which models are trained on"),
        ("slakes", "unknown task 'slakes'; did you mean 'slake'"),
    ],
)
def test_a_set_that_is_no_task_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        select(name)
    assert message in str(caught.value)


def test_a_name_of_several_tasks_is_none_of_one() -> None:
    with pytest.raises(ConfigError, match="'medxpertqa' stands for medxpertqa_text, medxpertqa_mm; name one of them"):
        find("medxpertqa")
    assert by_task({"medxpertqa": 1, "vqa-rad": 2}, []) == {"medxpertqa_text": 1, "medxpertqa_mm": 1, "rad_vqa": 2}


def test_an_evaluation_knows_its_own_tasks_without_their_files(tmp_path: Path) -> None:
    task = one(written(tmp_path, columns={"question": "Frage"}, credentialed=True, prompt="published"))
    manifest = {"own": {"mine": facts_of(task)}}
    found = spec_of("mine", manifest)
    assert found is not None and facts_of(found) == facts_of(task) and "source" not in facts_of(task)
    assert not is_open("mine", manifest) and not is_open("mine") and spec_of("mine") is None
    assert spec_of("medqa", manifest) == tasks()["medqa"]
    open_one = one(written(tmp_path, columns={"question": "Frage"}))
    assert is_open("mine", {"own": {"mine": facts_of(open_one)}})


def install(folder: Path, points: str) -> None:
    """What pip leaves of an installed package, but for its modules."""
    info = folder / "torn-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torn\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(points, encoding="utf-8")


def test_a_package_offers_its_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = lab.lay_out(tmp_path / "projects")
    install(tmp_path / "site", "[medix_verl.tasks]\ntorn = lab_torn:X\nnumber = math:pi\nmedqa = math:pi\n")
    (tmp_path / "site" / "lab_torn.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.syspath_prepend(project)
    task = find("lab_holdout")
    assert (task.name, task.converter, task.group) == ("lab_holdout", "lab_wrists", "vlm")
    (tmp_path / "holdout.csv").write_text("film,asked,truth,choices\n,Which bone?,radius,radius|ulna\n")
    with pytest.raises(DataError, match="lab_holdout has no question"):
        list(load(task, tmp_path))
    assert find("medqa") == tasks()["medqa"]  # ours stays ours
    assert "lab_holdout" not in {task.name for task in select("all")}
    with pytest.raises(ConfigError, match=r"task 'torn': lab_torn:X cannot be imported \(ZeroDivisionError"):
        find("torn")
    with pytest.raises(ConfigError, match="task 'number': math:pi is float; it must be a TaskSpec"):
        find("number")
    assert main(["evaluate", "list"]) == 0
    shown = capsys.readouterr().out
    assert "lab_holdout" in shown and "torn: cannot be used: task 'torn'" in shown
    for name in ("lab", "lab.tasks", "lab.wrists"):
        sys.modules.pop(name, None)


def test_the_example_is_a_task(tmp_path: Path) -> None:
    example = ROOT / "examples" / "own_task.yaml"
    path = tmp_path / "own_task.yaml"
    path.write_text(example.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "questions.csv").write_text("asked,answer,film\nWhich bone?,radius,a.png\n", encoding="utf-8")
    (tmp_path / "films").mkdir()
    Image.new("L", (8, 8), 3).save(tmp_path / "films" / "a.png")
    task = one(path)
    assert (task.name, task.title, task.size, task.pictures) == (
        "wrist_questions",
        "Questions about wrist films",
        3,
        True,
    )
    (sample,) = load(task, task.source)
    assert (sample.question, sample.answer, len(sample.images)) == ("Which bone?", "radius", 1)


def test_reports_may_have_metrics_of_their_own(tmp_path: Path) -> None:
    table = "question,answer\nWhat?,clear lungs\n"
    task = one(written(tmp_path / "a", table, grading="report05", metrics=["rouge_l", "bertscore"]))
    assert task.metrics == ("rouge_l", "bertscore")
    spec = SuiteSpec(Model("m"), (task, find("medqa")), tmp_path)
    assert [spec.metrics_of(item).names for item in spec.tasks] == [("rouge_l", "bertscore"), ("rouge_l",)]
    with pytest.raises(ConfigError, match="metrics is 'rouge'; accepted: .*did you mean 'rouge_l'"):
        one(written(tmp_path / "b", table, grading="report05", metrics=["rouge"]))
    with pytest.raises(ConfigError, match="metrics are of reports, and grading is 'binary'"):
        one(written(tmp_path / "c", table, metrics=["rouge_l"]))
