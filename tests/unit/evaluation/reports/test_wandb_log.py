# SPDX-License-Identifier: Apache-2.0
"""Weights & Biases, offline: figures and open samples are logged; no credentialed text, address or path is."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from helpers import made_evaluations as made
from medix_verl.errors import SetupError
from medix_verl.evaluation.reports.wandb_log import check_wandb, log_evaluation
from medix_verl.evaluation.store.manifest import read_manifest, write_manifest
from medix_verl.evaluation.store.read import read_evaluation

ADDRESS = "http://hospital.example:9000/v1"


@pytest.mark.timeout(120)
def test_offline_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    tasks = {"medqa": lambda n: float(n % 2), "mimic_cxr_report_generation": lambda n: 1.0, "unknown": lambda n: 0.0}
    folder = made.evaluation(tmp_path / "in", str(tmp_path / "private" / "model-8b"), tasks, question="Open question?")
    write_manifest(folder, {**read_manifest(folder), "judge_url": [ADDRESS], "server": {"url": ADDRESS}})
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "w"))
    (tmp_path / "w").mkdir()
    place = log_evaluation(read_evaluation(folder), "medix-test")
    assert Path(place).is_dir() and Path(place).is_relative_to(tmp_path / "w")
    shown = ("medqa/score", "mimic_cxr_report_generation/score", "average/worst", "model-8b")
    deadline = time.monotonic() + 60
    while True:
        files = {
            path: path.read_bytes() for path in (tmp_path / "w").rglob("*") if path.suffix != ".log" and path.is_file()
        }
        sent = b"".join(files.values())
        missing = [word for word in shown if word.encode() not in sent]
        # wandb's service writes its file behind the program's back.
        if not missing or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert not missing
    (table,) = [json.loads(raw) for path, raw in files.items() if path.name.endswith(".table.json")]
    assert {line[0] for line in table["data"]} == {"medqa"} and len(table["data"]) == 80
    assert table["data"][0][2] == "Open question?"
    for hidden in (made.SECRET, ADDRESS, str(tmp_path / "private"), "hospital"):
        assert hidden.encode() not in sent, hidden


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medix_verl.evaluation.reports.wandb_log.find_spec", lambda name: None)
    with pytest.raises(SetupError, match="pip install wandb"):
        check_wandb()
