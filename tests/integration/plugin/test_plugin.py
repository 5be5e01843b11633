# SPDX-License-Identifier: Apache-2.0
"""The plugin in real processes of verl: registered, cheap, loud when it fails, absent beside an accelerator."""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from helpers.places import TESTS
from medix_verl.cpu.activate import CPU_ENVIRONMENT

pytestmark = pytest.mark.timeout(180)
MANAGER = "pkg://medix_verl.rewards.manager"
STATE = """
import importlib.metadata, json, os, sys
import verl
from verl.plugin.platform.platform_manager import PlatformRegistry, get_platform
import verl.utils.distributed as distributed, verl.utils.tensordict_utils as tensordicts
from medix_verl import after_import
from medix_verl.cpu.activate import CPU_ENVIRONMENT
from medix_verl.plugin import status
patched = (
    importlib.metadata.version,
    distributed.initialize_global_process_group_ray,
    tensordicts.maybe_fix_3d_position_ids,
)
print(json.dumps({
    **status(),
    "cpu": PlatformRegistry.get("cpu") is not None,
    "device": get_platform().device_name,
    "patched": [hasattr(function, "medix_verl") for function in patched],
    "variables": sorted(set(CPU_ENVIRONMENT) & set(os.environ)),
    "awaited": sorted(after_import._finder.hooks),
}))
"""


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process whose environment nobody has activated the CPU in."""
    clean = {name: value for name, value in os.environ.items() if name not in (*CPU_ENVIRONMENT, "VERL_PLATFORM")}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=120, check=False, env={**clean, **variables},
    )  # fmt: skip


def state(code: str = STATE, **variables: str) -> dict[str, Any]:
    done = python(code, **variables)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(result, dict)
    return result


def test_importing_verl_registers_us() -> None:
    found = state(VERL_PLATFORM="cpu")
    assert (found["registered"], found["searchpath"], found["error"]) == (True, True, None)
    assert found["platform"] == found["device"] == "cpu"
    assert found["patched"][1:] == [True, True]
    assert found["variables"] == sorted(CPU_ENVIRONMENT)


INJECTED = f"""
import verl, medix_verl.cpu.activate as activate
activate._DEVICE_FILES = ({__file__!r},)
import medix_verl.plugin
"""


@pytest.mark.parametrize(
    ("code", "variables"),
    [(STATE, {"VERL_PLATFORM": "nvidia"}), (INJECTED + STATE, {"VERL_USE_EXTERNAL_PLUGINS": "none"})],
    ids=["the user says nvidia", "the machine has a device file"],
)
def test_nothing_is_touched_beside_an_accelerator(code: str, variables: dict[str, str]) -> None:
    found = state(code, **variables)
    assert found["registered"] is True and found["searchpath"] is True
    assert found["platform"] == "verl's own"
    assert found["device"] == "cuda"
    assert found["cpu"] is False
    assert found["patched"] == [False, False, False]
    assert found["variables"] == []
    # Gemma 4's model is looked at when, and only where, it is imported.
    assert found["awaited"] == ["hydra.core.plugins", "transformers.models.gemma4.modeling_gemma4"]


def test_the_plugin_costs_next_to_nothing() -> None:
    """It is paid in every process of a run. Processor time, because other work on the machine is not ours."""
    code = (
        "import json, sys, time, verl\n"
        "began = time.process_time()\n"
        "import medix_verl.plugin\n"
        "print(json.dumps({'cost_s': time.process_time() - began, 'hydra': 'hydra.core.plugins' in sys.modules}))\n"
    )
    found = state(code, VERL_USE_EXTERNAL_PLUGINS="none")
    assert found["cost_s"] < 0.3
    assert not found["hydra"], "Hydra is for the process with the command line only"


BROKEN = """
import verl, medix_verl.cpu.activate as activate
def broken():
    raise OSError("no such library")
activate.activate_if_needed = broken
import medix_verl.plugin
"""


def test_a_failure_is_logged_at_error_and_raised() -> None:
    done = python(BROKEN, VERL_USE_EXTERNAL_PLUGINS="none")
    assert done.returncode == 1
    assert "ERROR" in done.stderr and "medix_verl is not active, verl would train without it" in done.stderr
    assert "run `medix-verl doctor`" in done.stderr
    assert done.stderr.splitlines()[-1] == "OSError: no such library"


def test_a_failure_is_kept_for_the_doctor(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from medix_verl import plugin

    def broken(_name: str, _hook: object) -> None:
        raise OSError("no such library")

    monkeypatch.setattr(plugin, "after_import", broken)
    monkeypatch.setattr(plugin, "_state", {"registered": False, "searchpath": False, "platform": "", "error": None})
    with caplog.at_level(logging.ERROR, "medix_verl"), pytest.raises(OSError, match="no such library"):
        plugin.register()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert plugin.status() == {
        "registered": False, "searchpath": False, "platform": "", "error": "OSError: no such library",
    }  # fmt: skip


@pytest.fixture
def hydra() -> Iterator[None]:
    import verl  # noqa: F401 - its import registers the plugin

    with initialize_config_module("verl.trainer.config", version_base=None):
        yield


def medix_entries() -> list[str]:
    path = GlobalHydra.instance().config_loader().get_search_path().get_path()
    return [entry.path for entry in path if entry.provider == "medix-verl"]


def test_a_second_registration_changes_nothing() -> None:
    import verl.utils.distributed as distributed

    from medix_verl import plugin

    before = distributed.initialize_global_process_group_ray
    plugin.register()
    importlib.reload(plugin)
    assert plugin.status()["registered"] is True
    with initialize_config_module("verl.trainer.config", version_base=None):
        assert medix_entries() == ["pkg://medix_verl.recipes"]
    assert distributed.initialize_global_process_group_ray is before
    assert sum(type(finder).__module__ == "medix_verl.after_import" for finder in sys.meta_path) <= 1


def test_other_applications_of_hydra_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: 1\n")
    from hydra import initialize_config_dir

    with initialize_config_dir(str(tmp_path), version_base=None):
        assert medix_entries() == []
        assert compose("config", ["+recipes=medix"]) == {"a": 1, "recipes": "medix"}


@pytest.mark.parametrize("word", ["+recipe=medix", "+recipe@_global_=medix", "+recipe=[medix]"])
def test_every_spelling_selects_our_parts(hydra: None, word: str) -> None:
    config = compose("ppo_trainer", [word])
    assert config.reward.reward_manager.module.path == MANAGER
    assert config.data.custom_cls.name == "MedixDataset"
    assert config.trainer.v1.sampler.custom_sampler.name == "MedixReplayBuffer"
    assert config.algorithm.filter_groups.metric == "acc"
    assert "recipe" not in config


@pytest.mark.parametrize("word", ["+recipe=medix_cpu", "+recipe=[medix,medix_cpu]", "+recipe@_global_=medix_cpu"])
def test_the_recipe_for_the_cpu_stands_on_the_other(hydra: None, word: str) -> None:
    config = compose("ppo_trainer", [word, "medix.demo=/d"])
    assert config.reward.reward_manager.module.path == MANAGER
    assert config.trainer.device == "cpu"
    assert config.data.train_files == "/d/data/train.parquet"
    assert config.reward.medix.judge.kind == "rule"


def test_what_is_typed_wins_over_the_recipe(hydra: None) -> None:
    config: DictConfig = compose("ppo_trainer", ["actor_rollout_ref.rollout.n=3", "+recipe=medix"])
    assert config.actor_rollout_ref.rollout.n == config.trainer.v1.sampler.sampler_kwargs.n == 3


def test_the_command_of_the_gpu_ring_is_accepted_by_verl(hydra: None, tmp_path: Path) -> None:
    """It can be trained on a GPU machine only; that its keys and sizes fit together shows anywhere."""
    from verl.utils.config import validate_config

    spec = importlib.util.spec_from_file_location("gpu_ring", TESTS / "gpu" / "test_gpu.py")
    assert spec is not None and spec.loader is not None
    ring = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ring)
    config = compose("ppo_trainer", ["+recipe=medix", *ring.one_small_gpu(tmp_path / "demo", tmp_path / "checkpoints")])
    validate_config(config=config, use_reference_policy=False, use_critic=False)


def test_a_recipe_of_ones_own(tmp_path: Path, hydra: None) -> None:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "ours.yaml").write_text(
        "# @package _global_\ndefaults: [medix, _self_]\ntrainer: {nnodes: 7}\n"
    )
    main = [sys.executable, "-m", "verl.trainer.main_ppo", f"hydra.searchpath=[file://{tmp_path}]"]
    done = subprocess.run(
        [*main, "+recipe=ours", "--cfg", "job"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "nnodes: 7" in done.stdout and MANAGER in done.stdout


def test_recipes_of_a_folder_and_of_an_installed_package(tmp_path: Path) -> None:
    ours, site = tmp_path / "ours" / "recipe", tmp_path / "site"
    package, info = site / "lab_recipes", site / "lab-1.dist-info"
    for folder in (ours, package / "recipe", info):
        folder.mkdir(parents=True)
    (ours / "ours.yaml").write_text("# @package _global_\ndefaults: [medix, _self_]\ntrainer: {nnodes: 7}\n")
    (package / "__init__.py").write_text("")
    (package / "recipe" / "theirs.yaml").write_text("# @package _global_\ntrainer: {total_epochs: 9}\n")
    (info / "METADATA").write_text("Name: lab\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[medix_verl.recipes]\nlab = lab_recipes\n")
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    main = [sys.executable, "-m", "verl.trainer.main_ppo", "+recipe=[ours,theirs]", "--cfg", "job"]
    done = subprocess.run(
        main, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "MEDIX_RECIPES": str(ours.parent), "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "nnodes: 7" in done.stdout and "total_epochs: 9" in done.stdout and MANAGER in done.stdout


def test_broken_recipes_stop_verl(monkeypatch: pytest.MonkeyPatch) -> None:
    from medix_verl.recipe import index as recipes_index

    def missing(package: str) -> None:
        raise ModuleNotFoundError(f"No module named '{package}'")

    monkeypatch.setattr(recipes_index.resources, "files", missing)
    with (
        pytest.raises(ModuleNotFoundError, match=r"medix_verl\.recipes"),
        initialize_config_module("verl.trainer.config", version_base=None),
    ):
        pass


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("+recipes=medix", "the group is called 'recipe', its recipes are medix"),
        ("+recipe=medx", "'medx' is none of medix"),
    ],
)
def test_a_typing_error_ends_verl_with_one_line(word: str, message: str) -> None:
    main = [sys.executable, "-m", "verl.trainer.main_ppo", word, "--cfg", "job"]
    done = subprocess.run(main, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and done.stdout == ""
    line = done.stderr.splitlines()[-1]
    assert line.startswith("medix-verl: error: ") and message in line and "medix_cpu" in line
    assert line.endswith("type +recipe=medix")


def test_the_main_command_composes() -> None:
    main = [sys.executable, "-m", "verl.trainer.main_ppo", "+recipe=[medix,medix_cpu]", "--cfg", "job"]
    done = subprocess.run(main, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert MANAGER in done.stdout and "MedixReplayBuffer" in done.stdout
