# SPDX-License-Identifier: Apache-2.0
"""Every example runs, is short, and prints what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PRINTED = {
    "score_one_answer.py": ["answer='a pleural effusion'", "score     1.0", "semantic  None", "format    1.0"],
    "add_a_judge.py": [
        "in the left lung: 1.0\n",
        "in the right lung: 0.1\n",
        "in the lung: None judge: no side is named\n",
    ],
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
