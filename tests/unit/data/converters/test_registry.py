# SPDX-License-Identifier: Apache-2.0
"""Converters are found by name, entry point, module and file; what is none is refused with what to type."""

import pickle
import sys
from pathlib import Path

import pytest
from PIL import Image

from helpers import lab_package as lab
from medix_verl.cli.main import main
from medix_verl.data.converters import registry
from medix_verl.data.converters.base import SPLITS
from medix_verl.data.io.parquet import read_samples
from medix_verl.errors import ConfigError

CONVERTER = """
from medix_verl.data.converters.base import SetSpec
SPEC = SetSpec(
    name="mine", title="Mine", licence="MIT", task="open", pictures=False, about="mine", splits={"train": "t"}
)
def read(source, split):
    yield from ()
"""


@pytest.mark.parametrize("name", registry.NAMES)
def test_every_built_in_name_is_a_converter_of_that_name(name: str) -> None:
    spec = registry.find(name).SPEC
    assert spec.name == name and spec.about and spec.licence and set(spec.splits) <= set(SPLITS)
    assert set(spec.rows) <= set(spec.splits)
    assert not spec.credentialed or spec.credential
    for key, option in registry.options_of(registry.find(name)).items():
        assert key and option.about and (not option.accepted or option.default in option.accepted)


def test_a_file_is_a_converter(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CONVERTER, encoding="utf-8")
    assert registry.find(str(tmp_path / "mine.py")).SPEC.name == "mine"


def test_a_module_is_a_converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_sets").mkdir()
    (tmp_path / "my_sets" / "one.py").write_text(CONVERTER, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.find("my_sets.one").SPEC.name == "mine"
    sys.modules.pop("my_sets.one")


def test_another_package_offers_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real entry point, as an installed package would have it."""
    (tmp_path / "theirs.py").write_text(CONVERTER, encoding="utf-8")
    info = tmp_path / "theirs-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n", encoding="utf-8")
    points = "[medix_verl.datasets]\ntheir-set = theirs\nslake = theirs\ngone = no_such_module_here\n"
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert "their-set" in registry.names() and registry.names().count("slake") == 1
    assert registry.find("their-set").SPEC.name == "mine"
    assert registry.find("slake").SPEC.name == "slake"
    with pytest.raises(ConfigError, match=r"data set 'gone': module no_such_module_here cannot be imported .*install"):
        registry.find("gone")
    sys.modules.pop("theirs")


def install(folder: Path, name: str, points: str) -> None:
    """What pip leaves of an installed package, but for its modules."""
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(points, encoding="utf-8")


def test_the_template_of_a_package_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(lab.lay_out(tmp_path / "projects"))
    (tmp_path / "site").mkdir()
    install(tmp_path / "site", "torn", "[medix_verl.datasets]\ntorn = torn_set\n")
    (tmp_path / "site" / "torn_set.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    (tmp_path / "train.csv").write_text("film,asked,truth,choices\na.png,Which bone?,radius,radius|ulna\n,Why?,so,\n")
    Image.new("L", (32, 32), 7).save(tmp_path / "a.png")
    out = tmp_path / "out.parquet"
    assert main(["prepare", "lab_wrists", "--source", str(tmp_path), "--out", str(out), "--workers", "1"]) == 0
    (sample,) = read_samples(out)
    assert (sample.answer, sample.options, sample.meta["label"]) == ("radius", ("radius", "ulna"), "A")
    capsys.readouterr()
    assert main(["prepare", "--list"]) == 0
    printed = capsys.readouterr().out
    assert "lab_wrists: one question for each film" in printed and "    --set choices=yes: whether questions" in printed
    assert "torn: cannot be used: data set 'torn': module torn_set cannot be imported (ZeroDivisionError" in printed
    for name in ("lab", "lab.wrists"):
        sys.modules.pop(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("slak", "unknown data set 'slak': did you mean 'slake'"),
        ("zzzz", "unknown data set 'zzzz': `medix-verl prepare --list` shows them"),
        ("no_such.module", "module no_such.module cannot be imported"),
        ("nowhere.py", r"nowhere\.py: no such file"),
        ("medix_verl.errors", r"medix_verl\.errors is not a converter: it needs SPEC .*examples/add_a_dataset\.py"),
    ],
)
def test_what_is_no_converter_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.find(name)


def test_a_file_that_fails_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"bad\.py cannot be imported: ZeroDivisionError"):
        registry.find(str(tmp_path / "bad.py"))


DATACLASS = """from __future__ import annotations
import dataclasses
from dataclasses import dataclass


@dataclass
class Row:
    name: str
    places: dataclasses.InitVar[int] = 0


"""


def test_a_file_may_hold_dataclasses_and_one_of_its_name_may_lie_elsewhere(tmp_path: Path) -> None:
    found = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(DATACLASS + CONVERTER, encoding="utf-8")
        found.append(registry.find(str(tmp_path / folder / "mine.py")))
    assert found[0].Row is not found[1].Row
    row = pickle.loads(pickle.dumps(found[0].Row("x")))
    assert type(row) is found[0].Row


def test_a_file_that_cannot_be_imported_leaves_no_module(tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(ConfigError):
        registry.find(str(tmp_path / "half.py"))
    assert not [name for name in sys.modules if "half" in name and name.startswith("medix_verl_dataset")]
