# SPDX-License-Identifier: Apache-2.0
"""The package that `medix-verl new package` begins: whole, sound, and with the names of its owner."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from helpers import lab_package as lab
from helpers.places import ROOT
from medix_verl.cli.main import main
from medix_verl.errors import ConfigError
from medix_verl.recipe.package.begin import begin_package
from medix_verl.recipe.share.bundle import collect
from medix_verl.recipe.share.contents import faults_of
from medix_verl.recipe.share.folder import FolderSource


def test_everything_is_there_and_is_called_as_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "package", "ward7", "--folder", str(tmp_path)]) == 0
    assert "+recipe=[medix_cpu,ward7/first]" in capsys.readouterr().out
    files = {path.relative_to(tmp_path / "ward7").as_posix() for path in (tmp_path / "ward7").rglob("*.*")}
    assert files >= {
        *("pyproject.toml", "README.md", "tests/test_ward7.py", "ward7/terms.py", "ward7/judges.py"),
        *("ward7/wrists.py", "ward7/tasks.py", "ward7/recipe/ward7/first.yaml", "ward7/recipe/ward7/judge.txt"),
    }
    for path in (tmp_path / "ward7").rglob("*.*"):
        if path.is_file():
            assert "@NAME@" not in path.read_text() and "NAME" not in path.name
    points = lab.points_of(tmp_path / "ward7")
    assert points.count("[medix_verl.") == 5 and points.count("ward7_") == 4
    assert yaml.safe_load((tmp_path / "ward7/ward7/recipe/ward7/first.yaml").read_text())["reward"]["medix"]["terms"]


def test_its_recipe_can_be_shared_as_it_is(tmp_path: Path) -> None:
    found = collect(FolderSource(begin_package("ward7", tmp_path) / "ward7"))
    assert set(found.inside) == {"first.yaml", "judge.txt", "answer.jinja"} and faults_of(found, {}) == []


def test_its_code_is_clean(tmp_path: Path) -> None:
    pytest.importorskip("ruff")
    project, settings = begin_package("ward7", tmp_path), ("--config", str(ROOT / "pyproject.toml"))
    for words in (["check", "--ignore", "D103"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *words, *settings, str(project)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_its_own_tests_pass(tmp_path: Path) -> None:
    project = lab.lay_out(tmp_path, "ward7")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=project, capture_output=True, text=True, timeout=110, check=False,
        env={**os.environ, "PYTHONPATH": f"{project}:{ROOT}"},
    )  # fmt: skip
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout[-3000:]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Lab", "is none of a package"),
        ("a-b", "is none of a package"),
        ("../lab", "is none of a package"),
        ("lab.x", "is none of a package"),
        ("class", "is none of a package"),
        ("a" * 21, "is longer than 20"),
        ("medix_lab", "begins as ours do"),
        ("json", "is installed already"),
        ("yaml", "is installed already"),
        ("summit", "contains 'sum'"),
        ("there", "is there already"),
    ],
)
def test_names_that_no_package_can_have(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match=message):
        begin_package(name, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
