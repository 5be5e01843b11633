# SPDX-License-Identifier: Apache-2.0
"""What `medix-verl export` refuses before it merges anything."""

from pathlib import Path

import pytest

from medix_verl.cli.main import main

SERVED = ["--judge", "openai", "--judge-url", "http://127.0.0.1:9/v1", "--judge-model", "m"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--metrics", "m.jsonl"], "--metrics is for the model card"),
        (["--score", "not_there.parquet"], "--score not_there.parquet is not there"),
        (["--limit", "0"], "--limit is 0"),
        (["--evaluate", "slak_vqa"], "did you mean 'slake_vqa'"),
        (["--evaluate", "medqa", "--judge", "openai"], "got no --judge-url"),
        (["--evaluate", "medqa", *SERVED, "--no-judge-guard"], "--judge-guard was given and would do nothing"),
        (["--evaluate", "medqa", *SERVED, "--judge-soft", "--evaluate-args", "--protocol robust"], "--judge-soft"),
        (["--evaluate", "mimic_cxr_report_generation"], "name your copy with --sources"),
        (["--evaluate", "healthbench"], "the rule judge cannot read"),
        (["--evaluate", "medqa", "--evaluate-args", "--images blank"], "tasks without pictures"),
    ],
)
def test_what_would_fail_after_the_merging_fails_before_it(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(tmp_path), "--out", str(tmp_path / "model"), *words]) == 1
    error = capsys.readouterr().err
    assert told in error and len(error.splitlines()) == 1
