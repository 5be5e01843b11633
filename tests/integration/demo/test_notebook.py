# SPDX-License-Identifier: Apache-2.0
"""The notebook of the examples runs from its first to its last cell, on a run whose log its record names."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from helpers.places import ROOT
from helpers.run_folder import made
from medix_verl.runs.record import Identity, RunRecord, write_record

NOTEBOOK = ROOT / "examples" / "tour.ipynb"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The notebook after a run, and the folder that it was run in."""
    why = "not installed; type: pip install 'medix-verl[dev]'"
    nbclient = pytest.importorskip("nbclient", reason=f"nbclient is {why}")
    nbformat = pytest.importorskip("nbformat", reason=f"nbformat is {why}")
    pytest.importorskip("ipykernel", reason=f"ipykernel is {why}")
    folder = tmp_path_factory.mktemp("notebook")
    run = made(folder / "run")
    shutil.move(run / "metrics.jsonl", folder / "elsewhere.jsonl")
    one = Identity("rule")
    config = {"trainer": {"logger": ["console", "file"]}}
    logs = {"file": str(folder / "elsewhere.jsonl")}
    write_record(RunRecord("2026-01-01T00:00:00Z", (), (), config, {}, {}, (), one, one, one, 1, logs=logs), run)
    notebook = nbformat.read(NOTEBOOK, 4)
    (folder / "out").mkdir()
    (folder / "work").mkdir()
    variables = {"MEDIX_RUN": str(run), "MEDIX_OUT": str(folder / "out"), "IPYTHONDIR": str(folder / "ipython")}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        resources = {"metadata": {"path": str(folder / "work")}}
        nbclient.NotebookClient(notebook, timeout=100, kernel_name="python3", resources=resources).execute()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
    return notebook, folder


def printed(notebook: Any) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(output.get("text", "") for output in outputs)


def test_it_scores_answers(done: tuple[Any, Path]) -> None:
    lines = {line[:16].strip(): line for line in printed(done[0]).splitlines()}
    assert "score 1.000  acc 1.0" in lines["right"] and "acc 0.0" in lines["wrong"]
    assert "score 0.928" in lines["wrong tag"] and "score 0.000" in lines["no answer block"]


def test_it_draws_the_curves_of_the_log_that_the_record_names(done: tuple[Any, Path]) -> None:
    assert "elsewhere.jsonl" in printed(done[0]) and "trained steps: 12, answers: 48" in printed(done[0])
    pages = [output["data"]["text/html"] for cell in done[0].cells for output in cell.get("outputs", ())
             if "text/html" in output.get("data", {})]  # fmt: skip
    assert pages[0].count('class="chart"') >= 3 and "Reward and acc" in pages[0]
    assert "report.html" in pages[1]


def test_it_opens_a_report_and_writes_nothing_elsewhere(done: tuple[Any, Path]) -> None:
    folder = done[1]
    assert "Before you read a figure" in (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert list((folder / "work").iterdir()) == []


def test_it_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert [cell["id"] for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
