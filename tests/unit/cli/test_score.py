# SPDX-License-Identifier: Apache-2.0
"""`medix-verl score`: contract 4, line by line, and nothing left behind after a failure."""

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.cli.scoring import score as module
from medix_verl.cli.scoring.score import add_parser, run
from medix_verl.cli.scoring.score_input import count_lines, read_line
from medix_verl.cli.scoring.score_spec import read_spec
from medix_verl.errors import ConfigError, DataError, EncoderError, MedixError

KEYS = ["id", "score", "acc", "judge", "semantic", "format", "modality", "judge_ok", "semantic_ok", "answer"]
RIGHT = {"response": "<X_RAY><thinking>t</thinking><answer>Mass.</answer>", "ground_truth": "<X_RAY>\nmass"}
WRONG = {"response": "<think>t</think><answer>cyst</answer>", "ground_truth": "mass", "id": "row-2"}
EMPTY = {"response": "cyst", "ground_truth": "lesion > 3 cm", "modality": "CT_SCAN", "id": 77}


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return parser.parse_args(["score", *words])


def write(path: Path, *rows: dict[str, Any] | bytes) -> Path:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def score(tmp_path: Path, *rows: dict[str, Any] | bytes, flags: tuple[str, ...] = ("--semantic", "off")) -> list[dict]:
    source, out = write(tmp_path / "in.jsonl", *rows), tmp_path / "out.jsonl"
    assert run(parse(str(source), "--out", str(out), *flags)) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]
    return [json.loads(line) for line in out.read_text(encoding="ascii").splitlines()]


def fail(tmp_path: Path, kind: type[MedixError], match: str, *words: str) -> None:
    """Run, expect the error, and find nothing but the input."""
    before = sorted(tmp_path.iterdir())
    with pytest.raises(kind, match=match):
        run(parse(*words))
    assert sorted(tmp_path.iterdir()) == before


def test_rows_in_order_with_the_keys_of_the_contract(tmp_path: Path) -> None:
    right, wrong, empty = score(tmp_path, RIGHT, WRONG, EMPTY)
    assert [list(row) for row in (right, wrong, empty)] == [KEYS] * 3
    assert right == dict(zip(KEYS, [1, 1.0, 1.0, 1.0, None, 1.0, 1.0, 1, 0, "Mass."], strict=True))
    assert wrong == dict(zip(KEYS, ["row-2", 0.1, 0.0, 0.0, None, 1.0, None, 1, 0, "cyst"], strict=True))
    assert empty == dict(zip(KEYS, [77, 0.0, 0.0, 0.0, None, 0.0, 0.0, 1, 0, None], strict=True))


def test_more_lines_than_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 3)
    assert [row["id"] for row in score(tmp_path, *[RIGHT] * 8)] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_options_synonyms_and_tolerance(tmp_path: Path) -> None:
    def line(answer: str, **more: Any) -> dict[str, Any]:
        return {"response": f"<answer>{answer}</answer>", **more}

    rows = score(
        tmp_path,
        line("b", ground_truth="mass", options=["cyst", "mass"]),
        line("tumour", ground_truth="mass", synonyms=["tumour"]),
        line("3.1 cm", ground_truth="3 cm", tolerance=0.1),
    )
    assert [row["acc"] for row in rows] == [1.0, 1.0, 1.0]


BEHIND = {"response": "t</think>\n<X_RAY>\n<answer>Mass.</answer>", "ground_truth": "<X_RAY>\nmass"}
OPENED = "<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n<think>\n"


def test_a_line_says_whether_its_prompt_opened_the_thinking(tmp_path: Path) -> None:
    short = {**BEHIND, "response": "<X_RAY><answer>mass</answer>"}
    rows = score(
        tmp_path,
        {**BEHIND, "prompt": OPENED},
        {**BEHIND, "prompt": OPENED.removesuffix("<think>\n")},
        {**BEHIND, "thinking": "open"},
        {**BEHIND, "prompt": OPENED, "thinking": "none"},
        {**short, "prompt": f"{OPENED}</think>\n\n"},
        {**short, "thinking": "closed"},
        BEHIND,
        short,
    )
    assert [(row["format"], row["modality"]) for row in rows] == [
        *((1.0, 1.0), (0.0, 0.0), (1.0, 1.0), (0.0, 0.0)),
        *((1.0, 1.0), (1.0, 1.0), (0.0, 0.0), (0.0, 1.0)),
    ]


def test_the_flag_says_it_for_all_lines(tmp_path: Path) -> None:
    rows = score(tmp_path, BEHIND, {**BEHIND, "thinking": "none"}, flags=("--semantic", "off", "--thinking", "open"))
    assert [row["score"] for row in rows] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"thinking": "opened"}, "thinking is 'opened'; accepted: none, open, closed"),
        ({"prompt": "assistant: <reasoning>"}, "prompt: the prompt ends with '<reasoning>'"),
        ({"prompt": 3}, "prompt is a number"),
    ],
)
def test_what_a_line_says_of_its_prompt_is_checked(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    source = write(tmp_path / "in.jsonl", {**BEHIND, **more})
    fail(tmp_path, DataError, message, str(source), "--out", str(tmp_path / "out.jsonl"), "--semantic", "off")


@pytest.mark.parametrize("tail", [b"", b"\n", b"\n \n\r\n"])
def test_blank_lines_at_the_end_are_nothing(tmp_path: Path, tail: bytes) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"\xef\xbb\xbf" + json.dumps(RIGHT).encode() + tail)
    assert count_lines(source) == 1


def test_an_empty_file_gives_an_empty_file(tmp_path: Path) -> None:
    assert score(tmp_path) == []


def test_a_lone_surrogate_survives(tmp_path: Path) -> None:
    [row] = score(tmp_path, rb'{"response": "<answer>\ud800</answer>", "ground_truth": "mass"}')
    assert row["answer"] == "\ud800"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "line 2 is blank; remove it"),
        (b"{", r"line 2: not JSON \(.* at column 2\)"),
        (b'{"response": "\xff"}', "line 2: byte 15 is not UTF-8"),
        (b'"x"', "line 2: the line is a text; write one JSON object a line"),
        (b"[]", "the line is a list"),
        (b"3", "the line is a number"),
        (b"{}", "line 2: the key 'response' is missing"),
        ({"response": "x"}, "the key 'ground_truth' is missing"),
        ({"response": None, "ground_truth": "x"}, "response is null; accepted: a text"),
        ({"response": "x", "ground_truth": 5}, "ground_truth is a number"),
        ({"response": "x", "ground_truth": " "}, "line 2: the ground truth ' ' has no answer"),
        ({**RIGHT, "id": True}, "id is a boolean; accepted: a text or an integer"),
        ({**RIGHT, "id": 1.5}, "id is a number"),
        ({**RIGHT, "modality": "CT"}, "modality is 'CT'; accepted: X_RAY"),
        ({**RIGHT, "question": {}}, "question is an object"),
        ({**RIGHT, "options": "A"}, "options is a text; accepted: a list of texts"),
        ({**RIGHT, "synonyms": [1]}, "synonyms is a list; accepted: a list of texts"),
        ({**RIGHT, "tolerance": "1"}, "tolerance is a text"),
        ({**RIGHT, "tolerance": -1}, "tolerance is -1"),
        (b"9" * 5000, r"line 2: JSON that cannot be read \(ValueError\)|line 2: the line is a number"),
        (b"[" * 100_000, r"line 2: JSON that cannot be read \(RecursionError\)"),
    ],
)
def test_a_bad_line_fails_before_anything_is_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: dict[str, Any] | bytes, message: str
) -> None:
    async def never(*_: object) -> None:
        raise AssertionError("scored before the file was checked")

    monkeypatch.setattr(module, "score_all", never)
    source = write(tmp_path / "in.jsonl", RIGHT, line, RIGHT)
    fail(tmp_path, DataError, message, str(source), "--out", str(tmp_path / "out.jsonl"), "--semantic", "off")


@given(
    st.binary(max_size=80) | st.dictionaries(st.text(max_size=9), st.none()).map(lambda row: json.dumps(row).encode())
)
def test_no_bytes_raise_anything_but_a_data_error(raw: bytes) -> None:
    with pytest.raises(DataError, match="."):
        read_line(raw, 1)


def test_an_error_while_scoring_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(*args: Any) -> None:
        args[1].write("half a line")
        raise EncoderError("no model")

    monkeypatch.setattr(module, "score_all", breaks)
    source = write(tmp_path / "in.jsonl", RIGHT)
    message = "no model; or score without it: --semantic off"
    fail(tmp_path, EncoderError, message, str(source), "--out", str(tmp_path / "out.jsonl"))


def test_places_that_cannot_be_used(tmp_path: Path) -> None:
    source = str(write(tmp_path / "in.jsonl", RIGHT))
    fail(tmp_path, DataError, "none.jsonl is not a file", str(tmp_path / "none.jsonl"), "--out", str(tmp_path / "o"))
    fail(tmp_path, ConfigError, "is a folder; give the name of a file", source, "--out", str(tmp_path))
    fail(tmp_path, ConfigError, "does not exist; type: mkdir -p", source, "--out", str(tmp_path / "no" / "o"))
    fail(tmp_path, ConfigError, "is the input file; give another name", source, "--out", source)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--judge", "openai"), "--judge openai got no --judge-url; type --judge-url URL --judge-model NAME"),
        (("--judge", "openai", "--judge-url", "http://h/v1"), "got no --judge-model"),
        (("--judge-url", "http://h/v1"), "--judge-url was given with --judge rule; type --judge openai"),
        (("--judge-api-key-env", "X"), "--judge-api-key-env was given with --judge rule"),
        (("--limit-concurrency", "0"), "judge.max_concurrent is 0"),
        (("--threshold", "2"), "semantic.threshold is 2.0"),
        (("--semantic-model", ""), "semantic.model is ''"),
    ],
)
def test_flags_that_do_not_fit(tmp_path: Path, flags: tuple[str, ...], message: str) -> None:
    source = write(tmp_path / "in.jsonl", RIGHT)
    fail(tmp_path, ConfigError, message, str(source), "--out", str(tmp_path / "out.jsonl"), *flags)


def test_flags_reach_the_spec() -> None:
    judge = ["--judge", "openai", "--judge-url", "http://h/v1", "--judge-model", "m", "--judge-api-key-env", "K"]
    rest = ["--limit-concurrency", "7", "--semantic-model", "package:x", "--threshold", "0.5"]
    spec = read_spec(parse("in", "--out", "out", *judge, *rest))
    assert (spec.judge.kind, spec.judge.url, spec.judge.model) == ("openai", "http://h/v1", "m")
    assert (spec.judge.api_key_env, spec.judge.max_concurrent) == ("K", 7)
    assert (spec.semantic.enable, spec.semantic.model, spec.semantic.threshold) == (True, "package:x", 0.5)


@pytest.mark.parametrize(("status", "accs"), [(200, [1.0, 1.0]), (400, [1.0, None])])
def test_a_judge_that_answers_and_one_that_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int, accs: list[float | None]
) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response({"choices": [{"message": {"content": "YES"}}]}, status=status)

    async def main() -> list[dict]:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        flags = ("--semantic", "off", "--judge", "openai", "--judge-url", url, "--judge-model", "m")
        try:
            return await asyncio.to_thread(score, tmp_path, RIGHT, WRONG, flags=flags)
        finally:
            await runner.cleanup()

    rows = asyncio.run(main())
    assert [row["acc"] for row in rows] == accs
    errors = capsys.readouterr().err
    if status == 200:
        assert errors == ""
    else:
        assert rows[1] == dict(zip(KEYS, ["row-2", None, None, None, None, 1.0, None, 0, 0, "cyst"], strict=True))
        assert errors.startswith("medix-verl: warning: 1 of 2 answers unscored: judge: HTTP 400")
        assert errors.count("\n") == 1


def served(answer: Any, *rows: dict[str, Any], tmp_path: Path) -> tuple[int, list[dict]]:
    """Exit status and rows of a command whose judge answers each question with `answer(prompt)`."""

    async def handle(request: web.Request) -> web.Response:
        return answer((await request.json())["messages"][0]["content"])

    async def main() -> tuple[int, list[dict]]:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        source, out = write(tmp_path / "in.jsonl", *rows), tmp_path / "out.jsonl"
        judge = ("--judge", "openai", "--judge-url", url, "--judge-model", "m")
        args = parse(str(source), "--out", str(out), "--semantic", "off", *judge)
        try:
            code = await asyncio.to_thread(run, args)
        finally:
            await runner.cleanup()
        return code, [json.loads(line) for line in out.read_text().splitlines()]

    return asyncio.run(main())


def test_a_summary_says_how_many_and_why_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(prompt: str) -> web.Response:
        text = "Well, it depends." if "> cyst" in prompt else "YES"
        return web.json_response({"choices": [{"message": {"content": text}}]})

    other = {**WRONG, "response": "<think>t</think><answer>tumour</answer>", "id": "row-3"}
    code, rows = served(answer, RIGHT, WRONG, other, tmp_path=tmp_path)
    said = capsys.readouterr()
    assert code == 0 and [row["score"] for row in rows] == [1.0, None, 1.0]
    assert said.out == "2 answers scored, mean 1.0000; 1 unscored: 1 unreadable\n"
    assert said.err.count("\n") == 1 and "warning: 1 of 3 answers unscored: judge: " in said.err


def test_where_nothing_could_be_judged_it_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = {"error": {"message": "Incorrect API key", "code": "invalid_api_key"}}
    code, rows = served(lambda prompt: web.json_response(refused, status=401), WRONG, WRONG, tmp_path=tmp_path)
    said = capsys.readouterr()
    assert code == 1 and [row["score"] for row in rows] == [None, None] and said.out == ""
    assert said.err.startswith("medix-verl: error: none of 2 answers could be judged") and said.err.count("\n") == 1
    assert "HTTP 401" in said.err


def test_a_summary_of_the_rule_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    score(tmp_path, RIGHT, WRONG)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("2 answers scored, mean 0.5500; 0 unscored\n", "")


ELSEWHERE = ("--semantic", "off", "--judge", "openai", "--judge-url", "http://93.184.216.34/v1", "--judge-model", "m")


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"credentialed": True}, "line 2 is"),
        ({"meta": {"credentialed": True}, "id": "q7"}, r"line 2 \(id 'q7'\) is"),
        ({"data_source": "mimic_cxr_report_generation"}, "line 2 of mimic_cxr_report_generation is"),
    ],
)
def test_a_credentialed_line_goes_to_no_judge_elsewhere(tmp_path: Path, more: dict[str, Any], name: str) -> None:
    source = write(tmp_path / "in.jsonl", RIGHT, {**RIGHT, **more})
    words = (str(source), "--out", str(tmp_path / "out.jsonl"))
    match = f"{name} credentialed data.*http://93.184.216.34/v1.*--allow-remote-credentialed"
    fail(tmp_path, ConfigError, match, *words, *ELSEWHERE)
    assert run(parse(*words, *ELSEWHERE, "--allow-remote-credentialed")) == 0  # RIGHT needs no call
    assert run(parse(*words, *ELSEWHERE[:2], "--judge", "rule")) == 0


def test_a_network_of_ones_own_may_see_a_credentialed_line(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {**RIGHT, "credentialed": True})
    words = (str(source), "--out", str(tmp_path / "out.jsonl"), *ELSEWHERE[:4])
    inside = ("--judge-url", "http://10.1.2.3/v1", "--judge-model", "m")
    fail(tmp_path, ConfigError, "10.1.2.3 is not this machine", *words, *inside)
    assert run(parse(*words, *inside, "--local-network", "10.1.0.0/16")) == 0


def test_what_lets_credentialed_data_out_is_typed_in_full() -> None:
    with pytest.raises(SystemExit):
        parse("in.jsonl", "--out", "out.jsonl", "--allow-remote")


def test_a_line_that_is_no_flag(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {**RIGHT, "credentialed": "yes"})
    with pytest.raises(DataError, match="line 1: credentialed is a text; accepted: true, false"):
        run(parse(str(source), "--out", str(tmp_path / "out.jsonl")))
