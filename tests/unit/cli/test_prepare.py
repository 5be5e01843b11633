# SPDX-License-Identifier: Apache-2.0
"""`medix-verl prepare` passes on what was typed, shows what came of it, and lists what there is."""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from helpers import sets
from medix_verl.cli.data.prepare import stoppable
from medix_verl.cli.main import main
from medix_verl.data.converters.registry import NAMES
from medix_verl.data.io.parquet import read_samples
from medix_verl.demo.build import BuildSpec

put_converter, put_rows = sets.put_converter, sets.put_rows


class Builder:
    """Stands for the demo's builder; keeps its arguments."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.built: list[tuple[Path, int]] = []
        build = ModuleType("medix_verl.demo.build")
        build.build_demo = self.build  # type: ignore[attr-defined]
        build.BuildSpec = BuildSpec  # type: ignore[attr-defined]
        patch.setitem(sys.modules, build.__name__, build)

    def build(self, out: Path, spec: BuildSpec, progress: Callable[[str], None]) -> None:
        progress("drawing")
        self.built.append((out, spec.seed))


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
        (
            ["prepare", "own", "--out", "a.parquet", "--set", "keep-names=yes"],
            "patient data is allowed only by the flag --keep-names",
        ),
        (["prepare", "slake", "--out", "a.parquet", "--keep-names"], "slake has no option 'keep-names'"),
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


def test_unknown_words_for_a_modality_are_counted_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["Ultraschall", "Hologramm", "Hologramm", "Kirlian", ""]
    lines = [f"Q{number}?,so,{word}\n" for number, word in enumerate(words)]
    (tmp_path / "mine.csv").write_text("question,answer,modality\n" + "".join(lines), encoding="utf-8")
    out = tmp_path / "train.parquet"
    assert main(["prepare", "own", "--source", str(tmp_path / "mine.csv"), "--out", str(out), "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "  unknown words for a modality, taken as OTHER: 'Hologramm' (2), 'Kirlian' (1); write CT" in printed
    report = json.loads((tmp_path / "train.report.json").read_text(encoding="utf-8"))
    assert report["unknown_modality_words"] == {"Hologramm": 2, "Kirlian": 1}


def test_a_row_that_is_lost_for_its_encoding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.csv").write_bytes(b"question,answer\n\xc3\x96dem?,x\n\xd6dem?,y\nq,z\n")
    out = tmp_path / "train.parquet"
    words = ["prepare", "own", "--source", str(tmp_path / "mine.csv"), "--out", str(out), "--workers", "1"]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "1 rows are lost for their encoding (line 3: " in error and "or type --allow-lost 1" in error
    assert not out.exists()
    assert main([*words, "--allow-lost", "1"]) == 0
    assert "left out: 1 bad encoding, for example line 3" in capsys.readouterr().out


def test_columns_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.csv").write_bytes("Frage;Antwort;Ort\nWo ist das \u00d6dem?;links;x\n".encode("cp1252"))
    out = tmp_path / "train.parquet"
    words = ["prepare", "own", "--source", str(tmp_path / "mine.csv"), "--out", str(out), "--workers", "1"]
    assert main([*words, "--column", "question=Frage", "--column", "answer=Antwort"]) == 0
    output = capsys.readouterr().err
    assert "mine.csv is read with encoding cp1252 and delimiter semicolon\n" in output
    assert "mine.csv: columns that are ignored: Ort; --set meta=NAME keeps one" in output


@pytest.mark.parametrize(("name", "column"), [("own", "image"), ("dicom", "series")])
def test_the_columns_are_explained(name: str, column: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", name, "--explain"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {word} " in printed for word in ("question", "answer", column, "credentialed", "patient_id"))
    assert "  question,answer," in printed and "--column question=Frage" in printed
    assert main(["prepare", "slake", "--explain"]) == 1


def test_escape_sequences_are_printed_written_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": "a\x1b[2J", "question": "Q?", "answer": ""}, {"id": "b", "question": "Q?", "answer": "x"}]
    rows.append({"id": "c", "question": "R?", "answer": "x", "modality": "\x1b]0;t\x07"})
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "train\x1b[1m.parquet"
    words = ["prepare", "own", "--source", str(tmp_path / "mine.jsonl"), "--out", str(out), "--workers", "1"]
    assert main(words) == 0 and out.is_file()
    output = capsys.readouterr()
    assert "\x1b" not in output.out + output.err and "\x07" not in output.out
    assert "for example a\\x1b[2J\n" in output.out and "train\\x1b[1m.parquet: 2 rows of 3\n" in output.out
    assert main(["check", str(tmp_path / "gone\x1b[1m.parquet")]) == 1
    assert "gone\\x1b[1m.parquet: no such file" in capsys.readouterr().err


def test_a_link_stays_a_link(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And what is not finished lies beside the file that it leads to."""
    out, disk = tmp_path / "out" / "train.parquet", tmp_path / "disk"
    for folder in (out.parent, disk):
        folder.mkdir()
    out.symlink_to(disk / "real.parquet")
    assert main([*words, "--images", "files"]) == 1
    assert f"is a link, and --images files lie beside the file; give --out {disk}" in capsys.readouterr().err
    assert main(words) == 0
    assert out.is_symlink() and read_samples(disk / "real.parquet") and list(disk.iterdir()) == [disk / "real.parquet"]
    assert f"{out}: " in capsys.readouterr().out


@pytest.mark.parametrize("place", ["folder", "link"])
def test_a_full_disk_names_the_file_that_was_typed(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    out, real = tmp_path / "out" / "train.parquet", tmp_path / "disk" / "real.parquet"
    for file in (out, real):
        file.parent.mkdir()
    real.write_bytes(b"an earlier one")
    if place == "link":
        out.symlink_to(real)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medix_verl.data.prepare.parts.pq.ParquetWriter", full)
    assert main(words) == 1
    error = capsys.readouterr().err
    disk = real.parent if place == "link" else out.parent
    assert f"error: {out}" in error and error.endswith(
        f"the disk is full; free some space or give another place: df -h {disk}\n"
    )
    assert real.read_bytes() == b"an earlier one"
    monkeypatch.undo()
    assert main(words) == 0


def test_a_read_only_disk_names_the_file_that_was_typed(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "train.parquet"

    def read_only(self: Path, *_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", read_only)
    assert main(words) == 1
    assert f"error: {out}: the file system is read-only; give another place" in capsys.readouterr().err


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
