# SPDX-License-Identifier: Apache-2.0
"""Every example runs, is short, and prints what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medix_verl.data.parquet import read_samples

EXAMPLES = Path(__file__).parents[2] / "examples"
PRINTED = {
    "score_one_answer.py": ["answer='a pleural effusion'", "score     1.0", "semantic  None", "format    1.0"],
    "add_a_judge.py": [
        "in the left lung: 1.0\n",
        "in the right lung: 0.1\n",
        "in the lung: None judge: no side is named\n",
    ],
    "add_a_dataset.py": [],  # it is given to a command: test_the_data_set_example_is_prepared
}


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(PRINTED)


@pytest.mark.parametrize("name", sorted(PRINTED))
def test_an_example(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert [text for text in PRINTED[name] if text not in done.stdout] == []
    assert len((EXAMPLES / name).read_text().splitlines()) < 40


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
