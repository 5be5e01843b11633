# SPDX-License-Identifier: Apache-2.0
"""Secrets are planted in recipe, environment and settings; no command prints or writes one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from medix_verl.cli.main import main
from medix_verl.recipe.compose import compose_recipes
from medix_verl.runs.checkpoints.checkpoint import Checkpoint
from medix_verl.runs.checkpoints.export import Exported
from medix_verl.runs.checkpoints.model_card import write_model_card
from medix_verl.runs.recorder import RunRecorder

pytestmark = pytest.mark.timeout(500)
ENVIRONMENT = {
    "AWS_SECRET_ACCESS_KEY": "planted-aws-" + "q" * 24,
    "HF_TOKEN": "hf_" + "PlantedHub" * 3,
    "LAB_API_KEY": "planted-lab-key-0001",
    "LAB_NAME": "planted-by-name-0002",
}
"""LAB_NAME looks like no secret: it is one because a configuration takes it from the environment."""
WRITTEN = {
    "key": "planted-aws-in-recipe-0003",
    "bearer": "planted.bearer.0004",
    "password": "planted-password-0005",
    "token": "sk-" + "planted0006" * 3,
    "below": "planted-below-0007",
}
PLANTED = [*ENVIRONMENT.values(), *WRITTEN.values()]
RECIPE = f"""# @package _global_
#
# Planted.
#
#   python -m verl.trainer.main_ppo +recipe=planted
#
# table: none | GRPO | CPU | not run

defaults: [medix_cpu, _self_]

trainer: {{project_name: "{WRITTEN["token"]}", experiment_name: "${{ oc.env:LAB_NAME}}-${{oc.env :LAB_NAME}}"}}
medix:
  notes: "${{oc.env:LAB_NAME}}"
  credentials: {{user: {WRITTEN["below"]}}}
reward: {{medix: {{judge: {{extra_body: {{secret_key: "{WRITTEN["key"]}", note: "Bearer {WRITTEN["bearer"]}"}}}}}}}}
data: {{train_files: "http://me:{WRITTEN["password"]}@127.0.0.1:9/train.parquet"}}
"""


@pytest.fixture(autouse=True)
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "lab" / "recipe").mkdir(parents=True)
    (tmp_path / "lab" / "recipe" / "planted.yaml").write_text(RECIPE)
    monkeypatch.setenv("MEDIX_RECIPES", str(tmp_path / "lab"))
    monkeypatch.chdir(tmp_path)  # a checkout may hold outputs/demo, which the recipe names


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medix_verl", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def found_in(text: str) -> list[str]:
    return [secret for secret in PLANTED if secret in text]


def found_below(folder: Path) -> list[tuple[str, str]]:
    return [
        (str(path.relative_to(folder)), secret)
        for path in folder.rglob("*")
        if path.is_file()
        for secret in PLANTED
        if secret.encode() in path.read_bytes()
    ]


@pytest.mark.parametrize(
    ("words", "has"),
    [
        (["recipe", "show", "planted"], "trainer.experiment_name="),
        (["recipe", "show", "planted", "--full"], "extra_body"),
        (["recipe", "diff", "medix_cpu", "planted"], "reward.medix.judge.extra_body"),
        (["recipe", "list"], "planted"),
        (["recipe", "check", "planted", f"reward.medix.judge.url=http://me:{WRITTEN['password']}@h/v1"], ""),
        (["doctor", "--recipe", "planted"], "FAIL"),
        (["doctor", "--recipe", "planted", "--json"], '"found"'),
        (["doctor", "--recipe", "planted", "--gpu-memory", "80"], ""),
        (["evaluate", f"http://me:{WRITTEN['password']}@127.0.0.1:9/v1", "--tasks", "medqa", "--out", "OUT"], "error"),
        (["--debug", "export", f"hf_token={WRITTEN['token']}", "--out", "OUT"], "Traceback"),
    ],
    ids=lambda value: "-".join(value[:2]) + ("-json" if "--json" in value else "") if isinstance(value, list) else "",
)
def test_what_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], has: str) -> None:
    typed = [str(tmp_path / "out") if word == "OUT" else word for word in words]
    if words[0] in ("recipe", "doctor"):  # in this process, which has loaded verl; capfd sees their children too
        main(typed)
        printed, said = capfd.readouterr()
    else:
        done = run(*typed)
        printed, said = done.stdout, done.stderr
    assert found_in(printed + said) == [] and has in printed + said
    if "--json" in words:
        json.loads(printed)


def test_what_a_run_leaves(tmp_path: Path) -> None:
    """Its record, Hydra's own files beside it, its page, its model's card, and what repeats it."""
    run_folder, model = tmp_path / "run", tmp_path / "model"
    typed = [f"trainer.default_local_dir={run_folder}", f"+medix.hf_token={WRITTEN['token']}"]
    config = compose_recipes(["planted"], typed)
    OmegaConf.set_struct(config, False)
    task = OmegaConf.create({"hydra": {"overrides": {"task": ["+recipe=planted", *typed]}}})
    recorder = RunRecorder()
    recorder.on_job_start(OmegaConf.merge(config, task))
    recorder.on_job_end()
    assert found_below(run_folder) == []
    (run_folder / "config.yaml").write_text(OmegaConf.to_yaml(config))
    (run_folder / "metrics.jsonl").write_text(
        json.dumps({"step": 1, "data": {"critic/score/mean": 0.5, "timing_s/step": 1}})
    )
    done = run("report", run_folder, "--out", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page.html").read_text()
    assert found_in(page + done.stdout + done.stderr) == [] and "secret_key" in page
    shown = run("recipe", "show", run_folder)
    assert found_in(shown.stdout + shown.stderr) == [] and "+recipe=planted" in shown.stdout
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "tiny"}')
    found = {"class": "C", "parameters": 1, "tensors": 1, "dtypes": ["bfloat16"], "pictures": False, "tokens": 2}
    step = Checkpoint(run_folder, run_folder, 1, "fsdp", 1, model, ())
    card = write_model_card(Exported(model, step, found)).read_text()
    assert found_in(card) == [] and "planted" in card


def test_what_an_evaluation_leaves(tmp_path: Path) -> None:
    """eval.json, its logs, tables and pages, and what is exported of it."""
    pytest.importorskip("inspect_ai")
    from helpers import evaluations as here

    source, out = here.medqa(tmp_path / "medqa", 3), tmp_path / "evaluation"
    server = here.Server()
    try:
        body = json.dumps({"api_key": WRITTEN["key"], "note": f"Bearer {WRITTEN['bearer']}"})
        words = [
            "evaluate",
            server.url,
            "--tasks",
            "medqa",
            "--sources",
            f"medqa={source}",
            "--out",
            out,
            "--judge",
            "rule",
        ]
        done = run(*words, "--api-key-env", "LAB_API_KEY", "--extra-body", body)
        assert done.returncode == 0, done.stderr
        assert found_in(done.stdout + done.stderr) == []
        again = run(*words, "--api-key-env", "LAB_API_KEY", "--extra-body", body, "--resume")
        assert again.returncode == 0, again.stderr
    finally:
        server.process.kill()
    for words in (
        ["report", out, "--out", tmp_path / "page.html"],
        ["evaluate", "export", out, "--out", tmp_path / "given"],
    ):
        done = run(*words)
        assert found_in(done.stdout + done.stderr) == [], done.stderr
    assert (tmp_path / "page.html").is_file() and json.loads((out / "eval.json").read_text())["finished"]
    left = [(name, secret) for name, secret in found_below(tmp_path) if not name.startswith("lab/")]
    assert left == []
    assert os.environ["LAB_API_KEY"] == ENVIRONMENT["LAB_API_KEY"]
