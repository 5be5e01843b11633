# SPDX-License-Identifier: Apache-2.0
"""What the shell is offered: commands, flags of the chosen command, and names that are there, also in a list."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def completions(line: str, folder: Path) -> set[str]:
    """What argcomplete's protocol gives for a line that ends at the cursor."""
    pytest.importorskip("argcomplete")
    out = folder / "completions"
    names = {
        "_ARGCOMPLETE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "_ARGCOMPLETE_STDOUT_FILENAME": str(out),
    }
    done = subprocess.run(
        [sys.executable, "-m", "medix_verl"], env={**os.environ, **names},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {word.strip() for word in out.read_text().split("\x0b")}


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("medix-verl ", {"doctor", "demo", "report", "calibrate"}),
        ("medix-verl cal", {"calibrate"}),
        ("medix-verl report --met", {"--metrics"}),
        ("medix-verl doctor --recipe medix_c", {"medix_cpu"}),
        ("medix-verl doctor --recipe medix,medix_lo", {"medix,medix_lora"}),
        ("medix-verl evaluate run m --tasks slak", {"slake_vqa"}),
        ("medix-verl prepare slak", {"slake"}),
        ("medix-verl recipe diff medix medix_pap", {"medix_paper"}),
    ],
)
def test_what_is_offered(line: str, offered: set[str], tmp_path: Path) -> None:
    assert offered <= completions(line, tmp_path)
