# SPDX-License-Identifier: Apache-2.0
"""The lock of a recipe: made of a run's record, read back, and compared with what is in force."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from medix_verl.cli.main import main
from medix_verl.data.io.parquet import write_samples
from medix_verl.errors import ConfigError, DataError
from medix_verl.recipe import lock as locks
from medix_verl.recipe.checks.locked import check_locks, compare_locks
from medix_verl.recipe.data_files import hash_files
from medix_verl.recipe.lock import differences, lock_place, read_lock
from medix_verl.recipe.share.bundle import collect
from medix_verl.recipe.share.contents import faults_of
from medix_verl.recipe.share.folder import FolderSource
from medix_verl.runs.compose import compose_record
from medix_verl.runs.lock import lock_of, lock_run
from medix_verl.runs.record import RunRecord, write_record
from medix_verl.types import Sample

with_verl = pytest.mark.skipif(find_spec("verl") is None, reason="the recipes require verl, which is not installed")

TEXT = """# @package _global_
# Ours.
# requires: verl>=0.9.0,<0.10; medix-verl>=0.1
defaults: [/recipe/medix_cpu, _self_]
"""
WORDS = [
    *("+recipe=lab/ours", "data.train_batch_size=8", "trainer.default_local_dir=/home/me/run", "medix.start=warn"),
    "reward.medix.judge.url=http://me:password1@h/v1",
]
NAMES = ["lab/ours"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Own recipes, and two data files."""
    (tmp_path / "recipe" / "lab").mkdir(parents=True)
    (tmp_path / "recipe" / "lab" / "ours.yaml").write_text(TEXT)
    for name in ("train", "val"):
        write_samples([Sample(name, "own", "What?", "this")], tmp_path / f"{name}.parquet")
    monkeypatch.setenv("MEDIX_RECIPES", str(tmp_path))
    return tmp_path


def config(folder: Path, **changes: Any) -> DictConfig:
    made = OmegaConf.create(
        {
            "data": {
                "train_files": str(folder / "train.parquet"),
                "val_files": str(folder / "val.parquet"),
                "train_batch_size": 8,
                "medix": {"prompt": "medix"},
            },
            "actor_rollout_ref": {"model": {"path": "own/model"}},
            "reward": {
                "medix": {
                    "weights": {"judge": 0.6, "semantic": 0.4},
                    "format_weight": 0.1,
                    "judge": {"kind": "openai", "url": "http://h/v1", "model": "j", "prompt": "reference"},
                    "semantic": {"enable": True, "kind": "sentence_transformers", "model": "own/encoder"},
                }
            },
            "trainer": {"default_local_dir": "/home/me/run"},
        }
    )
    for key, value in changes.items():
        OmegaConf.update(made, key.replace("__", "."), value)
    return made


def recorded(folder: Path) -> RunRecord:
    record = compose_record(config(folder), WORDS)
    return replace(record, data=hash_files(record.data))


@pytest.fixture
def locked(folder: Path) -> Path:
    write_record(recorded(folder), folder / "run")
    path = lock_run(folder / "run")
    assert path == folder / "recipe" / "lab" / "ours.lock.json" == lock_place("lab/ours")
    return folder


def test_what_a_lock_holds(locked: Path) -> None:
    lock = read_lock(locked / "recipe" / "lab" / "ours.lock.json")
    assert lock.run == ("lab/ours",) and lock.requires == {"verl": "<0.10,>=0.9.0", "medix-verl": ">=0.1"}
    assert lock.texts["lab/ours"] == TEXT and lock.texts["medix"].startswith("sha256:")
    assert set(lock.texts) == {"lab/ours", "medix_cpu", "medix", "medix_reward", "medix_on_cpu"}
    assert [(file.role, file.name, file.rows, len(file.sha256)) for file in lock.data] == [
        ("train", "train.parquet", 1, 64),
        ("val", "val.parquet", 1, 64),
    ]
    assert lock.judge.name == "j" and lock.judge.url is None and lock.encoder.name == "own/encoder"
    assert set(lock.prompts) == {"answer", "judge"} and lock.prompts["answer"].startswith("medix sha256:")
    assert lock.terms == {"judge": 0.6, "semantic": 0.4, "format": 0.1}
    assert lock.typed == {"data.train_batch_size": "8"}
    assert lock.versions["medix-verl"]


def test_a_lock_has_no_path_address_or_secret(locked: Path) -> None:
    text = (locked / "recipe" / "lab" / "ours.lock.json").read_text()
    assert not any(part in text for part in (str(locked), "/home/me", "http://", "password1"))


def test_a_lock_can_be_published(locked: Path) -> None:
    found = collect(FolderSource(locked))
    assert "ours.lock.json" in found.inside and faults_of(found, {}) == []


@with_verl
def test_what_is_as_it_was(locked: Path) -> None:
    found = compare_locks(config(locked), NAMES, WORDS)
    (check,) = check_locks(found, [str(locked / "train.parquet")], [str(locked / "val.parquet")])
    assert check.status == "ok" and check.found == "lab/ours: as in the run that it was locked with"
    json.dumps(found)


CHANGES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "the judge": ({"reward__medix__judge__model": "k"}, ["judge: openai, j -> openai, k"]),
    "the encoder": (
        {"reward__medix__semantic__enable": False},
        ["encoder: sentence_transformers, own/encoder -> off"],
    ),
    "the model": ({"actor_rollout_ref__model__path": "own/other"}, ["model: hub, own/model -> hub, own/other"]),
    "the prompt": ({"data__medix__prompt": "medix_short"}, ["prompt of the answer: medix sha256:"]),
    "the judge's prompt": ({"reward__medix__judge__prompt": "published"}, ["prompt of the judge: reference sha256:"]),
    "a typed key": ({"data__train_batch_size": 9}, ["data.train_batch_size: 8 -> 9"]),
}


@with_verl
@pytest.mark.parametrize(("changes", "expected"), CHANGES.values(), ids=CHANGES)
def test_what_differs(locked: Path, changes: dict[str, Any], expected: list[str]) -> None:
    (found,) = compare_locks(config(locked, **changes), NAMES, WORDS)
    assert len(found["differs"]) == len(expected)
    assert all(line.startswith(text) for line, text in zip(found["differs"], expected, strict=True)), found


def test_recipes_versions_and_words_that_differ(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "versions", lambda: {**locks.identify.__globals__["versions"](), "verl": "0.10.0"})
    lock = replace(read_lock(locked / "recipe" / "lab" / "ours.lock.json"), versions={"verl": "0.9.0", "torch": "1"})
    (locked / "recipe" / "lab" / "ours.yaml").write_text(TEXT + "trainer: {nnodes: 2}\n")
    words = ["+recipe=[lab/ours,medix_lora]", "trainer.seed=3"]
    found = list(differences(lock, config(locked, trainer__seed=3), ["lab/ours", "medix_lora"], words))
    assert found[0] == "recipes: lab/ours -> lab/ours,medix_lora"
    assert "verl: 0.9.0 -> 0.10.0" in found and any(line.startswith("torch: 1 -> ") for line in found)
    assert any(line.startswith("outside its range: verl<0.10,>=0.9.0, and verl is 0.10.0") for line in found)
    assert "the text of recipe lab/ours" in found and "trainer.seed: not typed then -> 3" in found


def test_data_that_differ(locked: Path) -> None:
    write_samples([Sample("other", "own", "What?", "that")], locked / "other.parquet")
    found = compare_locks(config(locked), NAMES, WORDS)
    (check,) = check_locks(found, [str(locked / "other.parquet")], [str(locked / "gone.parquet")])
    assert check.status == "warn" and check.todo
    assert f"train data: train.parquet -> {locked / 'other.parquet'}" in check.found
    assert f"val data: {locked / 'gone.parquet'} cannot be compared (not readable" in check.found
    (check,) = check_locks(found, [str(locked / "train.parquet")], [str(locked / "train.parquet")])
    assert f"val data: val.parquet -> {locked / 'train.parquet'}" in check.found and "train data" not in check.found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "is not a lock that can be read"),
        ("[]", "a lock has format 1"),
        ("[1]", "is not a lock that can be read"),
        ('{"format": 9}', "has format 9; a lock has format 1"),
        ('{"format": 1}', "is not a lock that can be read"),
        ("[" * 100_000, "is not a lock that can be read"),
        (" " * ((1 << 20) + 1), "has 1048577 bytes"),
    ],
)
def test_a_lock_that_cannot_be_read_is_a_fault(locked: Path, text: str, message: str) -> None:
    (locked / "recipe" / "lab" / "ours.lock.json").write_text(text)
    (check,) = check_locks(compare_locks(config(locked), NAMES, WORDS), [], [])
    assert check.status == "FAIL" and message in check.found


def test_runs_that_cannot_be_locked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = recorded(folder)
    for changed, message in (
        (replace(record, recipes=()), "without \\+recipe=NAME"),
        (replace(record, format=2), "does not hold the recipes' texts; train once more"),
        (replace(record, data=(replace(record.data[0], sha256=None, note=""),)), "was not hashed \\(the run has not"),
    ):
        with pytest.raises(DataError, match=message):
            lock_of(changed, folder)
    ours = replace(record, recipes=("medix_cpu",), texts={"medix_cpu": "sha256:0"})
    write_record(ours, folder / "run")
    assert main(["recipe", "lock", str(folder / "run")]) == 1
    assert "came with medix-verl, and a lock lies beside a recipe of your own" in capsys.readouterr().err
    assert main(["recipe", "lock", str(folder / "run"), "--out", str(folder / "x.lock.json")]) == 0
    write_record(record, folder / "run")
    with pytest.raises(ConfigError, match="--recipe medix: the run had lab/ours; name one of them"):
        lock_run(folder / "run", "medix")
    (folder / "recipe" / "lab" / "ours.yaml").write_text(TEXT + "a: 1\n")
    with pytest.raises(ConfigError, match="has been changed since the run"):
        lock_run(folder / "run")
    (folder / "recipe" / "lab" / "ours.yaml").unlink()
    with pytest.raises(ConfigError, match="recipe 'lab/ours' is not found here; set MEDIX_RECIPES"):
        lock_run(folder / "run")
