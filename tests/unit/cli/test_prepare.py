# SPDX-License-Identifier: Apache-2.0
"""`medix-verl prepare`: which source goes where, and what is asked for when something is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from medix_verl.cli.main import main


class Sources:
    """Stand for the builder and the converter; they keep what they were told."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.built: list[tuple[Path, int]] = []
        self.converted: list[tuple[Path, Path]] = []
        build = ModuleType("medix_verl.demo.build")
        build.build_demo = self.build  # type: ignore[attr-defined]
        converter = ModuleType("medix_verl.data.converters.medix_rl_data")
        converter.convert = self.convert  # type: ignore[attr-defined]
        patch.setitem(sys.modules, build.__name__, build)
        patch.setitem(sys.modules, converter.__name__, converter)

    def build(self, out: Path, seed: int, progress: Callable[[str], None]) -> None:
        progress("drawing")
        self.built.append((out, seed))

    def convert(self, origin: Path, out: Path) -> Iterator[tuple[str, Path, int]]:
        self.converted.append((origin, out))
        yield "train", out / "train.parquet", 51335
        yield "val", out / "val.parquet", 2451


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sources:
    monkeypatch.setenv("HOME", str(tmp_path))
    return Sources(monkeypatch)


def test_the_demo_where_its_recipe_looks(sources: Sources, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "demo"]) == 0
    assert sources.built == [(Path("outputs/demo"), 0)]
    printed = capsys.readouterr()
    assert printed.out == "the demo's data and models are in outputs/demo\n" and printed.err == "drawing\n"


def test_the_demo_elsewhere_with_another_seed(sources: Sources, tmp_path: Path) -> None:
    assert main(["prepare", "demo", "--out", "~/d", "--seed", "5"]) == 0
    assert sources.built == [(tmp_path / "d", 5)]


def test_the_public_data_set_where_its_recipe_looks(
    sources: Sources, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", "medix-rl-data", "--from", "got"]) == 0
    assert sources.converted == [(Path("got"), tmp_path / "data" / "medix")]
    assert "train: 51335 rows in " in capsys.readouterr().out


def test_a_home_folder_in_from_is_found(sources: Sources, tmp_path: Path) -> None:
    """The shell leaves the tilde of `--from=~/got` alone."""
    assert main(["prepare", "medix-rl-data", "--from=~/got", "--out", "here"]) == 0
    assert sources.converted == [(tmp_path / "got", Path("here"))]


def test_the_public_data_set_must_be_downloaded_first(sources: Sources, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "medix-rl-data"]) == 1
    assert "medix-rl-data needs --from FOLDER: type `hf download MBZUAI/medix-rl-data" in capsys.readouterr().err
    assert sources.converted == []


def test_the_demo_has_no_origin(sources: Sources, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "demo", "--from", "got"]) == 1
    assert "demo makes its own data, --from is for medix-rl-data: leave it out, got got" in capsys.readouterr().err
    assert sources.built == []


def test_another_source_is_a_wrong_command_line(sources: Sources, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["prepare", "mimic"])
    assert "choose from" in capsys.readouterr().err
