# SPDX-License-Identifier: Apache-2.0
"""`medix-verl prepare` passes on what was typed, shows what came of it, and lists what there is."""

import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from medix_verl.cli.main import main
from medix_verl.cli.prepare import stoppable
from medix_verl.data.converters.registry import NAMES

SETS = runpy.run_path(str(Path(__file__).parents[1] / "data" / "sets.py"))
put_converter, put_rows = SETS["put_converter"], SETS["put_rows"]


class Builder:
    """Stands for the demo's builder; keeps what it was told."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.built: list[tuple[Path, int]] = []
        build = ModuleType("medix_verl.demo.build")
        build.build_demo = self.build  # type: ignore[attr-defined]
        patch.setitem(sys.modules, build.__name__, build)

    def build(self, out: Path, seed: int, progress: Callable[[str], None]) -> None:
        progress("drawing")
        self.built.append((out, seed))


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Builder:
    monkeypatch.setenv("HOME", str(tmp_path))
    return Builder(monkeypatch)


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A command line that works."""
    source = put_rows(tmp_path / "in", 4, r1={"answer": ""}, r2={"answer": "x" * 2000})
    out = tmp_path / "out" / "train.parquet"
    return ["prepare", str(put_converter(tmp_path)), "--source", str(source), "--out", str(out), "--workers", "1"]


def test_the_demo_where_its_recipe_looks(builder: Builder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "demo"]) == 0
    assert builder.built == [(Path("outputs/demo"), 0)]
    printed = capsys.readouterr()
    assert printed.out == "the demo's data and models are in outputs/demo\n" and printed.err == "drawing\n"


def test_the_demo_elsewhere_with_another_seed(builder: Builder, tmp_path: Path) -> None:
    assert main(["prepare", "demo", "--out", "~/d", "--seed", "5"]) == 0
    assert builder.built == [(tmp_path / "d", 5)]


def test_the_demo_has_no_source(builder: Builder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "demo", "--source", "got"]) == 1
    assert "demo makes its own data; leave out --source and --split" in capsys.readouterr().err
    assert builder.built == []


def test_what_was_made_is_shown(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--set", "suffix= Say!"]) == 0
    printed = capsys.readouterr().out
    out = tmp_path / "out"
    assert f"{out / 'train.parquet'}: 3 rows of 4\n" in printed
    assert "  left out: 1 no answer, for example r1\n" in printed
    assert "  flagged: 1 answer-too-long\n" in printed
    assert f"  every row that is left out: {out / 'train.dropped.jsonl'}\n" in printed
    assert f"  report: {out / 'train.report.json'}\n" in printed


def test_every_set_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "--list"]) == 0
    printed = capsys.readouterr().out
    heads = [line.split(":")[0] for line in printed.splitlines() if not line.startswith(" ")]
    assert heads[: len(NAMES)] == list(NAMES) and heads[-1] == "demo"
    assert "medix-rl-data: " in printed and "rows: train 51,335, val 2,451; licence: CC-BY-NC-SA-4.0" in printed
    assert "credential: " in printed and "    --allow-identified: " in printed and "allow-identified=" not in printed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["prepare"], "prepare needs the NAME of a data set; `medix-verl prepare --list` shows them"),
        (["prepare", "slak", "--out", "a.parquet"], "unknown data set 'slak': did you mean 'slake'?"),
        (["prepare", "slake"], "--out is missing; give the file to write, such as --out train.parquet"),
        (["prepare", "slake", "--split", "dev", "--out", "a.parquet"], "slake has no split 'dev'; it has train"),
        (["prepare", "slake", "--out", "a.parquet", "--seed", "1"], "--seed is for the demo"),
        (["prepare", "slake", "--out", "a.parquet", "--set", "language"], "--set 'language' is no KEY=VALUE"),
        (["prepare", "slake", "--out", "a.parquet", "--set", "a=1", "--set", "a=2"], "--set a is given twice"),
        (
            ["prepare", "dicom", "--out", "a.parquet", "--set", "allow-identified=yes"],
            "patient data is allowed only by the flag --allow-identified",
        ),
        (["prepare", "slake", "--out", "a.parquet", "--allow-identified"], "slake has no option 'allow-identified'"),
        (["prepare", "mimic-cxr", "--out", "a.parquet"], "mimic-cxr is credentialed ("),
        (["prepare", "own", "--out", "a.parquet"], "own is not on the hub; give --source"),
        (["prepare", "slake", "--out", "a.parquet", "--source", "/no/such"], "no such file or folder; give --source"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    change: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(change) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_patient_data_is_not_allowed_by_half_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["prepare", "dicom", "--out", "a.parquet", "--allow"])
    assert "unrecognized arguments: --allow" in capsys.readouterr().err


def test_a_place_that_cannot_be_written(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_bytes(b"")
    words[words.index("--out") + 1] = str(tmp_path / "file" / "train.parquet")
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "file: " in error and error.count("\n") == 1


def test_a_stop_is_orderly(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="143"), stoppable():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    assert capsys.readouterr().err == "stopped; what is finished is kept: type the same command again to go on\n"


def test_the_limits_of_a_file_are_those_of_check(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = tmp_path / "q.yaml"
    limits.write_text("max_answer_chars: 3000\nmin_side: 64\nrefuse: [picture-tiny]\n", encoding="utf-8")
    assert main([*words, "--quality", str(limits)]) == 1
    assert "picture-tiny" in capsys.readouterr().err
    limits.write_text("max_answer_chars: 3000\n", encoding="utf-8")
    assert main([*words, "--quality", str(limits)]) == 0
    assert "flagged" not in capsys.readouterr().out
    assert main([*words, "--quality", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml cannot be read (No such file or directory); give a YAML file" in capsys.readouterr().err


def test_patches_of_another_size(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--max-prompt-tokens", "2000", "--patch-size", "14"]) == 0
    assert "prompts are estimated with patches of 14 x 14 pixels" in capsys.readouterr().err
