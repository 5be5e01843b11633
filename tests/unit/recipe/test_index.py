# SPDX-License-Identifier: Apache-2.0
"""A mistyped recipe stops the run before it starts; every other word of a verl command line passes."""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.errors import ConfigError
from medix_verl.recipe import index as recipes_index
from medix_verl.recipe.index import (
    GROUP,
    SEARCH_PATH,
    check_in_force,
    check_overrides,
    check_trainer,
    recipe_heads,
    search_paths,
    stands_on_verl,
)


def test_the_recipes_are_found_where_hydra_looks() -> None:
    assert {"medix", "medix_cpu"} <= set(recipe_heads())
    assert list(recipe_heads()) == sorted(recipe_heads())
    assert SEARCH_PATH == "pkg://medix_verl.recipes"
    assert GROUP == "recipe"


def folder_with(path: Path, name: str, text: str = "# @package _global_\na: 1\n") -> Path:
    (path / GROUP).mkdir(parents=True, exist_ok=True)
    (path / GROUP / f"{name}.yaml").write_text(text, encoding="utf-8")
    return path


def test_recipes_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = folder_with(tmp_path / "one", "ours"), folder_with(tmp_path / "two", "theirs")
    monkeypatch.setenv("MEDIX_RECIPES", os.pathsep.join(["", str(one), str(two)]))
    assert {"ours", "theirs", "medix"} <= set(recipe_heads())
    assert list(search_paths()) == [SEARCH_PATH, f"file://{one}", f"file://{two}"]
    check_overrides(["+recipe=[medix,ours]"])
    assert recipe_heads()["ours"].columns == ()


def test_a_recipe_that_would_train_on_verls_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIX_RECIPES", str(folder_with(tmp_path, "ours", "defaults: [medix]\ntrainer: {nnodes: 2}\n")))
    with pytest.raises(ConfigError, match="verl would train without them"):
        check_overrides(["+recipe=ours"])


def test_a_folder_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIX_RECIPES", str(tmp_path))
    with pytest.raises(ConfigError, match=r"MEDIX_RECIPES names .* has no folder 'recipe'; type mkdir -p"):
        recipe_heads()
    folder_with(tmp_path, "medix")
    with pytest.raises(ConfigError, match=r"has a recipe 'medix', which there is already; give it another name"):
        recipe_heads()


def package_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, with_recipes: bool) -> None:
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text("")
    if with_recipes:
        folder_with(package, "hospital")
    monkeypatch.syspath_prepend(str(tmp_path))
    point = metadata.EntryPoint("lab", name, "medix_verl.recipes")
    monkeypatch.setattr(recipes_index.metadata, "entry_points", lambda group: [point])


def test_recipes_of_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package_of(tmp_path, monkeypatch, "lab_recipes", with_recipes=True)
    assert "hospital" in recipe_heads()
    assert list(search_paths())[-1] == f"file://{tmp_path / 'lab_recipes'}"


def test_a_package_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package_of(tmp_path, monkeypatch, "lab_without", with_recipes=False)
    with pytest.raises(ConfigError, match=r"package lab_without of medix_verl.recipes has no folder 'recipe'"):
        recipe_heads()
    point = metadata.EntryPoint("lab", "lab_gone", "medix_verl.recipes")
    monkeypatch.setattr(recipes_index.metadata, "entry_points", lambda group: [point])
    assert "lab_gone" not in sys.modules
    with pytest.raises(ConfigError, match=r"entry point lab of medix_verl.recipes names lab_gone, which cannot be"):
        recipe_heads()


def test_lists_are_checked() -> None:
    check_overrides(["+recipe=[medix_8b_gspo,medix_on_cpu]"])
    with pytest.raises(ConfigError, match=r"an overlay, which changes the recipe before it; type .*medix,medix_lora"):
        check_overrides(["+recipe=medix_lora"])
    with pytest.raises(ConfigError, match=r"would undo medix_gdpo; type \+recipe=\[medix_gdpo,medix_on_cpu\]"):
        check_overrides(["+recipe=[medix_gdpo,medix_cpu]"])


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["+recipe=medix"],
        ["++recipe=medix"],
        ["+recipe=[medix,medix_cpu]"],
        ["+recipe=[medix, medix_cpu]"],
        ["+recipe='medix'"],
        ["+recipe@_global_=medix"],
        ["+recipe@_global_=[medix,medix_cpu]"],
        ["--cfg", "job", "--resolve"],
        ["data.train_batch_size=8", "~algorithm.rollout_correction"],
        ["trainer.experiment_name=medix"],
        ["+trainer.note=medix"],
        ["+receipt_folder=here"],
        ["+prices=1"],
        ["+ray_kwargs.ray_init.runtime_env.env_vars.RECIPE=medix"],
        ["+note=a sentence\nover two lines"],
    ],
)
def test_words_that_pass(words: list[str]) -> None:
    check_overrides(words)


@pytest.mark.parametrize(
    "word", ["+recipes=medix", "++recipes=medix", "+Recipe=medix", "+recipie=medix", "+reciep=x", "+recpie@_global_=x"]
)
def test_a_group_spelled_almost_right(word: str) -> None:
    with pytest.raises(ConfigError, match=r"would add a plain key .* the group is called 'recipe'.*type \+recipe="):
        check_overrides(["data.train_batch_size=8", word])


@pytest.mark.parametrize("word", ["+configuration=medix_cpu", "+experiment=[medix,mine]"])
def test_another_key_with_the_name_of_a_recipe(word: str) -> None:
    with pytest.raises(ConfigError, match=r"recipes are medix.*type \+recipe=medix"):
        check_overrides([word])


@pytest.mark.parametrize(
    ("word", "name", "instead"),
    [
        ("+recipe=medx", "medx", "medix"),
        ("+recipe=medix-cpu", "medix-cpu", "medix_cpu"),
        ("+recipe=[medix,medix_cpuu]", "medix_cpuu", "medix_cpu"),
        ("++recipe@_global_=Medix", "Medix", "medix"),
        ("+recipe=medix.yaml", "medix.yaml", "medix"),
    ],
)
def test_a_recipe_that_is_not_installed(word: str, name: str, instead: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{name}' is none of .*medix.*; type \+recipe={instead}$"):
        check_overrides([word])


@pytest.mark.parametrize(
    "place",
    [
        ["hydra.searchpath=[file:///my/recipes]"],
        ["+hydra.searchpath=[pkg://mine.recipes]"],
        ["--config-dir", "/my/recipes"],
        ["--config-dir=/my/recipes"],
        ["-cd", "/my/recipes"],
    ],
)
def test_a_recipe_of_somebody_else_is_left_to_hydra(place: list[str]) -> None:
    """Recipes are made to be shared: one that lies in a folder of the user's is not ours to refuse."""
    check_overrides([*place, "+recipe=our_hospital"])
    check_overrides(["+recipe=[medix,our_hospital]", *place])
    with pytest.raises(ConfigError, match="would add a plain key 'recipes'"):
        check_overrides([*place, "+recipes=our_hospital"])


@given(st.lists(st.text(max_size=30), max_size=4))
def test_no_command_line_ends_in_another_error(words: list[str]) -> None:
    with contextlib.suppress(ConfigError):
        check_overrides(words)


@pytest.mark.parametrize(
    ("place", "text", "found"),
    [
        ("pkg://verl.trainer.config", "", True),
        ("file:///site-packages/verl/trainer/config", "", True),
        ("FOLDER", "defaults: [ppo_trainer, _self_]\n", True),
        ("file://FOLDER", "hydra: {searchpath: [pkg://verl.trainer.config]}\n", True),
        ("file://FOLDER", "a: 1\n", False),
        ("pkg://no.such.package", "", False),
        ("file:///no/such/folder/of/verlingen", "", False),
        ("structured://", "", False),
    ],
)
def test_primary_configurations_on_verls(tmp_path: Path, place: str, text: str, found: bool) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    assert stands_on_verl(place.replace("FOLDER", str(tmp_path))) is found


@pytest.mark.parametrize("value", ["medix", ["medix", "medix_lora"]])
def test_a_recipe_that_is_a_plain_key(value: str | list[str]) -> None:
    with pytest.raises(ConfigError, match=r"plain key here, .* put `- recipe: medix` into the `defaults`"):
        check_in_force({"recipe": value})


@pytest.mark.parametrize("value", [None, "chocolate cake", {"name": "medix"}, []])
def test_a_key_recipe_of_somebody_elses(value: object) -> None:
    check_in_force({"recipe": value})
    check_in_force({})


@pytest.mark.parametrize(
    ("program", "recipe", "said"),
    [
        ("main_ppo", "medix_sft", "'medix_sft' is for verl.trainer.sft_trainer, and this is verl.trainer.main_ppo"),
        ("main_ppo", "[medix_sft,medix_sft_on_cpu]", "type python -m verl.trainer.sft_trainer"),
        ("sft_trainer", "medix", "'medix' is for verl.trainer.main_ppo"),
        ("sft_trainer", "medix_reward", "recipes for sft_trainer: medix_sft, medix_sft_on_cpu"),
        ("sft_trainer_ray", "[medix,medix_lora]", "this is verl.trainer.sft_trainer_ray"),
    ],
)
def test_a_recipe_of_another_trainer(program: str, recipe: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_trainer(program, [f"+recipe={recipe}", "data.seed=1"])
    assert said in str(caught.value)


def test_recipes_of_this_trainer_and_of_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that says nothing of itself may be for any trainer, and a program of one's own may be anything."""
    monkeypatch.setenv("MEDIX_RECIPES", str(folder_with(tmp_path, "ours")))
    check_trainer("main_ppo", ["+recipe=[medix,medix_lora]"])
    check_trainer("sft_trainer", ["+recipe=[medix_sft,ours]"])
    check_trainer("own", ["+recipe=medix_sft"])


def test_a_configuration_of_another_trainer() -> None:
    with pytest.raises(ConfigError, match="for verl.trainer.sft_trainer, and reinforcement learning would train on"):
        check_in_force({"actor_rollout_ref": {}, "medix": {"trainer": "sft_trainer"}})
    check_in_force({"engine": {}, "medix": {"trainer": "sft_trainer"}})
