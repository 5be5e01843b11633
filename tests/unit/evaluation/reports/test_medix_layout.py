# SPDX-License-Identifier: Apache-2.0
"""The published leaderboard's files, as its own code reads them, and what is never written into them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from medix_verl.cli.main import main
from medix_verl.errors import ConfigError
from medix_verl.evaluation.reports.medix_layout import export_evaluation, folder_name
from medix_verl.evaluation.store.read import Evaluation
from medix_verl.evaluation.store.records import Record, record_path, write_records


def record(task: str, number: int, value: float | None = 1.0, **more: object) -> Record:
    status = "unscored" if value is None else "scored"
    given = {"task": task, "id": f"own-{number}", "cluster": "c", "question": "Which?", "reference": "the liver"}
    return Record(**{**given, "response": "raw", "answer": "x", "value": value, "status": status, **more})  # type: ignore[arg-type]


def evaluation(tasks: dict[str, list[Record]], model: str = "org/My-Model.8B", finished: bool = True) -> Evaluation:
    records = {(task, "real"): found for task, found in tasks.items()}
    return Evaluation(Path("e"), {"model": model, "finished": finished}, records)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_options_that_were_turned_are_not_written(tmp_path: Path) -> None:
    turned = [record("medqa", 0), replace(record("medqa", 1, 0.0), rotation_of="own-0", rotation=1)]
    found = export_evaluation(evaluation({"medqa": turned}), tmp_path)
    assert found.answers == 1 and [line["source_id"] for line in lines(found.files[0])] == ["own-0"]


def test_three_files(tmp_path: Path) -> None:
    options = ("the liver", "the spleen")
    tasks = {
        "medqa": [record("medqa", 0, options=options), record("medqa", 1, None), record("medqa", 2, 0.0)],
        "rad_vqa": [record("rad_vqa", 0)],
        "healthbench": [record("healthbench", 0, 0.5)],
    }
    found = export_evaluation(evaluation(tasks), tmp_path)
    names = ["My_Model_8B.jsonl", "My_Model_8B_eval.jsonl", "My_Model_8B_score.txt"]
    assert [path.relative_to(tmp_path).as_posix() for path in found.files] == [f"My_Model_8B/{name}" for name in names]
    assert sorted(path.name for path in (tmp_path / "My_Model_8B").iterdir()) == sorted(names)
    assert (found.tasks, found.left_out) == (("medqa", "rad_vqa"), ("healthbench",))
    assert (found.answers, found.without_score, found.refused) == (4, 1, 0)
    answers, judged = lines(found.files[0]), lines(found.files[1])
    assert [line["id"] for line in answers] == ["medqa_0", "medqa_1", "medqa_2", "rad_vqa_0"]
    assert answers[0] == {
        "id": "medqa_0",
        "question": "Which?\n\nChoices:\nA. the liver\nB. the spleen",
        "answer": "the liver",
        "response": "raw",
        "answer_idx": "A",
        "source_id": "own-0",
    }
    assert [(line["id"], line["evaluation"]) for line in judged] == [
        ("medqa_0", {"score": 1}),
        ("medqa_2", {"score": 0}),
        ("rad_vqa_0", {"score": 1}),
    ]
    table = found.files[2].read_text(encoding="utf-8")
    assert table.startswith("Model: org/My-Model.8B\n\n")
    assert [line.split()[1:] for line in table.splitlines()[3:]] == [
        ["medqa", "0.500000", "50.00%"],
        ["rad_vqa", "1.000000", "100.00%"],
        ["Overall", "0.750000", "75.00%"],  # a share like the others, where the official table has 75
    ]


def test_their_own_rules_give_our_figures(tmp_path: Path) -> None:
    """The official aggregation: the task is the id without its last part, the score an int of 0 or 1."""
    found = export_evaluation(evaluation({"medqa": [record("medqa", n, float(n < 3)) for n in range(4)]}), tmp_path)
    scores: dict[str, list[int]] = {}
    for line in lines(found.files[1]):
        scores.setdefault("_".join(str(line["id"]).split("_")[:-1]), []).append(int(line["evaluation"]["score"]))  # type: ignore[index]
    assert {task: sum(values) / len(values) for task, values in scores.items()} == {"medqa": 0.75}
    assert "Overall" not in found.files[2].read_text(encoding="utf-8")


def test_credentialed_data_is_never_exported(tmp_path: Path) -> None:
    mimic = "mimic_cxr_report_summarization"
    both = evaluation({"medqa": [record("medqa", 0)], mimic: [record(mimic, 0, 0.6, answer_type="report")]})
    with pytest.raises(ConfigError, match=f"{mimic}: credentialed data is not exported.*leave it out: --tasks medqa"):
        export_evaluation(both, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert export_evaluation(both, tmp_path, ["medqa"]).left_out == (mimic,)
    assert all(mimic not in path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.*"))


@pytest.mark.parametrize(
    ("tasks", "names", "match"),
    [
        (["medqa"], ["rad_vqa"], "task 'rad_vqa' is not in this evaluation; there are: medqa"),
        (["healthbench"], ["healthbench"], "'healthbench' is not of the published average; there are: none"),
        (["healthbench"], None, "no task of the published average is in this evaluation"),
    ],
)
def test_tasks_that_cannot_be_exported(tmp_path: Path, tasks: list[str], names: list[str] | None, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        export_evaluation(evaluation({task: [record(task, 0)] for task in tasks}), tmp_path, names)


def test_an_evaluation_that_did_not_finish(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="e did not finish; type: medix-verl evaluate ... --resume"):
        export_evaluation(evaluation({"medqa": [record("medqa", 0)]}, finished=False), tmp_path)


def test_a_task_without_scores_leaves_no_average(tmp_path: Path) -> None:
    tasks = {"medqa": [record("medqa", 0, None)], "rad_vqa": [record("rad_vqa", 0)]}
    text = export_evaluation(evaluation(tasks), tmp_path).files[2].read_text(encoding="utf-8")
    assert text.count("no score") == 4


def test_names_of_folders() -> None:
    assert folder_name("MBZUAI/MediX-R1-8B") == "MediX_R1_8B" and folder_name("runs/a b/") == "a_b"
    for bad in ("../..", "/", "org/..."):
        with pytest.raises(ConfigError, match="of which no folder can be named; evaluate it under another"):
            folder_name(bad)


def test_the_command_says_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = {"medqa": [record("medqa", 0), record("medqa", 1, None)], "healthbench": [record("healthbench", 0, 0.5)]}
    for task, found in tasks.items():
        write_records(record_path(tmp_path / "e", task), found)
    manifest = {"model": "m", "finished": True, "done": {"medqa": {"refused": {"no answer": 3}}}}
    (tmp_path / "e" / "eval.json").write_text(json.dumps(manifest))
    assert main(["evaluate", "export", str(tmp_path / "e"), "--out", str(tmp_path / "board")]) == 0
    shown = capsys.readouterr()
    assert [Path(line).name for line in shown.out.splitlines()] == ["m.jsonl", "m_eval.jsonl", "m_score.txt"]
    message = "2 answers of 1 tasks; 1 have no score and are in m.jsonl only; 3 rows of their sources were refused and"
    assert f"{message} never asked; tasks not written: healthbench" in shown.err
