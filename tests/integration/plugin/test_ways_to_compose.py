# SPDX-License-Identifier: Apache-2.0
"""However a user composes on verl's configuration: the recipe is in force, or the run stops with what to type."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)
MANAGER = "pkg://medix_verl.rewards.manager"
ON_VERL = "hydra: {searchpath: [pkg://verl.trainer.config]}\n"
MINE = ON_VERL + "defaults:\n  - ppo_trainer\n  - _self_\ntrainer: {total_epochs: 7}\n"
WITH_RECIPE = ON_VERL + "defaults:\n  - ppo_trainer\n  - recipe: medix\n  - _self_\ntrainer: {total_epochs: 7}\n"
PLAIN_KEY = MINE + "recipe: medix\n"
PROGRAM = """
import hydra
{early}
@hydra.main(config_path="conf", config_name="mine", version_base=None)
def main(config):
    {late}
    from verl.utils.config import validate_config
    print("path:", config.reward.reward_manager.module.path, "total_epochs:", config.trainer.total_epochs)
    validate_config(config, False, False)
main()
"""
MAIN = [sys.executable, "-m", "verl.trainer.main_ppo"]


def start(
    folder: Path, command: list[str], config: str = MINE, early: str = "import verl", late: str = "pass"
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder with `conf/mine.yaml`, `own.py` and a file that has a tokenizer of no model."""
    (folder / "conf").mkdir()
    (folder / "conf" / "mine.yaml").write_text(config)
    (folder / "own.py").write_text(PROGRAM.format(early=early, late=late))
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, cwd=folder)


@pytest.mark.parametrize(
    ("command", "config", "epochs"),
    [
        ([*MAIN, "+recipe=medix", "--cfg", "job"], MINE, 2),
        ([*MAIN, "--config-path", "CONF", "--config-name", "mine", "+recipe=medix", "--cfg", "job"], MINE, 2),
        ([*MAIN, "--config-path", "CONF", "--config-name", "mine", "--cfg", "job"], WITH_RECIPE, 7),
        pytest.param(
            *([*MAIN, "--config-dir", "CONF", "--config-name", "mine", "+recipe=medix", "--cfg", "job"], MINE, 2),
            marks=pytest.mark.long,
        ),
        # A program runs, and this machine has no 8 GPUs: the start would refuse it.
        ([sys.executable, "own.py", "+recipe=medix", "++medix.start=warn"], MINE, 2),
        pytest.param([sys.executable, "own.py", "++medix.start=warn"], WITH_RECIPE, 7, marks=pytest.mark.long),
    ],
    ids=[
        *("verl's main", "own primary, recipe typed", "own primary, recipe in its defaults", "own folder"),
        *("own program, recipe typed", "own program, recipe in its defaults"),
    ],
)
def test_the_recipe_is_in_force(tmp_path: Path, command: list[str], config: str, epochs: int) -> None:
    """What is typed wins over what the primary configuration says; what stands after `- recipe` there wins over it."""
    done = start(tmp_path, [str(tmp_path / "conf") if word == "CONF" else word for word in command], config)
    assert f"path: {MANAGER}" in done.stdout, done.stderr
    assert f"total_epochs: {epochs}" in done.stdout


@pytest.mark.parametrize(
    ("command", "config", "early", "late", "message"),
    [
        (
            [*MAIN, "--config-path", "CONF", "--config-name", "mine"],
            PLAIN_KEY,
            "",
            "pass",
            "put `- recipe: medix` into",
        ),
        pytest.param(
            *([sys.executable, "own.py"], PLAIN_KEY, "import verl", "pass", "`recipe: medix` is a plain key here"),
            marks=pytest.mark.long,
        ),
        ([sys.executable, "own.py", "+recipe=medix"], MINE, "", "import verl", "write `import verl` at the top"),
        ([*MAIN, "--config-path", "CONF", "--config-name", "mine", "+recipes=medix"], MINE, "", "pass", "plain key"),
    ],
    ids=["a plain key", "a plain key of an own program", "verl imported too late", "a typing error"],
)
def test_or_the_run_stops(tmp_path: Path, command: list[str], config: str, early: str, late: str, message: str) -> None:
    done = start(
        tmp_path, [str(tmp_path / "conf") if word == "CONF" else word for word in command], config, early, late
    )
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith("medix-verl: error: ") and message in line, done.stderr


@pytest.mark.parametrize(("words", "stops"), [([], False), (["+recipe=medix"], True)])
def test_a_folder_of_recipes_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], stops: bool
) -> None:
    """It stops no run that names no recipe."""
    monkeypatch.setenv("MEDIX_RECIPES", str(tmp_path / "gone"))
    done = start(tmp_path, [*MAIN, *words, "--cfg", "job"])
    assert (done.returncode == 1) is stops
    assert "gone, which has no folder 'recipe'" in done.stderr
