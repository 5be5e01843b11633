# SPDX-License-Identifier: Apache-2.0
""".ci/setup takes a CPU build of torch on the machines that have one, and every file compiles on Python 3.10 to 3.12.

The machine is told by a `uname` of the test's own; its Python writes down what it is asked for and installs nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.places import ROOT

CPU = "install torch==2.13.0 torchvision==0.28.0 --index-url https://download.pytorch.org/whl/cpu"
PYTHON = """#!/bin/sh
echo "$*" >>"$ASKED"
case "$*" in
*"-m venv"*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
*"+cpu"*) exit "$NO_CPU_BUILD" ;;
esac
"""
COMPILE = """
import pathlib, sys
for name in sys.argv[1:]:
    compile(pathlib.Path(name).read_bytes(), name, "exec")
print(len(sys.argv) - 1)
"""


def set_up(
    folder: Path, system: str, machine: str, no_cpu_build: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    programs = folder / "programs"
    programs.mkdir()
    (programs / "uname").write_text(f'#!/bin/sh\n[ "$1" = -s ] && echo {system} || echo {machine}\n')
    (programs / "python3").write_text(PYTHON)
    for program in programs.iterdir():
        program.chmod(0o755)
    done = subprocess.run(
        [str(ROOT / ".ci" / "setup"), str(folder / "venv")], capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": f"{programs}:{os.environ['PATH']}", "ASKED": str(folder / "asked"), "NO_CPU_BUILD": no_cpu_build},
    )  # fmt: skip
    return done, (folder / "asked").read_text().splitlines()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize(("no_cpu_build", "index"), [("1", True), ("0", False)], ids=["PyTorch's index", "pip's index"])
def test_a_cpu_build_of_torch(tmp_path: Path, machine: str, no_cpu_build: str, index: bool) -> None:
    done, asked = set_up(tmp_path, "Linux", machine, no_cpu_build)
    assert done.returncode == 0, done.stderr
    assert any(line.endswith("install torch==2.13.0+cpu") for line in asked)
    assert any(line.endswith(CPU) for line in asked) is index
    assert not any(line.endswith("install torch==2.13.0") for line in asked), "PyPI's is a CUDA build"
    assert any(line.endswith("install -e .[cpu,eval,dev]") for line in asked)


def test_a_machine_without_one_is_told(tmp_path: Path) -> None:
    done, asked = set_up(tmp_path, "Linux", "riscv64", "1")
    assert done.returncode == 1 and "Linux-riscv64; accepted: Linux on x86_64 or aarch64" in done.stderr
    assert not any("torch" in line for line in asked)


def interpreter(version: str) -> str | None:
    """An interpreter of this release, on the path or of pyenv."""
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    for found in (shutil.which(f"python{version}"), *root.glob(f"versions/{version}.*/bin/python")):
        words = [str(found), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        if found and subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip() == version:
            return str(found)
    return None


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12"])
def test_every_file_compiles(version: str) -> None:
    here = "{}.{}".format(*sys.version_info[:2])
    python = sys.executable if version == here else interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} on this machine")
    folders = ("medix_verl", "recipes", "examples", "tests")
    files = [str(path) for folder in folders for path in (ROOT / folder).rglob("*.py")]
    words = [python, "-W", "error::SyntaxWarning", "-c", COMPILE, *files]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-1000:]
    assert int(done.stdout) == len(files) > 300
