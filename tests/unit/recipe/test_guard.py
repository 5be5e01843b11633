# SPDX-License-Identifier: Apache-2.0
"""A recipe that verl would take as a plain key, because it did not load the plugin, is refused with the cause."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from hydra.core.config_search_path import ConfigSearchPath

from hydra_plugins.medix_verl_guard import PLUGIN, POLICY, MedixGuard, why_inactive
from medix_verl.recipe.checks import machine

WORDS = ["+recipe=medix", "+recipe=[medix,medix_lora]", "++recipe=medix", "+recipe@_global_=medix", "+recipes=medix"]


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is installed, by name."""
    installed = {"verl": "0.9.1"}
    monkeypatch.setattr(machine.metadata, "version", installed.__getitem__)
    monkeypatch.delenv(POLICY, raising=False)
    return installed


@pytest.mark.parametrize("word", WORDS)
def test_an_old_verl_is_named(versions: dict[str, str], word: str) -> None:
    versions["verl"] = "0.8.0"
    found = why_inactive(["trainer.nnodes=2", word])
    assert found.startswith(f"'{word}' would be a plain key") and "verl is 0.8.0; accepted: >=0.9.0,<0.10" in found
    assert found.endswith("type pip install 'verl>=0.9.0,<0.10'")


def test_a_policy_that_keeps_it_out_is_named(versions: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(POLICY, "other")
    assert why_inactive(["+recipe=medix"]).endswith(
        "VERL_USE_EXTERNAL_PLUGINS=other keeps verl from loading the plugin; type unset VERL_USE_EXTERNAL_PLUGINS"
    )


def test_another_cause_is_the_doctors(versions: dict[str, str]) -> None:
    assert why_inactive(["+recipe=medix"]).endswith("verl did not load the plugin; type medix-verl doctor")


def test_who_asks_for_no_recipe_is_left_alone(versions: dict[str, str]) -> None:
    versions["verl"] = "0.8.0"
    assert why_inactive(["trainer.nnodes=2", "data.recipe=x", "+receipt=1", "--cfg", "job"]) == ""


@pytest.mark.parametrize(
    ("loaded", "stops"),
    [(("verl",), True), (("verl", PLUGIN), False), ((), False)],
    ids=["inactive", "active", "other"],
)
def test_only_verl_without_the_plugin_is_stopped(
    versions: dict[str, str], monkeypatch: pytest.MonkeyPatch, loaded: tuple[str, ...], stops: bool
) -> None:
    for name in ("verl", PLUGIN):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in loaded:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys, "argv", ["main_ppo", "+recipe=medix"])
    search: ConfigSearchPath = None  # type: ignore[assignment] # it is not looked at
    if stops:
        with pytest.raises(SystemExit, match=r"^medix-verl: error: '\+recipe=medix' would be a plain key"):
            MedixGuard().manipulate_search_path(search)
    else:
        MedixGuard().manipulate_search_path(search)
