# SPDX-License-Identifier: Apache-2.0
"""Every example runs, is short, and prints what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.places import ROOT
from medix_verl.data.io.parquet import read_samples

EXAMPLES = ROOT / "examples"
PRINTED = {
    "score_one_answer.py": ["answer='a pleural effusion'", "score     1.0", "semantic  None", "format    1.0"],
    "add_a_judge.py": [
        "in the left lung: 1.0\n",
        "in the right lung: 0.1\n",
        "in the lung: None judge: no side is named\n",
    ],
    "add_a_dataset.py": [],  # it is given to a command: test_the_data_set_example_is_prepared
    "add_a_reward_term.py": ["Pneumothorax: 1.00\n", "wall of the chest: 0.87\n", "Fracture: 0.23\n"],
}
OTHERS = {"evaluate_a_model.py", "train_on_the_cpu.py"}
"""Run by tests of their own below."""


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(PRINTED) | OTHERS
    assert all(len(path.read_text().splitlines()) < 40 for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", sorted(PRINTED))
def test_an_example(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert [text for text in PRINTED[name] if text not in done.stdout] == []


def test_the_term_of_the_example_is_found_as_it_says() -> None:
    import shlex

    import verl  # noqa: F401 - its import registers the plugin
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    from medix_verl.rewards.composite import shares_of
    from medix_verl.rewards.spec import RewardSpec, SamplerSpec

    words = shlex.split((EXAMPLES / "add_a_reward_term.py").read_text().split('"""')[1].replace("\\\n", " "))
    named = [word.replace("add_a_reward", f"{EXAMPLES}/add_a_reward") for word in words if "medix.terms." in word]
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", ["+recipe=medix_cpu", *named[:1]])
    block: Any = OmegaConf.to_container(config.reward.medix, resolve=True)
    sampler = SamplerSpec.from_mapping(config.trainer.v1.sampler.sampler_kwargs)
    for spec in (RewardSpec.from_mapping(block), sampler.reward):
        assert shares_of(spec).names == ("judge", "semantic", "format", "modality", "brevity")
        assert shares_of(spec).weights["brevity"] == 0.1


@pytest.mark.long
def test_a_model_is_evaluated(tmp_path: Path) -> None:
    from helpers import evaluations as shared

    source, out = shared.medqa(tmp_path / "medqa", 12), tmp_path / "out"
    with shared.serving() as server:
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / "evaluate_a_model.py"), server.url, str(out), f"medqa={source}"],
            capture_output=True, text=True, timeout=110, check=False, cwd=tmp_path, env=shared.environment(),
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "medqa" in done.stdout and "report.html: 1 tasks" in done.stdout
    assert "Before you read a figure" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_model_is_trained_on_the_cpu(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "train_on_the_cpu.py"), str(tmp_path / "demo"), "2"],
        capture_output=True, text=True, timeout=880, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "validation acc 0." in done.stdout and "Only 2 steps" in (tmp_path / "demo" / "report.html").read_text()


def test_the_data_set_example_is_prepared(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "train.csv").write_text("film,asked,truth\na.png,What is broken?,the scaphoid\na.png,And here?,\n")
    out = tmp_path / "out" / "train.parquet"
    command = [sys.executable, "-m", "medix_verl", "prepare", str(EXAMPLES / "add_a_dataset.py")]
    done = subprocess.run(
        [*command, "--source", str(tmp_path), "--split", "train", "--out", str(out)],
        capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [sample.answer for sample in read_samples(out)] == ["the scaphoid"]
    assert "no answer" in done.stdout + done.stderr
