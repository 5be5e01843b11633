# SPDX-License-Identifier: Apache-2.0
"""Versions in the head of a recipe: met, or refused with what to type, wherever the recipe is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from medix_verl.errors import ConfigError
from medix_verl.recipe.heads import check_list, lineage, read_head
from medix_verl.recipe.index import check_overrides, recipe_heads
from medix_verl.recipe.requires import read_requires, unmet

HEAD = "# @package _global_\n# Ours.\n# requires: {}\ndefaults:\n  - /recipe/medix\n  - _self_\n"


def test_a_line_is_read() -> None:
    assert read_requires("verl>=0.9.0,<0.10; medix_verl>=0.1 ;") == {"verl": "<0.10,>=0.9.0", "medix-verl": ">=0.1"}
    assert read_requires("") == {}


@pytest.mark.parametrize("text", ["verl", "verl >= ", "verl[gpu]>=1", "a @ https://h/x.whl", "a>=1 # no", "a>1; b<;"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is not a name with a range; write verl>=0.9.0,<0.10; medix-verl>=0.1"):
        read_requires(text)


@pytest.mark.parametrize(
    ("have", "message"),
    [
        ("0.9.1", []),
        ("0.9.1.dev3", []),
        ("0.8.0", ["verl>=0.9, and verl is 0.8.0; type pip install 'verl>=0.9'"]),
        (None, ["verl>=0.9, and there is no verl; type pip install 'verl>=0.9'"]),
    ],
)
def test_what_is_not_met(have: str | None, message: list[str]) -> None:
    assert list(unmet({"verl": ">=0.9"}, lambda name: have)) == message


def test_a_recipe_that_needs_more_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipe" / "lab").mkdir(parents=True)
    monkeypatch.setenv("MEDIX_RECIPES", str(tmp_path))
    path = tmp_path / "recipe" / "lab" / "ours.yaml"
    path.write_text(HEAD.format("medix-verl>=0.0.1"))
    (tmp_path / "recipe" / "lab" / "child.yaml").write_text("# @package _global_\ndefaults: [/recipe/lab/ours]\n")
    check_overrides(["+recipe=lab/ours"])
    path.write_text(HEAD.format("medix-verl>=99"))
    for name in ("lab/ours", "lab/child", "[medix,lab/child]"):
        with pytest.raises(ConfigError, match=r"recipe 'lab/ours' requires medix-verl>=99, .*; type pip install"):
            check_overrides([f"+recipe={name}"])


def test_a_line_that_cannot_be_read_names_its_recipe() -> None:
    heads = {"lab/x": read_head("lab/x", "# @package _global_\n# requires: soon\n")}
    with pytest.raises(ConfigError, match="recipe 'lab/x': requires: 'soon' is not a name with a range"):
        check_list(["lab/x"], heads)


def test_parents_in_a_namespace_are_absolute() -> None:
    heads = recipe_heads()
    text = "# @package _global_\ndefaults:\n  - medix\n  - /recipe/lab/base # why\n  - _self_\n"
    heads |= {"lab/x": read_head("lab/x", text), "lab/base": read_head("lab/base", "# @package _global_\n")}
    assert heads["lab/x"].parents == ("medix", "lab/base") and heads["lab/x"].relative == ("medix",)
    with pytest.raises(ConfigError, match="in a namespace, write - /recipe/medix"):
        check_list(["lab/x"], heads)
    assert read_head("x", text).relative == ()


def test_recipes_that_stand_on_themselves_end() -> None:
    heads = {name: read_head(name, f"defaults: [{other}]\n") for name, other in (("a", "b"), ("b", "a"))}
    assert lineage("a", heads) == ["a", "b"]
    many = {f"r{n}": read_head(f"r{n}", f"defaults: [r{n + 1}, r{n + 2}]\n") for n in range(60)}
    assert len(lineage("r0", many)) == 62
