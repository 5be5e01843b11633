# SPDX-License-Identifier: Apache-2.0
"""Finds and fixes CUDA builds of torchvision and torchcodec installed with a CPU build of torch.

PyPI's wheels of both are CUDA builds. With a CPU torch, `import torchvision` fails in every process
(`operator torchvision::nms does not exist`), and transformers imports it; torchcodec fails with `Could not load this
library`, and is not needed here. The builds are identified by reading files; neither torch nor torchvision is
imported. If the builds match, nothing is reported or changed.
"""

from __future__ import annotations

import importlib.machinery
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medix_verl.errors import SetupError

__all__ = [
    "START_UP_FILE",
    "Mismatch",
    "find_mismatches",
    "fix_mismatches",
    "is_cuda_build",
    "package_folder",
    "start_up_line",
    "torch_is_cpu_only",
]

START_UP_FILE = "medix_verl_torchvision.pth"
FIX_COMMAND = "medix-verl doctor --fix"
PIP_TIME_LIMIT_S = 120.0

_START_UP_SOURCE = """\
class MedixTorchvision:
    def find_spec(self, name, path=None, target=None):
        if name != "torchvision":
            return None
        try:
            from medix_verl.cpu.torchvision_ops import define_schemas
            define_schemas()
        except Exception:
            pass
import sys
sys.meta_path.insert(0, MedixTorchvision())
"""

_ACCELERATOR = re.compile(r"^(?:cuda|hip|rocm|xpu)\b[^=\n]*=\s*['\"]", re.MULTILINE)
_VERSION = re.compile(r"^__version__\s*=\s*['\"]([^'\"]+)['\"]", re.MULTILINE)
_CUDA_LIBRARIES = (b"libc10_cuda.so", b"libtorch_cuda.so", b"libcudart.so")

Runner = Callable[[Sequence[str]], int]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """An installed package whose build does not match the installed torch."""

    package: str
    got: str
    needed: str
    fix: str
    """The command that fixes it."""


def package_folder(name: str, site_packages: Path | None = None) -> Path | None:
    """Folder of an installed top-level package, found without importing it.

    Args:
        name: The package's import name.
        site_packages: Folder to search; None means this interpreter's own search path.
    """
    search = None if site_packages is None else [str(site_packages)]
    spec = importlib.machinery.PathFinder.find_spec(name, search)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def torch_is_cpu_only(site_packages: Path | None = None) -> bool:
    """True if torch is installed and its version file names no accelerator."""
    folder = package_folder("torch", site_packages)
    text = _version_text(folder)
    return bool(text) and _ACCELERATOR.search(text) is None


def is_cuda_build(folder: Path) -> bool:
    """True if a package folder contains a CUDA build.

    The version's local part decides (`0.28.0+cu130`); for a version without one, the libraries named in the compiled
    files decide.
    """
    version = _version_of(folder)
    if "+" in version:
        return version.partition("+")[2].startswith("cu")
    return any(_names_cuda(library) for library in sorted(folder.glob("*.so")))


def find_mismatches(site_packages: Path | None = None) -> list[Mismatch]:
    """CUDA builds installed with a CPU torch that are not yet fixed.

    Args:
        site_packages: Folder to search; None means this interpreter's own search path.
    """
    if not torch_is_cpu_only(site_packages):
        return []
    needed = f"a CPU build, as torch {_version_of(package_folder('torch', site_packages))} is one"
    found = []
    for package in ("torchvision", "torchcodec"):
        folder = package_folder(package, site_packages)
        if folder is None or not is_cuda_build(folder) or (package == "torchvision" and _start_up(folder).is_file()):
            continue
        found.append(Mismatch(package, f"{_version_of(folder)} (CUDA build)", needed, FIX_COMMAND))
    return found


def fix_mismatches(site_packages: Path | None = None, run: Runner | None = None) -> list[str]:
    """Fix what find_mismatches finds: add a start-up file for torchvision, uninstall torchcodec. Idempotent.

    Args:
        site_packages: Folder to search; None means this interpreter's own search path.
        run: Runs a command and returns its exit status; None runs it as a child process.

    Returns:
        A line for each change; empty if nothing was changed.

    Raises:
        SetupError: The environment could not be changed.
    """
    done = []
    for mismatch in find_mismatches(site_packages):
        if mismatch.package == "torchvision":
            done.append(_write_start_up(package_folder("torchvision", site_packages)))
        else:
            done.append(_uninstall(mismatch.package, run or _run))
    return done


def start_up_line() -> str:
    """The line that site.py executes at every start of Python.

    It imports nothing of medix_verl until torchvision is imported, so it costs microseconds; it does nothing after
    medix_verl was uninstalled.
    """
    return f"import sys; exec({_START_UP_SOURCE!r})\n"


def _start_up(torchvision: Path) -> Path:
    return torchvision.parent / START_UP_FILE


def _write_start_up(torchvision: Path | None) -> str:
    if torchvision is None:
        raise SetupError("torchvision was removed during the repair; type: medix-verl doctor --fix")
    path = _start_up(torchvision)
    try:
        path.write_text(start_up_line(), encoding="utf-8")
    except OSError as error:
        raise SetupError(
            f"could not write {path.name} ({error.strerror}), the environment must be writable; type: "
            f"pip install torchvision --index-url https://download.pytorch.org/whl/cpu"
        ) from error
    return f"torchvision: {START_UP_FILE} now defines its operators at start-up"


def _uninstall(package: str, run: Runner) -> str:
    command = [sys.executable, "-m", "pip", "uninstall", "-y", package]
    if run(command) != 0:
        raise SetupError(f"pip could not uninstall {package}, a CUDA build; type: uv pip uninstall {package}")
    return f"{package}: uninstalled, a CUDA build that nothing here needs"


def _run(command: Sequence[str]) -> int:
    import subprocess

    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, timeout=PIP_TIME_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise SetupError(
            f"pip did not end within {PIP_TIME_LIMIT_S:.0f} s; type: {' '.join(['python', *command[1:]])}"
        ) from error
    return done.returncode


def _version_text(folder: Path | None) -> str:
    if folder is None or not (folder / "version.py").is_file():
        return ""
    return (folder / "version.py").read_text(encoding="utf-8", errors="replace")


def _version_of(folder: Path | None) -> str:
    match = _VERSION.search(_version_text(folder))
    return match.group(1) if match else ""


def _names_cuda(library: Path) -> bool:
    content = library.read_bytes()
    return any(name in content for name in _CUDA_LIBRARIES)
