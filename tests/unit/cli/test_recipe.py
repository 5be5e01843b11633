# SPDX-License-Identifier: Apache-2.0
"""`medix-verl recipe`: what needs no verl - listing, beginning, and the files that are refused."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.run_record import RECORD
from medix_verl.cli.main import main
from medix_verl.cli.recipe.recipe import tables
from medix_verl.errors import ConfigError
from medix_verl.recipe.heads import Head
from medix_verl.recipe.index import recipe_heads
from medix_verl.recipe.own import begin, placed
from medix_verl.recipe.validate import check
from medix_verl.runs import repeat
from medix_verl.runs.record import DataFile, write_record

HEADS = [
    Head("one", "One.", "", False, ("a model", "GRPO", "8", "nothing"), (), ()),
    Head("two", "", "", True, ("size", "nothing"), (), ()),
    Head("mine", "", "", False, (), (), ()),
]


def test_tables() -> None:
    assert tables(HEADS).splitlines() == [
        "| recipe | model | algorithm | GPUs | what was run |",
        "| --- | --- | --- | --- | --- |",
        "| `one` | a model | GRPO | 8 | nothing |",
        "",
        "| overlay | what it changes | what was run |",
        "| --- | --- | --- |",
        "| `two` | size | nothing |",
    ]


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(
        recipe_heads(), key=lambda name: (recipe_heads()[name].is_overlay, name)
    )
    assert main(["recipe", "list", "--markdown"]) == 0
    assert "| `medix_lora` | adapters |" in capsys.readouterr().out


def test_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("MEDIX_RECIPES", raising=False)
    assert main(["recipe", "new", "ours", "--from", "medix_2b", "--folder", str(tmp_path)]) == 0
    assert f"export MEDIX_RECIPES={tmp_path}" in capsys.readouterr().out
    monkeypatch.setenv("MEDIX_RECIPES", str(tmp_path))
    found = recipe_heads()["ours"]
    assert (found.parents, found.is_overlay, len(found.columns)) == (("medix_2b",), False, 4)
    path = begin("second", "ours", None)
    assert path == tmp_path / "recipe" / "second.yaml"
    assert "export" not in capsys.readouterr().out


def test_begin_in_a_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = begin("lab/ours", "medix_2b", tmp_path)
    monkeypatch.setenv("MEDIX_RECIPES", str(tmp_path))
    assert path == tmp_path / "recipe" / "lab" / "ours.yaml"
    head = recipe_heads()["lab/ours"]
    assert (head.parents, head.relative, head.requires) == (("medix_2b",), (), "verl>=0.9.0,<0.10; medix-verl>=0.1")
    assert "experiment_name: ours" in path.read_text() and "+recipe=lab/ours" in head.command
    (tmp_path / "recipe" / "lab" / "base.yaml").write_text("# @package _global_\n")
    monkeypatch.delenv("MEDIX_RECIPES")
    for word in (str(path), f"{path.parent}/../lab/ours.yaml"):
        with placed(word) as names:
            assert names == ["lab/ours"] and {"lab/ours", "lab/base"} <= set(recipe_heads())
    assert "lab/ours" not in recipe_heads()
    with placed("medix,lab/ours") as names:
        assert names == ["medix", "lab/ours"]


@pytest.mark.parametrize(
    ("name", "parent", "message"),
    [
        ("medix", "medix", "'medix' is taken"),
        ("a b", "medix", "must be letters, digits"),
        ("../a", "medix", "must be letters, digits"),
        ("a/b/c", "medix", "must be letters, digits"),
        ("Lab/a", "medix", "must be letters, digits"),
        ("ours", "medix_lora", "--from medix_lora: accepted are medix, "),
        ("ours", "nothing", "--from nothing: accepted are"),
        ("there", "medix", "is there already"),
    ],
)
def test_what_cannot_be_begun(tmp_path: Path, name: str, parent: str, message: str) -> None:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "there.yaml").write_text("")
    with pytest.raises(ConfigError, match=message):
        begin(name, parent, tmp_path)


def test_files_that_cannot_be_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file .*; type medix-verl recipe new"):
        check(str(tmp_path / "no.yaml"))
    (tmp_path / "a.yml").write_text("# @package _global_\n")
    with pytest.raises(ConfigError, match="does not end in .yaml"):
        check(str(tmp_path / "a.yml"))
    (tmp_path / "b.yaml").write_text("trainer: {}\n")
    with pytest.raises(ConfigError, match="must begin with the line '# @package _global_'"):
        check(str(tmp_path / "b.yaml"))


def test_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "show", "[]"]) == 1
    assert "names no recipe; type medix-verl recipe list" in capsys.readouterr().err


@pytest.fixture
def no_verl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Composing again is for the second ring."""
    monkeypatch.setattr(repeat, "find_spec", lambda name: None)


@pytest.mark.usefixtures("no_verl")
def test_a_runs_folder_shows_what_repeats_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(RECORD, tmp_path / "demo" / "checkpoints")
    assert main(["recipe", "show", str(tmp_path / "demo")]) == 0
    shown = capsys.readouterr().out
    words = "'+recipe=[medix,medix_lora]' 'data.train_files=my file.parquet'"
    assert shown.startswith(f"python -m verl.trainer.main_ppo {words}\n")
    assert "train: my file.parquet, 12 rows, sha256 00ff\nval: s3://b/v.parquet, rows not known, far away\n" in shown
    assert "judge: openai, judge, at http://h/v1" in shown and "vllm" not in shown
    assert main(["recipe", "show", str(tmp_path)]) == 1
    assert "there is no medix_run.json in" in capsys.readouterr().err


@pytest.mark.usefixtures("no_verl")
def test_a_run_says_what_its_command_alone_does_not_bring_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"trainer": {"resume_mode": "auto"}}
    write_record(replace(RECORD, directory="/home/me", recipes=("medix", "labs_own"), config=config), tmp_path)
    assert main(["recipe", "show", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "typed in: /home/me\n" in shown and "not found here: labs_own; export MEDIX_RECIPES=" in shown
    assert "it goes on from the last one; to begin again, add trainer.resume_mode=disable" in shown
    write_record(replace(RECORD, config={"trainer": {"resume_mode": "disable"}}), tmp_path)
    assert main(["recipe", "show", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert not any(text in shown for text in ("typed in", "begin again", "not found here"))


@pytest.mark.usefixtures("no_verl")
def test_a_run_says_which_versions_and_data_are_others_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "same.parquet").write_bytes(b"12345")
    (tmp_path / "grown.parquet").write_bytes(b"1234567")
    data = tuple(DataFile("train", f"{name}.parquet", size=5) for name in ("same", "grown", "gone"))
    here = {"python": platform.python_version()}
    write_record(replace(RECORD, directory=str(tmp_path), data=data, versions={**here, "nothing": "1.0"}), tmp_path)
    assert main(["recipe", "show", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "other versions here: nothing 1.0 -> none\n" in shown
    assert "not here: gone.parquet (train)\n" in shown and "not here: same" not in shown
    assert "changed since: grown.parquet (train) had 5 bytes and has 7\n" in shown and "since: same" not in shown
