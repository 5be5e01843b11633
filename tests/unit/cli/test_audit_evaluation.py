# SPDX-License-Identifier: Apache-2.0
"""`medix-verl audit-judge --from EVAL_DIR`: what records say, another judge, asking again, and the sheet."""

import csv
import json
from pathlib import Path

import pytest

from medix_verl.cli.main import main
from medix_verl.evaluation.store.records import Record, record_path, write_records


def made(folder: Path, judge: str = "JUDGE-A", flip: int = 0, task: str = "medqa") -> Path:
    """An evaluation of 40 answers; the first `flip` verdicts are the other way round."""
    rows = []
    for n in range(40):
        right = (n % 2 == 0) != (n < flip)
        text = "the left lung" if n % 4 == 0 else f"the spleen or something else {'x' * n}"
        given = {"question": "Which?", "reference": "left lung", "response": text, "answer": text, "judge": judge}
        rows.append(Record(task, f"{n:03d}", f"c{n}", value=float(right), status="scored", **given))  # type: ignore[arg-type]
    write_records(record_path(folder, task), rows)
    manifest = {"model": "MODEL-X", "judge": {"kind": "openai", "model": [judge]}, "finished": True}
    (folder / "eval.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def test_without_asking_anybody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = made(tmp_path / "e"), tmp_path / "out.json"
    assert main(["audit-judge", "--from", str(folder), "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "evaluation             MODEL-X, judged by JUDGE-A" and lines[1] == "  verdicts             40"
    assert lines[2] == "  votes agree          -" and lines[3].startswith("  length and verdict   ") and len(lines) == 5
    assert json.loads(out.read_text())["verdicts"] == 40


def test_another_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--from", str(made(tmp_path / "e")), "--against", str(made(tmp_path / "f", "JUDGE-B", flip=8))]
    assert main(["audit-judge", *words]) == 0
    text = capsys.readouterr().out
    assert "two judges             JUDGE-A and JUDGE-B (0 other responses, 0 unscored)" in text
    assert "agreement            80.0% ~[" in text and "Cohen's kappa        0.600 ~[" in text
    assert text.splitlines()[-1].startswith("~ marks an approximate interval: fewer than 60 independent cases")
    assert "16 yes_yes, 4 yes_no, 4 no_yes, 16 no_no" in text


def test_asking_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--from", str(made(tmp_path / "e")), "--ask", "20", "--repeats", "2", "--out", str(tmp_path / "o.json")]
    assert main(["audit-judge", *words]) == 0
    text = capsys.readouterr().out
    assert "pairs                  20 (0 unscored)" in text and "same when exchanged" in text
    found = json.loads((tmp_path / "o.json").read_text(encoding="ascii"))
    assert found["pairs"] == 20 and found["attacks"] == 0 and found["verdicts"] == 40


def test_the_sheet_and_its_way_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "sheet.csv"
    assert main(["audit-judge", "--from", str(made(tmp_path / "e")), "--sheet", str(sheet), "--cases", "10"]) == 0
    assert "its key, to keep" in capsys.readouterr().out
    rows = list(csv.DictReader(sheet.read_text(encoding="utf-8-sig").splitlines()))
    filled = tmp_path / "filled.csv"
    body = "".join(f"{row['case']},no\n" for row in rows)
    filled.write_text(f"case,verdict\n{body}", encoding="utf-8")
    assert main(["audit-judge", "--labels", str(filled), "--key", str(tmp_path / "sheet.key.json")]) == 0
    text = capsys.readouterr().out
    assert text.startswith("labels                 10 (0 unsure, 0 blank)\n") and "  medqa  " in text


def test_credentialed_answers_go_to_no_served_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made(tmp_path / "e", task="mimic_cxr_report_summarization")
    served = ["--judge", "openai", "--judge-url", "http://127.0.0.1:1/v1", "--judge-model", "m"]
    assert main(["audit-judge", "--from", str(folder), "--ask", "5", *served]) == 1
    assert "--ask has no answer that this judge may see" in capsys.readouterr().err
    assert main(["audit-judge", "--from", str(folder), "--sheet", str(tmp_path / "s.csv")]) == 1
    assert "has no answer for a sheet: all are credentialed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--sheet", "s.csv"], "--sheet was given without --from; type --from EVAL_DIR"),
        (["--ask", "5"], "--ask was given without --from"),
        (["--against", "x"], "--against was given without --from"),
        (["--key", "k.json"], "--key was given without --labels"),
        (["--from", "nowhere"], "nowhere is not an evaluation: eval.json is missing"),
        (["p.jsonl", "--from", "e"], "got p.jsonl and --from e; give one of the two"),
        (["--from", "e", "--ask", "0"], "--ask is 0; give 1 or more"),
    ],
)
def test_flags_that_do_not_fit(capsys: pytest.CaptureFixture[str], words: list[str], match: str) -> None:
    assert main(["audit-judge", *words]) == 1
    assert match in capsys.readouterr().err
