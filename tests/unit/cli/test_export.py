# SPDX-License-Identifier: Apache-2.0
"""What `medix-verl export` refuses before it merges anything."""

import argparse
import json
from pathlib import Path

import pytest

from medix_verl.cli.evaluate import answering
from medix_verl.cli.main import main
from medix_verl.cli.scoring import score as scoring
from medix_verl.cli.training import export
from medix_verl.cli.training.export import means

SERVED = ["--judge", "openai", "--judge-url", "http://127.0.0.1:9/v1", "--judge-model", "m"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metrics", "m.jsonl"], "--metrics is for the model card"),
        (["--score", "not_there.parquet"], "--score not_there.parquet is not there"),
        (["--limit", "0"], "--limit is 0"),
        (["--recipe", "medix_cpu"], "--recipe is for --score"),
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
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(tmp_path), "--out", str(tmp_path / "model"), *words]) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_what_is_typed_of_the_thinking_reaches_answers_scores_and_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, str] = {}
    parser = argparse.ArgumentParser()
    export.add_arguments(parser)
    args = parser.parse_args(["c", "--out", "d", "--score", "q.parquet", "--thinking", "open", "--evaluate", "medqa"])
    monkeypatch.setattr(answering, "answer_file", lambda spec, log: seen.update(answers=spec.thinking) or 1)
    monkeypatch.setattr(scoring, "run", lambda args: seen.update(scores=args.thinking))
    monkeypatch.setattr(export, "means", lambda path: "none")
    export.score(tmp_path / "m", args)
    assert seen == {"answers": "open", "scores": "open"}
    assert export.evaluation_of(tmp_path / "m", args).thinking == "open"


def test_the_mean_of_every_term_of_the_scores(tmp_path: Path) -> None:
    full = {"id": "a", "score": 0.5, "acc": 1.0, "judge": 1.0, "semantic": 0.25, "format": 1.0, "modality": None,
            "brevity": 0.5, "judge_ok": 1, "semantic_ok": 1, "brevity_ok": 1, "brevity_applies": 1}  # fmt: skip
    lost = {**full, "score": None, "acc": None, "judge": None, "judge_ok": 0, "brevity": 0.25}
    path = tmp_path / "scores.jsonl"
    path.write_text(json.dumps(full) + "\n" + json.dumps(lost) + "\n")
    assert means(path) == (
        "score 0.5000 (1 unscored, and not in it), acc 1.0000 (of 1), judge 1.0000 (of 1), semantic 0.2500, "
        "format 1.0000, modality none (of 0), brevity 0.3750"
    )
