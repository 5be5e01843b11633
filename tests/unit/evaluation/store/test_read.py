# SPDX-License-Identifier: Apache-2.0
"""Reading an evaluation's folder: what it must hold, and what contradicts itself."""

import json
from pathlib import Path

import pytest

from medix_verl.errors import DataError
from medix_verl.evaluation.store.read import is_open, read_evaluation, spec_of
from medix_verl.evaluation.store.records import Record, record_path, write_records


def record(task: str, condition: str = "real") -> Record:
    return Record(task, "1", "c", "q", "r", "x", "x", 1.0, "scored", condition=condition)


def write(folder: Path, manifest: object, *records: Record) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "eval.json").write_text(json.dumps(manifest), encoding="utf-8")
    for item in records:
        write_records(record_path(folder, item.task, item.condition), [item])
    return folder


def test_tasks_come_in_the_order_of_the_table(tmp_path: Path) -> None:
    made = [record("rad_vqa", "blank"), record("own.task"), record("rad_vqa"), record("medqa")]
    found = read_evaluation(
        write(tmp_path, {"model": "m", "judge": {"kind": "rule", "model": []}, "finished": True}, *made)
    )
    assert list(found.records) == [("medqa", "real"), ("rad_vqa", "real"), ("rad_vqa", "blank"), ("own.task", "real")]
    assert list(found.tasks("blank")) == ["rad_vqa"] and found.tasks()["medqa"] == (record("medqa"),)
    assert (found.model, found.judge, found.protocol, found.finished) == ("m", "rule", "not stated", True)


def test_what_is_no_evaluation(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"is not an evaluation: eval\.json is missing; give what medix-verl evaluate --out"
    ):
        read_evaluation(tmp_path)
    (tmp_path / "eval.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"eval\.json is not JSON \(JSONDecodeError\); run medix-verl evaluate"):
        read_evaluation(tmp_path)
    with pytest.raises(DataError, match="names no model; run medix-verl evaluate --resume"):
        read_evaluation(write(tmp_path, ["model"]))
    with pytest.raises(DataError, match="has no record; run medix-verl evaluate --resume to finish it"):
        read_evaluation(write(tmp_path, {"model": "m"}))


@pytest.mark.parametrize(("task", "condition"), [("medqa", "real"), ("rad_vqa", "blank")])
def test_a_record_in_another_tasks_file(tmp_path: Path, task: str, condition: str) -> None:
    write(tmp_path, {"model": "m"})
    write_records(tmp_path / "records" / "rad_vqa.jsonl", [record(task, condition)])
    with pytest.raises(DataError, match=rf"record '1' is of {task} \({condition}\); move it"):
        read_evaluation(tmp_path)


def test_what_may_be_shown() -> None:
    assert is_open("rad_vqa") and spec_of("rad_vqa") is not None
    assert not is_open("mimic_cxr_report_generation")
    assert not is_open("own.task") and spec_of("own.task") is None
