# SPDX-License-Identifier: Apache-2.0
"""Other releases of verl: the oldest that is claimed trains, and one that is older is refused by name.

An environment for them is made by `.ci/other-verl VERSION FOLDER`, which prints the variable that names it; without it
these tests are skipped. A clone of verl is looked at by `make upstream`, here with a changed verl.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.places import ROOT
from helpers.trainings import command
from medix_verl.demo.processes import run_marked
from medix_verl.demo.summary import read_steps

pytestmark = pytest.mark.timeout(900)
CONTRACT = "tests/integration/plugin/test_contract.py"
STEPS = 3


def interpreter(version: str) -> str:
    """The interpreter of an environment with this release of verl, or a skip."""
    variable = f"MEDIX_VERL_{version.replace('.', '_')}"
    if not (found := os.environ.get(variable)):
        pytest.skip(f"{variable} names no environment with verl {version}; type .ci/other-verl {version} FOLDER")
    done = subprocess.run(
        [found, "-c", "from importlib.metadata import version; print(version('verl'))"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == version
    return found


def start(words: list[str], limit_s: float = 400.0, **variables: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        words, capture_output=True, text=True, timeout=limit_s, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, **variables},
    )  # fmt: skip


@pytest.mark.long
def test_the_contract_holds_on_the_oldest() -> None:
    done = start([interpreter("0.9.0"), "-m", "pytest", "-q", CONTRACT])
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.long
def test_the_recipes_compose_on_the_oldest() -> None:
    names = "test_each_recipe_and_each_overlay or test_the_table_says_what_is_composed"
    done = start(
        [interpreter("0.9.0"), "-m", "pytest", "-q", "tests/integration/recipe/test_recipes.py", "-k", names], 800.0
    )
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.long
def test_three_steps_on_the_oldest(demo_folder: Path, tmp_path: Path) -> None:
    log, metrics = tmp_path / "train.log", tmp_path / "metrics.jsonl"
    overrides = (f"trainer.test_freq={STEPS}", f"trainer.total_training_steps={STEPS}")
    words = command(demo_folder, tmp_path, overrides, python=interpreter("0.9.0"))
    end = run_marked(words, log, {"VERL_FILE_LOGGER_PATH": str(metrics)}, 800.0)
    assert end.returncode == 0, log.read_text(errors="replace")[-3000:]
    steps = read_steps(metrics)
    training = [step for step in steps if step.is_training]
    assert [step.number for step in training] == list(range(1, STEPS + 1))
    assert all(math.isfinite(step.data["actor/grad_norm"]) for step in training)
    assert any(step.data["actor/grad_norm"] > 0 for step in training)
    assert any(name.startswith("val-core/") for step in steps for name in step.data)


def test_one_that_is_too_old_is_told_by_name() -> None:
    done = start([interpreter("0.8.0"), "-m", "verl.trainer.main_ppo", "+recipe=medix", "--cfg", "job"])
    assert (done.returncode, done.stdout) == (1, "")
    line = done.stderr.splitlines()[-1]
    assert line.startswith("medix-verl: error: '+recipe=medix' would be a plain key")
    assert line.endswith("verl is 0.8.0; accepted: >=0.9.0,<0.10; type pip install 'verl>=0.9.0,<0.10'")


def test_a_plugin_that_is_switched_off_stops_the_run() -> None:
    main = [sys.executable, "-m", "verl.trainer.main_ppo"]
    done = start([*main, "+recipe=medix", "--cfg", "job"], VERL_USE_EXTERNAL_PLUGINS="none")
    assert (done.returncode, done.stdout) == (1, "")
    line = done.stderr.splitlines()[-1]
    assert line.endswith("VERL_USE_EXTERNAL_PLUGINS=none keeps verl from loading the plugin; type "
                         "unset VERL_USE_EXTERNAL_PLUGINS")  # fmt: skip
    plain = start([*main, "--cfg", "job"], VERL_USE_EXTERNAL_PLUGINS="none")
    assert plain.returncode == 0 and "adv_estimator: gae" in plain.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that has the installed verl, whose sampler has another signature."""
    import verl

    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(Path(verl.__file__).parent, folder / "verl", ignore=shutil.ignore_patterns("__pycache__"))
    buffer = folder / "verl" / "trainer" / "ppo" / "v1" / "replay_buffer.py"
    text = buffer.read_text()
    assert text.count("def sample(self, global_steps: int, partition_id: str, batch_size: int)") >= 1
    buffer.write_text(
        text.replace("partition_id: str, batch_size: int)", "partition_id: str, batch_size: int, more=0)")
    )
    (folder / "verl" / "version" / "version").write_text("0.11.0.dev\n")
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-f", "verl"], ["commit", "-qm", "main"]):
        subprocess.run([*git, *words], check=True, timeout=60)
    return folder


@pytest.mark.long
@pytest.mark.parametrize("place", ["", ".git"], ids=["a working tree", "a git directory"])
def test_what_moved_in_a_clone_is_listed(clone: Path, place: str) -> None:
    done = start([str(ROOT / ".ci" / "upstream"), str(clone / place)], VENV=sys.prefix)
    assert done.returncode == 1, done.stdout + done.stderr
    first, *moved = done.stdout.splitlines()
    assert first.startswith("verl 0.11.0.dev: ") and len(moved) == 1
    assert moved[0].startswith("moved: test_sampler_seam: Failed: verl moved the seam 'sampler'; change medix_verl/rew")


def test_upstream_wants_a_clone() -> None:
    done = start([str(ROOT / ".ci" / "upstream"), str(ROOT / "no_such_folder")])
    assert done.returncode == 2 and done.stderr.strip().endswith("type make upstream CLONE=path/to/verl")
