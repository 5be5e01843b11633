# SPDX-License-Identifier: Apache-2.0
"""The record that is made of a configuration, and the callback that writes it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from medix_verl.runs import recorder
from medix_verl.runs.compose import compose_record
from medix_verl.runs.record import read_record
from medix_verl.runs.recorder import RunRecorder

WORDS = ["+recipe=[medix_2b,medix_lora]", "trainer.nnodes=2", "+env.HF_TOKEN=hidden-value-1"]


def config(folder: Path, **changes: Any) -> Any:
    return OmegaConf.create(
        {
            "data": {"train_files": f"{folder}/a.parquet", "val_files": [f"{folder}/b.parquet"], "seed": 5},
            "actor_rollout_ref": {"model": {"path": "own/model"}},
            "reward": {
                "medix": {
                    "judge": {
                        "kind": "openai",
                        "url": "http://me:hidden-value-2@h/v1",
                        "model": "j",
                        "api_key_env": "K",
                    },
                    "semantic": {"enable": True, "kind": "sentence_transformers", "model": "own/encoder"},
                },
                "reward_model": {"model_path": "own/judge"},
            },
            "trainer": {
                "default_local_dir": f"{folder}/run",
                "project": "${oc.env:MEDIX_TEST_SECRET}",
                "copy": "${trainer.project}",
            },
            "env": {"HF_TOKEN": "hidden-value-1"},
            **changes,
        }
    )


def test_the_record_says_what_repeats_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIX_TEST_SECRET", "hidden-value-3")
    record = compose_record(config(tmp_path), WORDS)
    assert record.recipes == ("medix_2b", "medix_lora")
    assert record.overrides == (*WORDS[:2], "+env.HF_TOKEN=<secret>")
    assert record.withheld == ("env.HF_TOKEN",)
    assert (record.model.name, record.encoder.name, record.judge.kind, record.judge.name) == (
        "own/model",
        "own/encoder",
        "openai",
        "j",
    )
    assert record.seed == 5
    assert record.directory == str(Path.cwd())
    assert [file.role for file in record.data] == ["train", "val"]
    assert record.config["trainer"]["copy"] == "${oc.env:MEDIX_TEST_SECRET}"
    assert "hidden-value" not in repr(record)


@pytest.mark.parametrize(
    ("judge", "kind", "name"), [("verl", "verl", "own/judge"), ("rule", "rule", None), (None, "none", None)]
)
def test_each_judge_is_named(tmp_path: Path, judge: str | None, kind: str, name: str | None) -> None:
    full = config(tmp_path)
    full.reward.medix.judge = {"kind": judge}
    full.reward.medix.semantic.enable = False
    record = compose_record(full, [])
    assert (record.judge.kind, record.judge.name, record.encoder.kind) == (kind, name, "off")


def test_a_panel_is_recorded_with_all_its_judges(tmp_path: Path) -> None:
    full = config(tmp_path)
    full.reward.medix.judge = {
        **{"kind": "openai", "url": "http://h/v1", "model": "j"},
        "panel": [{}, {"model": "k", "url": ["http://me:hidden-value-4@i/v1"]}, {"kind": "verl"}, {"kind": "rule"}],
    }
    record = compose_record(full, WORDS)
    assert (record.judge.kind, record.judge.name) == ("panel", "j + k + own/judge + rule")
    assert record.judge.url == "http://h/v1, http://<secret>@i/v1"
    assert "hidden-value-4" not in str(record) and record.config["reward"]["medix"]["judge"]["panel"][1]["model"] == "k"


def test_a_configuration_of_somebody_else_is_recorded_too() -> None:
    record = compose_record(OmegaConf.create({"a": "${nowhere}", "data": 3}), [])
    assert (record.recipes, record.data, record.seed, record.model.kind) == ((), (), None, "unknown")
    assert record.config["a"] == "${nowhere}"


def start(folder: Path, recorder_: RunRecorder) -> None:
    full = config(folder)
    full.trainer.project = "plain"
    full.hydra = {"overrides": {"task": WORDS[:2]}, "callbacks": {"a": 1}}
    recorder_.on_run_start(config=full)
    recorder_.on_job_start(config=full, task_function=None)


def test_the_callback_writes_at_the_start_and_hashes_meanwhile(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pq.write_table(pa.table({"x": [1, 2, 3]}), tmp_path / f"{name}.parquet")
    callback = RunRecorder()
    start(tmp_path, callback)
    assert read_record(tmp_path / "run").recipes == ("medix_2b", "medix_lora")
    callback.on_job_end(config=None, job_return=None)
    record = read_record(tmp_path / "run")
    assert [file.rows for file in record.data] == [3, 3]
    assert "hydra" not in record.config


def test_a_variable_on_the_command_line_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIX_TEST_SECRET", "hidden-value-4")
    full = config(tmp_path)
    full.hydra = {"overrides": {"task": ["+a.b=${oc.env:MEDIX_TEST_SECRET}"]}}
    callback = RunRecorder()
    callback.on_job_start(config=full)
    callback.on_job_end()
    assert read_record(tmp_path / "run").overrides == ("+a.b=${oc.env:MEDIX_TEST_SECRET}",)
    assert "hidden-value" not in (tmp_path / "run" / "medix_run.json").read_text()


def test_hashing_never_keeps_a_run_from_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def slow(files: Any, stop: Any) -> Any:
        begun.set()
        while not stop():
            threading.Event().wait(0.01)
        return ()

    monkeypatch.setattr(recorder, "hash_files", slow)
    callback = RunRecorder(wait_s=0.05)
    start(tmp_path, callback)
    assert begun.wait(10)
    callback.on_job_end()
    assert callback.thread is not None
    callback.thread.join(10)
    assert not callback.thread.is_alive()


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "run").write_text("a file")
    start(tmp_path, RunRecorder())
    assert "no record of this run can be written" in caplog.text


def test_only_hydras_moments_are_answered() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = RunRecorder().nothing


def test_the_terms_and_their_weights_are_named(tmp_path: Path) -> None:
    medix = {
        "weights": {"judge": 0.575, "semantic": 1, "modality": None},
        "format_weight": 0.1,
        "terms": {"brevity": {"path": "pkg://lab.terms", "weight": 0.25}, "judge": {"weight": 0.5}, "odd": {}},
    }
    found = compose_record(config(tmp_path, reward={"medix": medix}), WORDS).terms
    assert found == {"judge": 0.5, "semantic": 1.0, "format": 0.1, "brevity": 0.25}
    odd = {"weights": {"judge": float("nan"), "semantic": 10**400}, "terms": ["brevity"]}
    assert compose_record(config(tmp_path, reward={"medix": odd}), WORDS).terms == {}


@pytest.mark.parametrize(
    "written",
    [
        "${oc.env:MEDIX_VALUE}",
        "${ oc.env:MEDIX_VALUE}",
        "${oc.env :MEDIX_VALUE}",
        r"\\${oc.env:MEDIX_VALUE}",
        "${oc.env:A,${oc.env:MEDIX_VALUE}}",
    ],
)
def test_a_variable_stays_by_its_name_whatever_the_spelling(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIX_VALUE", "plain but private")
    config = OmegaConf.create({"a": written, "b": "${a}", "c": ["x ${b} y"], "d": r"\${oc.env:MEDIX_VALUE}"})
    found = compose_record(config, []).config
    assert "private" not in json.dumps(found)
    assert (found["a"], found["b"], found["d"]) == (written, written, "${oc.env:MEDIX_VALUE}")
