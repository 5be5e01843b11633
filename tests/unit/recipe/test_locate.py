# SPDX-License-Identifier: Apache-2.0
"""Recipes of an installed package are found without a line of the package being run."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from medix_verl.cli.main import main
from medix_verl.errors import ConfigError
from medix_verl.recipe import index
from medix_verl.recipe.index import recipe_heads, search_paths
from medix_verl.recipe.locate import package_folders

LOUD = "print('EXECUTED')\nraise SystemExit('EXECUTED')\n"


def loud_package(site: Path, dotted: str, recipe: str = "lab/ours") -> Path:
    """A package each of whose parts would be heard, with a recipe in the last."""
    folder = site.joinpath(*dotted.split("."))
    file = folder / "recipe" / f"{recipe}.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\n# Ours.\na: 1\n")
    for depth in range(1, len(dotted.split(".")) + 1):
        (site.joinpath(*dotted.split(".")[:depth]) / "__init__.py").write_text(LOUD)
    (file.parent / "__init__.py").write_text(LOUD)
    return folder


@pytest.mark.parametrize("dotted", ["loud_lab", "loud_parent.inner.recipes"])
def test_nothing_of_a_package_is_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], dotted: str
) -> None:
    folder = loud_package(tmp_path, dotted)
    monkeypatch.syspath_prepend(str(tmp_path))
    point = metadata.EntryPoint("lab", dotted, "medix_verl.recipes")
    monkeypatch.setattr(index.metadata, "entry_points", lambda group: [point])
    assert recipe_heads()["lab/ours"].text == "Ours."
    assert f"file://{folder}" in search_paths()
    assert main(["recipe", "list"]) == 0
    assert "EXECUTED" not in capsys.readouterr().out
    assert not [name for name in sys.modules if name.startswith("loud_")]


def test_a_namespace_package_may_have_several_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for site in ("one", "two"):
        (tmp_path / site / "spread_lab").mkdir(parents=True)
        monkeypatch.syspath_prepend(str(tmp_path / site))
    assert {place.parent.name for place in package_folders("spread_lab")} == {"one", "two"}


@pytest.mark.parametrize(
    ("dotted", "message"),
    [
        ("no_such_package", "there is no package no_such_package"),
        ("json.decoder", "there is no package json.decoder"),
        ("json.nothing", "there is no package json.nothing"),
        ("../etc", "is not a package name"),
        ("a;import os", "is not a package name"),
    ],
)
def test_what_is_no_package(dotted: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        package_folders(dotted)
