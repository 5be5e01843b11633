# SPDX-License-Identifier: Apache-2.0
"""Mismatched builds, shown on made-up environments: folders with the version files and libraries of each build."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.places import ROOT
from medix_verl.cpu.environment import (
    START_UP_FILE,
    find_mismatches,
    fix_mismatches,
    is_cuda_build,
    package_folder,
    start_up_line,
    torch_is_cpu_only,
)
from medix_verl.errors import SetupError

CPU_TORCH = "__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n"
CUDA_TORCH = "__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n"
ROCM_TORCH = "__version__ = '2.13.0+rocm7'\ncuda: Optional[str] = None\nhip: Optional[str] = '7.0'\n"
MAC_TORCH = "__version__ = '2.13.0'\ncuda: Optional[str] = None\n"
CUDA_WHEEL = "__version__ = '0.28.0+cu130'\ngit_version = '8fb'\n"
CPU_WHEEL = "__version__ = '0.28.0+cpu'\n"
BARE_WHEEL = "__version__ = '0.28.0'\n"


class FakePip:
    """Records the commands and answers with one status."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str]) -> int:
        self.commands.append(list(command))
        return self.status


def make_environment(root: Path, **version_files: str) -> Path:
    for package, text in version_files.items():
        (root / package).mkdir()
        (root / package / "__init__.py").touch()
        (root / package / "version.py").write_text(text)
    return root


def test_finds_both_cuda_builds_beside_a_cpu_torch(tmp_path: Path) -> None:
    site = make_environment(tmp_path, torch=CPU_TORCH, torchvision=CUDA_WHEEL, torchcodec=CUDA_WHEEL)
    found = find_mismatches(site)
    assert [mismatch.package for mismatch in found] == ["torchvision", "torchcodec"]
    assert found[0].got == "0.28.0+cu130 (CUDA build)"
    assert "2.13.0+cpu" in found[0].needed
    assert found[0].fix == "medix-verl doctor --fix"


@pytest.mark.parametrize("torch", [CUDA_TORCH, ROCM_TORCH])
def test_touches_nothing_beside_a_torch_with_an_accelerator(tmp_path: Path, torch: str) -> None:
    site = make_environment(tmp_path, torch=torch, torchvision=CUDA_WHEEL, torchcodec=CUDA_WHEEL)
    pip = FakePip()
    assert not torch_is_cpu_only(site)
    assert fix_mismatches(site, pip) == []
    assert not (site / START_UP_FILE).exists()
    assert pip.commands == []


@pytest.mark.parametrize("wheel", [CPU_WHEEL, BARE_WHEEL])
def test_accepts_matching_builds(tmp_path: Path, wheel: str) -> None:
    site = make_environment(tmp_path, torch=MAC_TORCH, torchvision=wheel, torchcodec=wheel)
    assert torch_is_cpu_only(site)
    assert find_mismatches(site) == []


def test_accepts_an_environment_without_these_packages(tmp_path: Path) -> None:
    assert find_mismatches(tmp_path) == []
    assert find_mismatches(make_environment(tmp_path, torch=CPU_TORCH)) == []


@pytest.mark.parametrize(("content", "expected"), [(b"\0libc10_cuda.so\0", True), (b"\0libc10.so\0", False)])
def test_libraries_decide_where_the_version_says_nothing(tmp_path: Path, content: bytes, expected: bool) -> None:
    site = make_environment(tmp_path, torchvision=BARE_WHEEL)
    (site / "torchvision" / "_C.so").write_bytes(content)
    assert is_cuda_build(site / "torchvision") is expected


def test_fix_is_idempotent_and_can_be_undone(tmp_path: Path) -> None:
    site = make_environment(tmp_path, torch=CPU_TORCH, torchvision=CUDA_WHEEL)
    assert len(fix_mismatches(site, FakePip())) == 1
    assert (site / START_UP_FILE).read_text() == start_up_line()
    assert find_mismatches(site) == []
    assert fix_mismatches(site, FakePip()) == []


def test_fix_uninstalls_torchcodec_through_this_interpreter(tmp_path: Path) -> None:
    site = make_environment(tmp_path, torch=CPU_TORCH, torchcodec=CUDA_WHEEL)
    pip = FakePip()
    assert fix_mismatches(site, pip) == ["torchcodec: uninstalled, a CUDA build that nothing here needs"]
    assert pip.commands == [[sys.executable, "-m", "pip", "uninstall", "-y", "torchcodec"]]


def test_fix_says_what_to_type_when_pip_fails(tmp_path: Path) -> None:
    site = make_environment(tmp_path, torch=CPU_TORCH, torchcodec=CUDA_WHEEL)
    with pytest.raises(SetupError, match=r"could not uninstall torchcodec.*type: uv pip uninstall torchcodec"):
        fix_mismatches(site, FakePip(status=1))


def test_fix_says_what_to_type_when_the_environment_is_read_only(tmp_path: Path) -> None:
    site = make_environment(tmp_path, torch=CPU_TORCH, torchvision=CUDA_WHEEL)
    (site / START_UP_FILE).mkdir()
    with pytest.raises(SetupError, match=r"could not write medix_verl_torchvision\.pth.*type: pip install torchvision"):
        fix_mismatches(site, FakePip())


def test_start_up_line_is_one_harmless_line() -> None:
    line = start_up_line()
    assert line.startswith("import ")
    assert line.count("\n") == 1
    ast.parse(line)


def run_with_start_up(tmp_path: Path, program: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / START_UP_FILE).write_text(start_up_line())
    prelude = f"import site, sys\nsite.addsitedir({str(tmp_path)!r})\nsys.path.insert(0, {str(tmp_path)!r})\n"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", prelude + program], capture_output=True, text=True, timeout=60, check=False
    )


def test_start_up_line_waits_for_torchvision_and_imports_nothing(tmp_path: Path) -> None:
    program = "import json\nassert not {'medix_verl', 'torch', 'importlib.util'} & set(sys.modules), sys.modules"
    done = run_with_start_up(tmp_path, program)
    assert (done.returncode, done.stderr) == (0, "")


def test_start_up_line_is_harmless_without_medix_verl(tmp_path: Path) -> None:
    make_environment(tmp_path, torch=CPU_TORCH, torchvision=CUDA_WHEEL)
    done = run_with_start_up(tmp_path, "import torchvision\nassert 'medix_verl' not in sys.modules")
    assert (done.returncode, done.stderr) == (0, "")


def test_start_up_line_defines_the_schemas_when_torchvision_comes(tmp_path: Path) -> None:
    make_environment(tmp_path, torchvision=CUDA_WHEEL)
    (tmp_path / "medix_verl" / "cpu").mkdir(parents=True)
    (tmp_path / "medix_verl" / "cpu" / "torchvision_ops.py").write_text("def define_schemas(): print('defined')\n")
    done = run_with_start_up(tmp_path, "print('before')\nimport torchvision")
    assert (done.stdout.split(), done.stderr) == (["before", "defined"], "")


FAKE_TORCH = """
from types import SimpleNamespace
defined = []
class Library:
    def __init__(self, namespace, kind): self.head = f"{namespace}/{kind}/"
    def define(self, schema): defined.append(self.head + schema.partition("(")[0])
library = SimpleNamespace(Library=Library)
"""


def import_torchvision(tmp_path: Path, torch: str, wheel: str) -> list[str]:
    """What torch was told to define when torchvision is imported after medix_verl.cpu.torchvision_ops."""
    make_environment(tmp_path, torch=torch, torchvision=wheel)
    (tmp_path / "torch" / "__init__.py").write_text(FAKE_TORCH)
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
        "import medix_verl.cpu.torchvision_ops as ops\nops.install()\n"
        "assert sum(type(finder).__name__ == 'TorchvisionFinder' for finder in sys.meta_path) == 1\n"
        "assert 'torch' not in sys.modules\nimport torchvision, torch\nprint(*torch.defined)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_schemas_are_defined_before_torchvision_is_imported(tmp_path: Path) -> None:
    defined = import_torchvision(tmp_path, CPU_TORCH, CUDA_WHEEL)
    assert defined == ["torchvision/FRAGMENT/nms", "torchvision/FRAGMENT/qnms"]


@pytest.mark.parametrize(("torch", "wheel"), [(CUDA_TORCH, CUDA_WHEEL), (CPU_TORCH, CPU_WHEEL)])
def test_schemas_are_left_to_a_torchvision_that_fits(tmp_path: Path, torch: str, wheel: str) -> None:
    assert import_torchvision(tmp_path, torch, wheel) == []


def test_package_folder_does_not_import(tmp_path: Path) -> None:
    site = make_environment(tmp_path, broken_package=CPU_WHEEL)
    (site / "broken_package" / "__init__.py").write_text("raise RuntimeError")
    assert package_folder("broken_package", site) == site / "broken_package"
    assert package_folder("absent_package", site) is None
