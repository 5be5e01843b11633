# SPDX-License-Identifier: Apache-2.0
"""The doctor and the start of a run agree: on configurations that would fail, and on those that only measure in vain.

The cases are tests/golden/starts.json. What `doctor` says is asked of the function that its process runs, what the run
says of Hydra's callback; both for real once, in their own processes.
"""

from __future__ import annotations

import json
import logging
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from helpers.places import golden
from helpers.recipes import composed
from medix_verl.data.io.parquet import write_samples
from medix_verl.errors import ConfigError
from medix_verl.recipe.check import Check
from medix_verl.recipe.checks.chosen import check_chosen, check_facts
from medix_verl.recipe.compose import compose_recipes
from medix_verl.recipe.facts import describe
from medix_verl.runs.start import RunStart, devices
from medix_verl.types import Sample

pytestmark = pytest.mark.timeout(600)
CASES = golden("starts")
ROWS = 48


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the demo's, without its pictures, and files that are wrong."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "data").mkdir()
    (folder / "policy").mkdir()
    train = [Sample(f"t{number}", "own", f"What is number {number}?", "this") for number in range(ROWS)]
    val = [Sample(f"v{number}", "own", f"Which one is number {number}?", "that", split="val") for number in range(4)]
    write_samples(train, folder / "data" / "train.parquet")
    write_samples(val, folder / "data" / "val.parquet")
    write_samples([*val, *train[:2]], folder / "shared.parquet")
    secret = [Sample(f"m{n}", "mimic_cxr", f"What is {n}?", "this", meta={"credentialed": True}) for n in range(ROWS)]
    write_samples(secret, folder / "credentialed.parquet")
    (folder / "broken.parquet").write_text("no parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1]}), folder / "foreign.parquet")
    return folder


def configured(case: dict[str, Any], data: Path) -> tuple[DictConfig, list[str]]:
    """The case's configuration, without composing for each again, and its words."""
    words = [word.replace("DATA", str(data)) for word in case["words"]]
    config = composed(case["recipe"]).copy()
    OmegaConf.set_struct(config, False)
    for word in [f"medix.demo={data}", *words]:
        key, _, value = word.partition("=")
        read = OmegaConf.create(f"value: {value}").value
        OmegaConf.update(config, key, read, merge=True)
    return config, words


def used_s() -> float:
    """Processor time of ended children: other work on the machine is not ours."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def said_by_doctor(case: dict[str, Any], data: Path) -> list[Check]:
    config, _ = configured(case, data)
    facts = json.loads(json.dumps(describe(config)))
    return check_chosen({"name": case["recipe"], "typed": True, **facts, "devices": devices()}, [case["recipe"]])


def start(case: dict[str, Any], data: Path) -> None:
    config, words = configured(case, data)
    typed = [f"+recipe={case['recipe']}", *words]
    with_hydra = OmegaConf.merge(config, {"hydra": {"overrides": {"task": typed}}})
    RunStart().on_job_start(with_hydra)


@pytest.mark.parametrize("case", CASES["faulty"], ids=lambda case: case["why"])
def test_a_run_that_the_doctor_fails_does_not_start(
    case: dict[str, Any], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = said_by_doctor(case, data)
    says = case["says"].replace("DATA", str(data))
    found = [check for check in checks if check.name == case["check"] and check.status == "FAIL"]
    assert any(says in f"{check.found}; {check.todo}" for check in found), checks
    assert all(check.todo for check in checks if check.status == "FAIL")
    with pytest.raises(SystemExit, match="would fail, and has not started"):
        start(case, data)
    printed = capsys.readouterr().err
    assert "FAIL" in printed and case["check"] in printed
    assert "quite-private" not in f"{printed}{checks}"


@pytest.mark.parametrize("case", CASES["sound"], ids=lambda case: case["why"])
def test_a_run_that_the_doctor_passes_starts(
    case: dict[str, Any], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = said_by_doctor(case, data)
    assert [check for check in checks if check.status == "FAIL"] == []
    start(case, data)
    printed = capsys.readouterr().err
    assert "judge: rule" in printed and "terms: judge 0.575" in printed
    if case["check"]:
        (warned,) = (check for check in checks if check.name == case["check"])
        assert warned.status == "warn" and case["says"] in warned.found and warned.todo
        assert case["says"] in printed


@pytest.mark.parametrize(("devices", "own", "fails"), [(0, "", False), (8, "", True), (8, "7", False)])
def test_an_evaluation_after_each_save_has_a_gpu_of_its_own(data: Path, devices: int, own: str, fails: bool) -> None:
    words = [
        "medix.on_save=[evaluate]",
        "medix.on_save_options.tasks=[medqa]",
        f"medix.on_save_options.devices='{own}'",
    ]
    config, _ = configured({"recipe": "medix_cpu", "words": words}, data)
    found = check_facts({**describe(config), "name": "medix_cpu", "devices": devices})
    assert [check.status for check in found if check.name == "on_save"] == ["FAIL"] * fails


def test_there_are_forty() -> None:
    assert len({case["why"] for case in CASES["faulty"]}) >= 40


def test_what_is_asked_to_warn_starts(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for mode in ("warn", "skip"):
        start({"recipe": "medix_cpu", "words": [f"medix.start={mode}", "data.train_files=none.parquet"]}, data)
        assert ("there is no data file none.parquet" in capsys.readouterr().err) is (mode == "warn")
    with pytest.raises(SystemExit, match="medix.start is 'later'; accepted: refuse, warn, skip"):
        start({"recipe": "medix_cpu", "words": ["medix.start=later"]}, data)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["+recipe=medix_cpu", "ray_kwargs.ray_init.num_cpus=2"], "cores"),
        pytest.param(
            ["+recipe=medix_cpu", "reward.custom_reward_function.path=mine.py"],
            "would never be called",
            marks=pytest.mark.long,  # another two processes that load verl; the case itself is in golden/starts.json
        ),
    ],
)
def test_both_for_real(words: list[str], says: str, data: Path) -> None:
    """Within 30 s of this process's own time, before Ray: the run ends with what is missing, and the doctor says it."""
    words = [*words, f"medix.demo={data}"]
    main = [sys.executable, "-m", "verl.trainer.main_ppo", *words, f"hydra.run.dir={data}/run"]
    before = used_s()
    run = subprocess.run(main, capture_output=True, text=True, timeout=280, check=False)
    assert used_s() - before < 30
    assert run.returncode == 1 and says in run.stderr and "would fail, and has not started" in run.stderr
    assert "Started a local Ray instance" not in run.stderr and "Traceback" not in run.stderr
    asked = [sys.executable, "-m", "medix_verl", "doctor", "--recipe", "medix_cpu", *words[1:]]
    doctor = subprocess.run(asked, capture_output=True, text=True, timeout=280, check=False)
    assert doctor.returncode == 1 and says in doctor.stdout


def test_the_manager_refuses_what_it_would_not_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no recipe looks at the run, as where only the manager is named in a configuration of one's own."""
    from medix_verl.rewards import manager

    fatal: list[str] = []
    monkeypatch.setattr(manager, "report_fatal", fatal.append)
    config = composed("medix_cpu").copy()
    config.reward.custom_reward_function.path = "mine.py"
    with pytest.raises(ConfigError, match=r"mine.py would never be called: .* type \+reward.medix.terms.own="):
        manager.MedixRewardManager(config, None)
    assert len(fatal) == 1


def test_the_judge_of_a_reward_without_a_recipe_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from medix_verl.rewards import manager

    monkeypatch.setattr(manager, "report_fatal", lambda cause: None)
    with caplog.at_level(logging.WARNING), pytest.raises(AttributeError):  # there is no tokenizer
        manager.MedixRewardManager(compose_recipes(()), None)
    assert "reward.medix is not set: the judge is rule; type +recipe=medix_reward to set it" in caplog.text
