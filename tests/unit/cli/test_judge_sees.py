# SPDX-License-Identifier: Apache-2.0
"""Pictures and panels from the command line: `score`, `audit-judge`, the doctor, against mock servers over HTTP."""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers.mock_process import Mock, mock_judges
from medix_verl.cli.evaluate.answering import line_of
from medix_verl.cli.judge.judge_flags import add_judge_flags, judge_settings
from medix_verl.cli.main import main
from medix_verl.cli.scoring.score_input import read_lines
from medix_verl.cli.scoring.score_spec import judge_of
from medix_verl.data.io.jsonl import image_of
from medix_verl.errors import ConfigError, DataError
from medix_verl.judge.pictures import encode_picture
from medix_verl.judge.spec import JudgeSpec
from medix_verl.recipe.checks.chosen import check_chosen
from medix_verl.recipe.checks.judge import check_judge
from medix_verl.types import ImageRef, Sample

OFF = {"enable": False}


@pytest.fixture
def serve() -> Iterator[Callable[..., Mock]]:
    with mock_judges() as start:
        yield start


def picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 16), (shade, 90, 20)).save(buffer, "PNG")
    return buffer.getvalue()


def sent(data: bytes) -> str:
    """The SHA-256 of what a server is sent for a picture."""
    return hashlib.sha256(encode_picture(ImageRef(bytes=data), "q", 1024 * 1024)).hexdigest()


def flags(*mocks: Mock) -> list[str]:
    models = ",".join(f"judge-{place}" for place in range(len(mocks)))
    return ["--judge", "openai", "--judge-model", models, "--judge-url", ",".join(mock.url for mock in mocks)]


def line(answer: str, **more: Any) -> dict[str, Any]:
    return {"response": f"<think>t</think><answer>{answer}</answer>", "ground_truth": "mass", **more}


def scored(tmp_path: Path, words: list[str], *rows: dict[str, Any]) -> list[dict[str, Any]]:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert main(["score", str(source), "--out", str(out), "--semantic", "off", *words]) == 0
    return [json.loads(text) for text in out.read_text(encoding="ascii").splitlines()]


def test_a_panel_of_three_servers_scores_a_file(
    tmp_path: Path, serve: Callable[..., Mock], capsys: pytest.CaptureFixture[str]
) -> None:
    mocks = [serve("--verdict", verdict) for verdict in ("yes", "contains:tumour", "contains:cyst")]
    rows = [line("a tumour", id="a"), line("a cyst", id="b"), line("a bruise", id="c"), line("Mass", id="d")]
    found = scored(tmp_path, flags(*mocks), *rows)
    assert [(row["acc"], row["judge"]) for row in found] == [(1.0, 1.0), (1.0, 1.0), (0.0, 0.0), (1.0, 1.0)]
    assert [mock.stats["requests"] for mock in mocks] == [3, 3, 3]
    printed = capsys.readouterr().err
    assert "medix-verl: panel agreed on 0 of 3 questions" in printed
    assert "medix-verl: judge-0 3 verdicts, 100.0% YES, 33.3% against the panel" in printed


def test_a_panel_that_cannot_agree_leaves_the_answer_unscored(
    tmp_path: Path, serve: Callable[..., Mock], capsys: pytest.CaptureFixture[str]
) -> None:
    found = scored(tmp_path, flags(serve("--verdict", "yes"), serve("--verdict", "no")), line("a cyst"), line("Mass"))
    assert [row["score"] for row in found] == [None, 1.0] and found[0]["judge_ok"] == 0
    assert "1 of 2 answers unscored: judge: the judges of the panel disagree: 1 YES, 1 NO" in capsys.readouterr().err


def test_score_shows_the_lines_pictures(tmp_path: Path, serve: Callable[..., Mock]) -> None:
    mock = serve("--verdict", "yes")
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.png").write_bytes(picture(10))
    uri = f"data:image/png;base64,{base64.b64encode(picture(20)).decode()}"
    words = [*flags(mock), "--judge-images", "--judge-prompt", "pictures"]
    rows = [line("a tumour", images=["scans/a.png", uri]), line("a cyst"), line("a cyst", images=["scans/none.png"])]
    found = scored(tmp_path, words, *rows)
    assert [row["judge_ok"] for row in found] == [1, 1, 0]
    assert mock.stats["pictures"] == {sent(picture(10)): 1, sent(picture(20)): 1} and mock.stats["requests"] == 2


def test_a_credentialed_line_s_picture_leaves_for_no_member_of_a_panel(
    tmp_path: Path, serve: Callable[..., Mock], capsys: pytest.CaptureFixture[str]
) -> None:
    mock = serve()
    (tmp_path / "a.png").write_bytes(picture(10))
    words = ["--judge", "openai", "--judge-model", "a,b", "--judge-url", f"{mock.url},http://93.184.216.34/v1"]
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps(line("x", images=["a.png"], credentialed=True)) + "\n", encoding="utf-8")
    out = str(tmp_path / "out.jsonl")
    assert main(["score", str(source), "--out", out, "--semantic", "off", *words, "--judge-images"]) == 1
    assert "line 1 is credentialed data" in capsys.readouterr().err
    assert mock.stats["requests"] == 0 and mock.stats["pictures"] == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("https://example.org/x.png", "nothing is fetched from an address"),
        ("  ", "give the path of a file"),
        ("data:image/png,abc", "which is not a picture"),
        ("data:text/html;base64,YWJj", "which is not a picture"),
        ("data:image/png;base64,a$c", "which is not a picture"),
    ],
)
def test_a_picture_that_is_no_picture_is_refused_by_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(line("x", images=[text])) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=f"in.jsonl line 1: images has .*{message}"):
        list(read_lines(path))


def test_a_path_starts_in_the_folder_of_the_file(tmp_path: Path) -> None:
    assert image_of("a/b.png", tmp_path) == ImageRef(path=str(tmp_path / "a/b.png"))
    assert image_of("/x/b.png", tmp_path) == ImageRef(path="/x/b.png")
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(line("x", images="a.png")) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="images is a text; accepted: a list of texts"):
        list(read_lines(path))


def test_answers_of_a_served_model_name_their_pictures_for_score(tmp_path: Path) -> None:
    sample = Sample("q", "s", "What?", "mass", images=(ImageRef(path="scans/a.png"), ImageRef(bytes=picture(20))))
    path = tmp_path / "in.jsonl"
    path.write_text(line_of(sample, "<answer>mass</answer>", folder=tmp_path), encoding="utf-8")
    (read,) = read_lines(path)
    assert read.reference.images == (ImageRef(path=str(tmp_path / "scans/a.png")), ImageRef(bytes=picture(20)))
    assert "images" not in json.loads(line_of(sample, "x"))


def test_audit_judge_shows_pictures_and_tells_of_the_panel(
    tmp_path: Path, serve: Callable[..., Mock], capsys: pytest.CaptureFixture[str]
) -> None:
    mocks = [serve("--verdict", verdict) for verdict in ("contains:tumour", "contains:tumour", "no")]
    (tmp_path / "a.png").write_bytes(picture(10))
    rows = [
        {"reference": "mass", "candidate": "a tumour", "label": True, "images": ["a.png"]},
        {"reference": "mass", "candidate": "a bruise", "label": False},
    ]
    pairs, out = tmp_path / "pairs.jsonl", tmp_path / "out.json"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ["--attacks", "none", "--repeats", "1", "--out", str(out), "--judge-images"]
    assert main(["audit-judge", str(pairs), *flags(*mocks), *words]) == 0
    printed, found = capsys.readouterr().out, json.loads(out.read_text(encoding="ascii"))
    assert "panel agreed on         " in printed and "judge-2" in printed
    assert found["accuracy"]["value"] == 1.0
    assert found["panel"]["members"][2] == {"name": "judge-2", "verdicts": 4, "yes": 0.0, "dissent": 0.5}
    assert [member["model"] for member in found["judge"]["panel"]] == ["judge-0", "judge-1", "judge-2"]
    # Forth and exchanged.
    assert [mock.stats["pictures"] for mock in mocks] == [{sent(picture(10)): 2}] * 3


def test_flags_of_a_panel_that_do_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--judge", "openai", "--judge-model", "a,b,c", "--judge-url", "http://h/v1,http://i/v1"]
    assert main(["audit-judge", *words]) == 1
    assert "--judge-url names 2 servers for 3 models; give one, or one for each" in capsys.readouterr().err
    assert main(["audit-judge", "--judge-images"]) == 1
    assert "--judge-images was given with --judge rule" in capsys.readouterr().err
    assert main(["audit-judge", "--judge", "openai", "--judge-model", "a,a", "--judge-url", "http://h/v1"]) == 1
    assert "judge.panel[0] and judge.panel[1] are the same judge" in capsys.readouterr().err


def test_one_key_that_was_typed_is_for_all() -> None:
    parser = argparse.ArgumentParser()
    add_judge_flags(parser)
    words = ["--judge", "openai", "--judge-model", "a, b", "--judge-url", "http://h/v1,http://i/v1"]
    spec = JudgeSpec.from_mapping(judge_settings(parser.parse_args([*words, "--judge-api-key-env", "KEY"])))
    assert [(one.model, one.urls, one.api_key_env) for one in spec.members] == [
        ("a", ("http://h/v1",), "KEY"),
        ("b", ("http://i/v1",), "KEY"),
    ]


# The doctor.


def test_the_doctor_finds_a_server_that_takes_no_pictures(serve: Callable[..., Mock]) -> None:
    texts, sees = serve("--pictures", "refuse", "--model", "m"), serve("--model", "m")
    recipe = {"kind": "openai", "url": texts.url, "model": "m"}
    assert check_judge(recipe, "medix").status == "ok" and texts.stats["requests"] == 0
    check = check_judge({**recipe, "images": True}, "medix")
    assert check.status == "FAIL" and f"{texts.url} refuses a question with a picture: HTTP 400" in check.found
    assert "not a multimodal model" in check.found
    assert check.todo == "reward.medix.judge.model=A_MULTIMODAL_MODEL, or reward.medix.judge.images=false"
    check = check_judge({**recipe, "url": [sees.url, texts.url], "images": True}, "medix")
    assert check.status == "FAIL" and texts.url in check.found
    check = check_judge({**recipe, "url": sees.url, "images": True}, "medix")
    assert check.status == "ok" and check.found.endswith("sees pictures")
    assert sum(sees.stats["pictures"].values()) == 2
    # And in the doctor's own list of checks.
    chosen = {"name": "medix", "error": None, "judge": {**recipe, "images": True}, "semantic": OFF, "files": []}
    printed = {check.name: check for check in check_chosen(chosen, ["medix"])}
    assert printed["judge"].status == "FAIL" and "refuses a question with a picture" in printed["judge"].found
    panel = [{"url": sees.url}, {"url": texts.url}]
    printed = {
        check.name: check for check in check_chosen({**chosen, "judge": {**chosen["judge"], "panel": panel}}, ["medix"])
    }
    assert printed["judge"].status == "FAIL" and "refuses a question with a picture" in printed["judge"].found


def test_the_doctor_looks_at_every_judge_of_a_panel(serve: Callable[..., Mock]) -> None:
    one, other = serve("--model", "a"), serve("--model", "b", "--pictures", "refuse")
    panel = [{"model": "a", "url": one.url}, {"model": "b", "url": other.url}, {"kind": "rule"}]
    recipe = {"kind": "openai", "url": None, "model": None, "panel": panel}
    check = check_judge(recipe, "medix")
    assert check.status == "ok" and check.found.startswith("panel of 3: a at ") and "rule judge" in check.found
    check = check_judge({**recipe, "images": True}, "medix")
    assert check.status == "FAIL" and f"{other.url} refuses a question with a picture" in check.found
    assert check.todo.endswith("(in its entry of reward.medix.judge.panel)")
    check = check_judge({**recipe, "panel": [panel[0], {**panel[1], "images": False}], "images": True}, "medix")
    assert check.status == "ok"
    wrong = check_judge({**recipe, "panel": [panel[0], {**panel[1], "model": "c"}]}, "medix")
    assert wrong.status == "FAIL" and wrong.todo.startswith("reward.medix.judge.model=b")
    twice = check_judge({**recipe, "panel": [panel[0], panel[0]]}, "medix")
    assert twice.status == "FAIL" and "are the same judge" in twice.found


def test_a_panel_whose_judge_only_a_run_serves_is_refused_by_score() -> None:
    args = argparse.Namespace(judge=None, recipe="lab", local_network=[], allow_remote_credentialed=False)
    args.limit_concurrency = None
    panel = [{"model": "a"}, {"kind": "verl"}]
    with pytest.raises(ConfigError, match="the judge of lab is served by verl inside a run; name one"):
        judge_of(args, {"kind": "openai", "panel": panel})
    assert judge_of(args, {"kind": "openai", "panel": panel[:1]})["breaker"] == "off"
    # What each member says of itself counts, not what is around it.
    assert judge_of(args, {"kind": "verl", "panel": [{"kind": "rule"}, {"kind": "openai", "model": "a"}]})
