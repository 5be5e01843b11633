# SPDX-License-Identifier: Apache-2.0
"""Keys of the user's own primary configuration that a typed recipe has changed are named."""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf

from medix_verl.recipe.primary import lost_keys

MINE = "defaults: [ppo_trainer, _self_]\ntrainer: {total_epochs: 7, nnodes: 1}\ndata: {seed: 3, val_files: '${a.b}'}\n"


def lost(folder: Path, words: list[str], provider: str = "main") -> list[str]:
    (folder / "mine.yaml").write_text(MINE)
    source = {"path": str(folder), "schema": "file", "provider": provider}
    hydra = {"job": {"config_name": "mine"}, "runtime": {"config_sources": [source]}}
    now = {"trainer": {"total_epochs": 2, "nnodes": 1}, "data": {"seed": 1, "val_files": "v"}, "hydra": hydra}
    return [check.found for check in lost_keys(OmegaConf.create(now), words)]


def test_keys_that_the_recipe_wins(tmp_path: Path) -> None:
    (found,) = lost(tmp_path, ["+recipe=medix", "data.seed=1"])
    assert found.endswith("says: trainer.total_epochs: 7 -> 2")


def test_nothing_is_lost_without_a_typed_recipe_or_an_own_file(tmp_path: Path) -> None:
    assert lost(tmp_path, ["data.seed=1"]) == []
    assert lost(tmp_path, ["+recipe=medix"], provider="hydra") == []
