# SPDX-License-Identifier: Apache-2.0
"""`medix-verl audit-judge`: the table, the JSON file, the flags, and one line for whatever is wrong."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medix_verl.cli.judge import installed_pairs
from medix_verl.cli.main import main
from medix_verl.data.ontology import read_obo

ROWS = [
    {"reference": "mass", "candidate": "a mass", "label": True},
    {"reference": "mass", "candidate": "cyst", "label": False},
    {"reference": "mass", "candidate": "tumour", "label": True},
    {"reference": "3 cm", "candidate": "30 mm", "label": True},
]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def error(capsys: pytest.CaptureFixture[str], *words: Any) -> str:
    assert main(["audit-judge", *map(str, words)]) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    return shown.err


def test_the_table(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit-judge", str(pairs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pairs                  4 (0 unscored)"
    assert lines[1] == "  verdicts             2 true_yes, 0 false_yes, 1 true_no, 1 false_no"
    assert lines[2].startswith("  accuracy             75.0% ~[30.1%, 95.4%] of 4")
    assert lines[3].startswith("  Cohen's kappa        0.500 ~[")
    assert lines[4].startswith("  same when exchanged  75.0%")  # the rule judge drops articles of a candidate
    assert lines[6].startswith("  passed               0.0% ~[0.0%, ")
    assert "same in 3 askings      100.0%" in lines[7] and lines[8].startswith("latency                p50 ")
    assert len(lines) == 10 and lines[9].startswith("~ marks an approximate interval")


def test_the_json_file(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert main(["audit-judge", str(pairs), "--attacks", "none", "--out", str(out), "--repeats", "1"]) == 0
    found = json.loads(out.read_text(encoding="ascii"))
    assert found["judge"] == {"kind": "rule", "url": None, "model": None, "prompt": "reference"}
    assert found["accuracy"]["value"] == 0.75 and found["kappa"]["count"] == 4
    assert found["false_positives"] is found["repeat"] is None and found["passed"] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "pairs.jsonl"]


def start_mock(*words: str) -> tuple[subprocess.Popen[str], str]:
    """The mock as a process of its own, because the command blocks this one."""
    command = [sys.executable, "-m", "medix_verl.judge.mock", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_a_served_judge_and_the_attacks_that_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attacks = tmp_path / "attacks.jsonl"
    row = {"kind": "k", "question": "q", "reference": "mass"}
    rows = [{**row, "attack": "opener", "candidate": "cyst " * 40}, {**row, "attack": "other", "candidate": "fracture"}]
    attacks.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    process, url = start_mock("--verdict", "contains:cyst")
    out = tmp_path / "out.json"
    words = ["--judge", "openai", "--judge-url", url, "--judge-model", "m", "--attacks", str(attacks)]
    try:
        assert main(["audit-judge", *words, "--out", str(out)]) == 0
    finally:
        process.terminate()
        process.communicate(timeout=20)
    text = capsys.readouterr().out
    assert "passed               50.0%" in text and "attacks that passed:\n  opener " in text and 'cyst ..."' in text
    found = json.loads(out.read_text(encoding="ascii"))
    assert [case["attack"] for case in found["passed"]] == ["opener"]
    assert found["by_kind"] == {"k": {"passed": 1, "judged": 2}} and found["latency_s"]["p95"] > 0


def test_a_judge_that_cannot_be_reached(pairs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    words = ("--judge", "openai", "--judge-url", "http://127.0.0.1:1/v1", "--judge-model", "m", "--out", out)
    assert "the judge could judge none of" in error(capsys, pairs, *words)
    assert not out.exists()


def test_a_bad_line(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pairs.open("a", encoding="utf-8") as target:
        target.write('{"reference": "x", "candidate": "y"}\n')
    assert "pairs.jsonl line 5: the key 'label' is missing" in error(capsys, pairs)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--attacks", "none"), "there is nothing to ask: give PAIRS.jsonl or --pairs ontology"),
        (("--attacks", "nowhere"), "nowhere is not a file; give a JSONL file whose lines have attack"),
        (("nowhere.jsonl",), "nowhere.jsonl is not a file; give a JSONL file whose lines have reference"),
        (("--repeats", "0"), "--repeats is 0; give 1 or more"),
        (("--limit-concurrency", "0"), "judge.max_concurrent is 0"),
        (("--judge", "openai"), "--judge openai got no --judge-url"),
        (("--judge", "openai", "--judge-url", "http://h/v1"), "--judge openai got no --judge-model"),
        (("--judge-url", "http://h/v1"), "--judge-url was given with --judge rule"),
        (("--judge-api-key-env", "KEY"), "--judge-api-key-env was given with --judge rule"),
        (("--out", "no-such-folder/out.json"), "its folder does not exist; type: mkdir -p no-such-folder"),
    ],
)
def test_flags_that_do_not_fit(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], match: str) -> None:
    assert match in error(capsys, *words)


def test_a_credentialed_pair_goes_to_no_judge_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({**ROWS[0], "credentialed": True}) + "\n", encoding="utf-8")
    words = ["--judge", "openai", "--judge-url", "http://93.184.216.34/v1", "--judge-model", "m"]
    said = error(capsys, path, *words)
    assert "line 1 is credentialed" in said and "http://93.184.216.34/v1" in said
    assert main(["audit-judge", str(path)]) == 0


@pytest.fixture
def ontology(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty terms below one, each with a synonym that the rule judge does not know."""
    form = '[Term]\nid: X:{n}\nname: name {n}\nsynonym: "word {n}" EXACT []\nis_a: X:0 ! root\n'
    stanzas = [form.format(n=number) for number in range(1, 41)]
    text = "\n".join(["format-version: 1.2\ndata-version: made-up\n", "[Term]\nid: X:0\nname: root\n", *stanzas])
    monkeypatch.setattr(installed_pairs, "load_ontology", lambda: read_obo(text))


def test_pairs_of_an_ontology(ontology: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit-judge", "--pairs", "ontology", "--count", "4", "--attacks", "none"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[1] == "  verdicts             0 true_yes, 0 false_yes, 4 true_no, 4 false_no"
    assert "Cohen's kappa        0.000" in shown.out
    assert (
        shown.err
        == "pairs of the Human Phenotype Ontology, made-up (https://hpo.jax.org; cite doi:10.1093/nar/gkad1005)\n"
    )


def test_pairs_of_an_ontology_that_do_not_fit(pairs: Path, ontology: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"got {pairs} and --pairs ontology; give one of the two" in error(capsys, pairs, "--pairs", "ontology")
    assert "--count was given without --pairs; type --pairs ontology" in error(capsys, pairs, "--count", "3")
    both = error(capsys, "--from", pairs.parent, "--pairs", "ontology")
    assert "got --pairs ontology and --from" in both
    assert main(["audit-judge", "--pairs", "ontology", "--count", "99"]) == 1
    assert re.search(r"--count is 99, and the ontology has 1 to \d+ pairs of each kind", capsys.readouterr().err)
