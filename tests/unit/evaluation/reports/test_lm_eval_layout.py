# SPDX-License-Identifier: Apache-2.0
"""The files of lm-evaluation-harness: its keys and names, no text of credentialed tasks, no figure that is none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from helpers import made_evaluations as made
from medix_verl.errors import ConfigError
from medix_verl.evaluation.reports.lm_eval_layout import export_results
from medix_verl.evaluation.store.manifest import read_manifest, write_manifest
from medix_verl.evaluation.store.read import read_evaluation

RESULTS = {
    *("results", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better", "n-samples", "config", "date"),
    *("model_source", "model_name", "model_name_sanitized", "task_hashes", "transformers_version"),
}
"""Keys of a results file that readers use (lm_eval/result_schema.py)."""
SAMPLE = {
    *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
    *("doc_hash", "prompt_hash", "target_hash"),
}
"""Keys of a line of samples, beside the metrics."""


def half(number: int) -> float | None:
    return float(number % 2)


def exported(folder: Path, **tasks: Any) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]], Any]:
    given = made.evaluation(folder / "in", "lab/a model:8b", tasks)
    found = export_results(read_evaluation(given), folder / "out")
    results = json.loads(found.files[0].read_text())
    samples = {path.name: [json.loads(line) for line in path.read_text().splitlines()] for path in found.files[1:]}
    return results, samples, found


def test_results_have_the_harness_keys(tmp_path: Path) -> None:
    results, samples, found = exported(tmp_path, medqa=half, mimic_cxr_report_generation=half)
    assert set(results) >= RESULTS
    assert found.files[0].parent.name == "lab__a model__8b" == results["model_name_sanitized"]
    assert re.fullmatch(r"results_\d{4}-\d\d-\d\dT[\d.-]+\.json", found.files[0].name)
    medqa = results["results"]["medqa"]
    assert medqa["acc,none"] == 0.5 and medqa["acc_stderr,none"] == pytest.approx((0.25 / 80) ** 0.5)
    assert medqa["alias"] == "medqa" and medqa["sample_len"] == 80
    assert results["results"]["mimic_cxr_report_generation"]["report_score,none"] == 0.5
    assert results["n-samples"]["medqa"] == {"original": 80, "effective": 80}
    assert results["higher_is_better"]["medqa"] == {"acc": True}
    (name,) = samples
    assert re.fullmatch(r"samples_medqa_\d{4}-\d\d-\d\dT[\d.-]+\.jsonl", name)
    # As the harness reads a task's name out of a file's.
    assert name[name.find("_") + 1 : name.rfind("_")] == "medqa"


def test_a_sample_is_whole(tmp_path: Path) -> None:
    _, samples, _ = exported(tmp_path, medqa=half)
    (lines,) = samples.values()
    line = lines[1]
    assert set(line) >= SAMPLE | {"acc"} and (line["acc"], line["metrics"], line["doc_id"]) == (1.0, ["acc"], 1)
    assert line["resps"] == [["<answer>x</answer>"]] and line["filtered_resps"] == ["x"]
    prompt = line["arguments"]["gen_args_0"]["arg_0"]
    assert "Question 1?" in prompt and "A. yes" in prompt and "<answer>" in prompt, "the prompt as it was asked"


def test_no_text_of_a_credentialed_task(tmp_path: Path) -> None:
    _, samples, found = exported(tmp_path, medqa=half, mimic_cxr_report_generation=half)
    assert found.without_samples == ("mimic_cxr_report_generation",) and len(samples) == 1
    assert not any(made.SECRET in path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file())


def test_what_is_not_known_is_no_number(tmp_path: Path) -> None:
    results, samples, _ = exported(tmp_path, medqa=lambda number: None if number < 20 else 1.0)
    medqa = results["results"]["medqa"]
    assert medqa["acc,none"] == medqa["acc_stderr,none"] == "N/A"
    assert (medqa["bounds_low,none"], medqa["bounds_high,none"]) == (0.75, 1.0)
    (lines,) = samples.values()
    assert "acc" not in lines[0] and lines[0]["metrics"] == [] and lines[0]["status"] == "unscored"


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    folder = made.evaluation(tmp_path / "in", "m", {"medqa": half})
    with pytest.raises(ConfigError, match="'slake' is not in this evaluation; there are: medqa"):
        export_results(read_evaluation(folder), tmp_path / "out", ["slake"])
    write_manifest(folder, {**read_manifest(folder), "finished": False})
    with pytest.raises(ConfigError, match="did not finish"):
        export_results(read_evaluation(folder), tmp_path / "out")
