# SPDX-License-Identifier: Apache-2.0
"""The card says what the run has left, calls the rest unknown, and is for research only."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from medix_verl.data.io.parquet import write_samples
from medix_verl.errors import DataError
from medix_verl.runs.checkpoints.checkpoint import Checkpoint
from medix_verl.runs.checkpoints.export import Exported
from medix_verl.runs.checkpoints.model_card import read_validation, write_model_card
from medix_verl.runs.record import DataFile, Identity, RunRecord, write_record
from medix_verl.types import Sample

FOUND = {"class": "Qwen3VLForConditionalGeneration", "parameters": 1234567, "dtypes": ["bfloat16"]}


def exported(folder: Path) -> Exported:
    out = folder / "model"
    out.mkdir()
    (out / "config.json").write_text('{"model_type": "qwen3_vl"}')
    checkpoint = Checkpoint(folder, folder / "run", 7, "fsdp", 2, out, (), lora=True)
    return Exported(out, checkpoint, FOUND)


def record(folder: Path) -> RunRecord:
    rows = [Sample(str(n), "s", "q", "a", meta={"licence": "CC-BY-4.0" if n else "own"}) for n in range(3)]
    write_samples(rows, folder / "train.parquet")
    data = (
        DataFile("train", str(folder / "train.parquet"), "ab12", 3),
        DataFile("train", "/gone/b.parquet", note="gone"),
    )
    base = Identity("hub", "Qwen/Qwen3-VL-8B-Instruct")
    one = Identity("rule")
    versions = {"verl": "0.9.1", "vllm": None}
    return RunRecord("2026", ("+recipe=medix",), ("medix",), {}, versions, {}, data, base, one, Identity("off"), 3)


def test_what_is_known_is_on_the_card(tmp_path: Path) -> None:
    write_record(record(tmp_path), tmp_path / "run")
    metrics = tmp_path / "metrics.jsonl"
    lines = [{"step": step, "data": {"val-core/x/acc/mean@1": step / 10, "other": 1}} for step in (0, 5, 9)]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 7, "da')
    card = write_model_card(exported(tmp_path), metrics).read_text()
    for text in (
        "base_model: Qwen/Qwen3-VL-8B-Instruct",
        "For research only",
        "1,234,567 parameters, bfloat16",
        "step 7, fsdp, 2 ranks, LoRA merged",
        "python -m verl.trainer.main_ppo +recipe=medix",
        "verl 0.9.1 |",
        "train: train.parquet | 3 | ab12",
        "CC-BY-4.0 (2); own (1); unknown: b.parquet is not here any more (?)",
        "| figure | step 0 | step 5 |",
        "| val-core/x/acc/mean@1 | 0 | 0.5 |",
    ):
        assert text in card
    assert "vllm" not in card


def test_what_is_not_known_is_called_so(tmp_path: Path) -> None:
    card = write_model_card(exported(tmp_path)).read_text()
    assert "base_model" not in card
    assert card.count("the run left no record") == 2
    assert "Not recorded." in card and "Not measured; `medix-verl evaluate`" in card


def test_the_log_is_found_by_the_record(tmp_path: Path) -> None:
    log = {"file": str(tmp_path / "logs" / "run.jsonl")}
    config = {"trainer": {"logger": ["console", "file"]}}
    write_record(replace(record(tmp_path), started="2026-01-01T00:00:00Z", config=config, logs=log), tmp_path / "run")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "run.jsonl").write_text('{"step": 3, "data": {"val-core/x/acc/mean@1": 0.25}}\n')
    assert "| val-core/x/acc/mean@1 | 0.25 |" in write_model_card(exported(tmp_path)).read_text()


def test_no_path_and_no_local_server_of_this_machine_is_on_a_card(tmp_path: Path) -> None:
    judge = Identity("openai", "judge-model", "http://10.0.0.7:8085/v1")
    words = ("+recipe=medix", f"data.train_files=[{tmp_path}/My Files/a.parquet,~/b/c.parquet]")
    local = replace(record(tmp_path), model=Identity("folder", str(tmp_path / "base")), judge=judge, overrides=words)
    write_record(local, tmp_path / "run")
    card = write_model_card(exported(tmp_path), None, f"| model |\n|---|\n| {tmp_path}/model |").read_text()
    assert str(tmp_path) not in card and "10.0.0.7" not in card and "~/" not in card
    assert "PATH/a.parquet,PATH/c.parquet" in card and "at http://SERVER" in card and "| PATH/model |" in card


def test_a_base_model_in_a_folder_is_not_claimed_to_be_the_hubs(tmp_path: Path) -> None:
    write_record(replace(record(tmp_path), model=Identity("folder", "models/mine")), tmp_path / "run")
    assert "base_model:" not in write_model_card(exported(tmp_path)).read_text()


def test_metrics_without_a_validation_are_refused(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text('{"step": 8, "data": {"val-core/x": 1}}\n')
    with pytest.raises(DataError, match="holds no validation up to step 7"):
        read_validation(metrics, 7)
