# SPDX-License-Identifier: Apache-2.0
"""`medix-verl mix`: what it prints, and what it refuses."""

from pathlib import Path

import pytest

from medix_verl.cli.main import main
from medix_verl.data.io.parquet import write_samples
from medix_verl.types import Sample


def test_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, rows in (("a", 30), ("b", 200)):
        samples = [Sample(f"{name}{n}", name, "What?", "this", meta={"pass_rate": 0.5}) for n in range(rows)]
        write_samples(samples, tmp_path / f"{name}.parquet")
    text = "sources: [{path: a.parquet, weight: 3, cap: 10}, {path: b.parquet}]\ncurriculum: {order: easy_to_hard}\n"
    (tmp_path / "m.yaml").write_text(text)
    assert main(["mix", str(tmp_path / "m.yaml")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["rows", "usable", "given", "share", "wanted", "source"]
    assert lines[1].split()[:5] == ["30", "30", "10", "4.8%", "75.0%"] and lines[1].endswith(
        "(less than its share: cap)"
    )
    assert lines[2].split()[:5] == ["200", "200", "200", "95.2%", "25.0%"]
    assert lines[3] == "an epoch has 210 rows: TEXT 210"
    assert lines[4] == "the order is a curriculum: train with data.shuffle=false"


def test_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mix", str(tmp_path / "none.yaml")]) == 1
    assert "there is no mixture file" in capsys.readouterr().err
