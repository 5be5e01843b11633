# SPDX-License-Identifier: Apache-2.0
"""What a run stands on: found where it is there, None where it is not, and never a stop."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medix_verl.recipe.data_files import DataFile, hash_files, list_files
from medix_verl.recipe.identity import Identity, identify, versions
from medix_verl.runs.surroundings import commits


def parquet(path: Path, rows: int) -> Path:
    pq.write_table(pa.table({"x": list(range(rows))}), path)
    return path


def test_versions_name_what_is_installed_and_what_is_not() -> None:
    found = versions()
    assert found["python"] and found["medix-verl"]
    assert {"verl", "torch", "ray"} <= set(found)


def test_a_file_is_hashed_and_counted(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", 7)
    (found,) = hash_files([DataFile("train", str(path))])
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found.rows, found.size, found.note) == (7, path.stat().st_size, "")


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "b.parquet").write_text("no parquet")
    far, lost, odd = hash_files(
        [
            DataFile("val", "s3://bucket/x.parquet"),
            DataFile("val", str(tmp_path / "a")),
            DataFile("val", str(tmp_path / "b.parquet")),
        ]
    )
    assert far.note == "not on a local disk" and far.sha256 is None
    assert "No such file" in lost.note
    assert odd.sha256 and odd.rows is None


def test_hashing_ends_when_the_run_does(tmp_path: Path) -> None:
    (found,) = hash_files([DataFile("train", str(parquet(tmp_path / "a.parquet", 2)))], stop=lambda: True)
    assert found.sha256 is None and "before it was hashed" in found.note


def test_a_mixture_names_its_files(tmp_path: Path) -> None:
    mixture = tmp_path / "mix.yaml"
    mixture.write_text("sources: [{path: a.parquet}, {path: b.parquet}]\n")
    found = list_files([str(mixture)], ["v.parquet"])
    assert [(file.role, Path(file.path).name) for file in found] == [
        ("train", "mix.yaml"),
        ("train", "a.parquet"),
        ("train", "b.parquet"),
        ("val", "v.parquet"),
    ]
    mixture.write_text("sources: 3\n")
    assert [Path(file.path).name for file in list_files([str(mixture)], [])] == ["mix.yaml"]


def test_a_checkout_has_a_commit_and_says_when_it_was_changed(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", str(tmp_path / "repo"), *who, *words], check=True, capture_output=True)

    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "a").write_text("1")
    assert commits([tmp_path]) == {}
    git("init")
    git("add", "a")
    git("commit", "-m", "x")
    clean = commits([tmp_path / "repo"])
    assert list(clean) == ["repo"] and len(clean["repo"]) == 40
    (tmp_path / "repo" / "a").write_text("2")
    assert commits([tmp_path / "repo"]) == {"repo": clean["repo"] + "+changes"}


def test_a_folder_is_told_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    first = identify(str(tmp_path))
    assert first.kind == "folder" and first.revision and first.revision.startswith("files-")
    assert identify(str(tmp_path)) == first
    (tmp_path / "config.json").write_text("[]")
    assert identify(str(tmp_path)) != first


def test_a_hub_model_is_told_by_the_caches_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert identify("own/model") == Identity("hub", "own/model")
    (tmp_path / "models--own--model" / "refs").mkdir(parents=True)
    (tmp_path / "models--own--model" / "refs" / "main").write_text("abc\n")
    assert identify("own/model", "verl", "http://h").revision == "abc"


def test_a_package_is_told_by_its_version() -> None:
    assert identify("package:hydra_core").revision
    assert identify("package:no_such_package").revision is None
    assert identify(None).kind == "unknown"
