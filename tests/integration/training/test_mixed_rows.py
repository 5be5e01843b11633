# SPDX-License-Identifier: Apache-2.0
"""Ranks whose rows have pictures and ranks whose rows have none update together, with the newer models of the recipes.

Qwen3-VL's are in test_two_ranks. Without our pass through the picture tower, ranks of Gemma 4 abort on a mismatch of
their collectives (gloo) or wait for ever (NCCL).
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
SCRIPT = Path(__file__).with_name("mixed_rows.py")
WITHOUT = "import sys; import medix_verl.runtime.gemma4 as ours; ours.add_picture_pass = lambda modeling: None; "
RUN = f"import runpy; sys.argv = sys.argv[1:]; sys.path.insert(0, {str(SCRIPT.parent)!r}); "
RUN += f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "make", str(folder)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def ranks(models: Path, kind: str, before: str = "import sys; ", limit_s: float = 400.0) -> list[tuple[int, str]]:
    """How two ranks end: status and output of each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    plain = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", before + RUN, str(SCRIPT), kind, str(models)], env={**plain, "RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    return [ended(process, limit_s) for process in processes]


def ended(process: subprocess.Popen[str], limit_s: float) -> tuple[int, str]:
    """Status and output of a process, which is killed where it does not end by itself."""
    try:
        found, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        found, _ = process.communicate()
    return process.returncode, found


@pytest.mark.parametrize("kind", ["gemma4", "qwen3_5"])
def test_one_rank_has_pictures(models: Path, kind: str) -> None:
    both = ranks(models, kind)
    assert [status for status, _ in both] == [0, 0], both[0][1][-3000:]
    norms = [float(re.findall(r"^norm (\S+)$", text, re.M)[-1]) for _, text in both]
    assert norms[0] == norms[1] > 0


def test_without_our_pass_gemma_does_not_train(models: Path) -> None:
    """Where this fails, transformers or verl do it themselves, and medix_verl/runtime/gemma4.py can go."""
    both = ranks(models, "gemma4", WITHOUT, limit_s=150.0)
    assert all(status != 0 for status, _ in both)
    assert "After FSDP" in both[0][1], "it did not come as far as the update"
    assert not any(re.search(r"^norm ", text, re.M) for _, text in both)
