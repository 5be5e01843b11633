# SPDX-License-Identifier: Apache-2.0
"""An evaluation says what it did not do: refusals of the server, tasks that are missing, rows that were refused."""

from __future__ import annotations

import importlib.util
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helpers import evaluations as shared
from helpers.json_server import JsonHandler
from helpers.json_server import serving as serve
from medix_verl.evaluation.store.identity import QUESTIONS as PROBES

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("inspect_ai") is None, reason="the extra `eval` is not installed"),
    pytest.mark.timeout(300),
]
evaluate, medqa, records, serving = shared.evaluate, shared.medqa, shared.records, shared.serving
COUNT = 6
ANSWER = {"choices": [{"message": {"content": "<think>t</think> <answer>drug 0</answer>"}, "finish_reason": "stop"}]}


@contextmanager
def refusing(
    status: int, only: str = "", listed: bytes = b"", answer: Any = ANSWER, port: int = 0
) -> Iterator[SimpleNamespace]:
    """A server that answers questions with `only` in them with a status, and others; it lists models where it can."""
    seen = SimpleNamespace(asked=0, probed=0, url="", seeds=[], listed=listed)

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            self.send(seen.listed, 200 if seen.listed else 404)

        def do_POST(self) -> None:
            body = self.raw()
            if any(question.encode() in body for question in PROBES):
                seen.probed += 1
            else:
                seen.asked += 1
                seen.seeds.append(json.loads(body).get("seed"))
            if only.encode() in body:
                self.send({"error": {"message": "refused for a test"}}, status)
            else:
                self.send(answer)

    with serve(Handler, port) as seen.url:
        yield seen


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return medqa(tmp_path_factory.mktemp("medqa"), COUNT)


def flags(source: Path, out: Path, *more: object) -> list[object]:
    return ["--tasks", "medqa", "--sources", f"medqa={source}", "--out", out, "--connections", 2, *more]


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "eval.json").read_text())


@pytest.mark.parametrize("status", [401, 404])
def test_a_refusal_of_everything_ends_the_run_at_once(source: Path, tmp_path: Path, status: int) -> None:
    out = tmp_path / "eval"
    with refusing(status) as server:
        done = evaluate(server.url, *flags(source, out, "--model-name", "wrong"))
        assert server.asked <= 4
        assert server.probed <= 1
    assert done.returncode == 1 and "Traceback" not in done.stderr
    messages = done.stderr.splitlines()[-1]
    assert (
        f"HTTP {status}" in messages
        and "--model-name" in messages
        and "--api-key-env" in messages
        and "--resume" in messages
    )
    assert not manifest(out)["finished"] and "HTTP" in manifest(out)["failed"]["medqa"]
    assert "Not finished" in (out / "table.md").read_text()


def test_the_cause_mended_the_run_goes_on(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    with refusing(403) as server:
        assert evaluate(server.url, *flags(source, out, "--model-name", "m")).returncode == 1
    with refusing(403, only="no question has this") as server:
        assert evaluate(server.url, *flags(source, out, "--model-name", "m", "--resume")).returncode == 0
        assert server.asked == COUNT
    assert manifest(out)["finished"] and manifest(out)["failed"] == {}


def test_one_question_that_is_refused_is_an_error_and_the_others_go_on(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    with refusing(400, only="patient 3?") as server:
        # One of six is more than --max-unscored takes of itself.
        done = evaluate(server.url, *flags(source, out, "--model-name", "m", "--max-unscored", "0.2"))
    assert done.returncode == 0, done.stderr
    assert f"medqa: {COUNT - 1} scored, 1 error" in done.stderr
    (lost,) = [line for line in records(out)["medqa.jsonl"] if line["status"] == "error"]
    assert "refused for a test" in lost["reason"] and manifest(out)["finished"]


def test_a_task_that_lost_too_many_questions_has_bounds_and_is_not_finished(source: Path, tmp_path: Path) -> None:
    """Five of six are wrong, and nobody knows of the sixth."""
    out = tmp_path / "eval"
    with refusing(400, only="patient 3?") as server:
        done = evaluate(server.url, *flags(source, out, "--model-name", "m"))
        table = (out / "table.md").read_text()
        assert done.returncode == 1 and "1 of 6 questions have no score, more than 0.02" in done.stderr
        assert "refused for a test" in done.stderr and "--errors wrong" in done.stderr
        assert not manifest(out)["finished"] and "| medqa | 0.0% to 16.7% (bounds) |" in table
        assert "| **average over 1 tasks** | 0.0% to 16.7% (bounds) |" in table and "Not finished" in table
        assert evaluate("export", out, "--out", tmp_path / "export").returncode == 1
        wrong = evaluate(server.url, *flags(source, out, "--model-name", "m", "--resume", "--errors", "wrong"))
    assert wrong.returncode == 0, wrong.stderr
    assert manifest(out)["finished"] and "| medqa | 0.0% " in wrong.stdout and "--errors wrong" in wrong.stdout
    assert "| 5 | 0 | 1 | 0 |" in wrong.stdout, "what was lost is not counted any more"
    assert evaluate("export", out, "--out", tmp_path / "export").returncode == 0
    judged = evaluate("rejudge", out, "--judge", "rule", "--out", tmp_path / "again")
    assert judged.returncode == 1 and "1 of 6 questions have no score" in judged.stderr
    judged = evaluate("rejudge", out, "--judge", "rule", "--out", tmp_path / "wrong", "--errors", "wrong")
    assert judged.returncode == 0 and manifest(tmp_path / "wrong")["finished"], judged.stderr


def test_answers_that_were_cut_off_are_noted_counted_and_warned_of(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    cut = {"choices": [{"message": {"content": "<think>t"}, "finish_reason": "length"}]}
    with refusing(400, only="no question has this", answer=cut) as server:
        done = evaluate(server.url, *flags(source, out, "--model-name", "m"))
    assert done.returncode == 0, done.stderr
    messages = f"{COUNT} of {COUNT} answers are not what the model would have said: {COUNT} cut at the limit of tokens"
    assert messages in done.stderr and messages in done.stdout and f"| 0 | 0 | 0 | {COUNT} |" in done.stdout
    assert {line["finish"] for line in records(out)["medqa.jsonl"]} == {"length"}
    assert shared.summary(out)["tasks"][0]["cut_off"] == {"length": COUNT}
    from medix_verl.evaluation.store.read import read_evaluation
    from medix_verl.report.content import build
    from medix_verl.report.page import render

    page = render(build(read_evaluation(out)))
    assert f"medqa: {messages}; raise generation.max_tokens." in page
    assert f'<td class="number bad" data-label="cut off">{COUNT}</td>' in page


def test_a_question_that_was_retried_keeps_its_cause(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    with refusing(500, only="patient 3?") as server:
        done = evaluate(server.url, *flags(source, out, "--model-name", "m"))
        assert server.asked == COUNT + 3
    (lost,) = [line for line in records(out)["medqa.jsonl"] if line["status"] == "error"]
    assert "HTTP 500" in lost["reason"] and "refused for a test" in lost["reason"] and "Future" not in lost["reason"]
    assert done.returncode == 1 and "HTTP 500" in done.stderr and "Future" not in done.stderr


def test_repeats_of_a_question_have_different_seeds(source: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from inspect_ai import eval; from medix_verl.evaluation.inspect.tasks import medqa;"
        "log, = eval(medqa(source=sys.argv[1], limit=2, seed=3), model='medix/m', model_base_url=sys.argv[2],"
        "epochs=3, log_dir=sys.argv[3], display='none'); assert log.status == 'success', log.error"
    )
    with refusing(400, only="no question has this") as server:
        done = subprocess.run(
            [sys.executable, "-c", script, source, server.url, tmp_path / "logs"],
            env=shared.environment({"XDG_DATA_HOME": str(tmp_path)}),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    assert sorted(server.seeds) == [3, 3, 3 + 7919, 3 + 7919, 3 + 2 * 7919, 3 + 2 * 7919]


def test_a_resumed_run_of_something_else_is_refused_by_name(tmp_path: Path) -> None:
    source, out = medqa(tmp_path / "medqa", COUNT), tmp_path / "eval"
    lists = b'{"data": [{"id": "m", "root": "/models/%s"}]}'
    with refusing(400, only="no question has this", listed=lists % b"a") as server:
        first = evaluate(server.url, *flags(source, out))
        assert first.returncode == 0, first.stderr
        port = int(server.url.rpartition(":")[2].split("/")[0])
    kept = manifest(out)
    assert kept["server"]["model"] == {"root": "/models/a"} and kept["server"]["models"] == ["m"]
    assert kept["sources"]["medqa"]["place"] == str(source) and kept["settings"]["prompt_sha256"]
    (out / "records" / "medqa.jsonl").unlink()  # so that there is something left to do
    with refusing(400, only="no question has this", listed=lists % b"b", port=port) as server:
        other = evaluate(server.url, *flags(source, out, "--resume"))
        assert other.returncode == 1 and "server.model.root '/models/a', now it is '/models/b'" in other.stderr
        first_row, *rest = (source / "test.json").read_text().splitlines()
        changed = json.dumps({**json.loads(first_row), "label": 3})
        (source / "test.json").write_text("\n".join([changed, *rest]) + "\n")
        server.listed = lists % b"a"
        labels = evaluate(server.url, *flags(source, out, "--resume"))
        assert labels.returncode == 1 and "sources.medqa.rows_sha256" in labels.stderr
        assert server.asked == 0


KEY = "made-up-Zq81LmnoPqrs77xyZ0aa"


@contextmanager
def repeating() -> Iterator[str]:
    """A server that repeats its key: in a refusal of some questions, in its answers, in its lists and its version."""

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            key = self.headers.get("Authorization", "")
            if self.path == "/v1/models":
                self.send({"data": [{"id": "m", "root": f"/models/{key}"}]})
            else:
                self.send({"version": f"1 {key}"})

        def do_POST(self) -> None:
            body, key = self.raw(), self.headers.get("Authorization", "")
            if b"patient 3?" in body:
                escaped = key.replace("-", "\\u002d")
                self.send({"error": {"message": f"invalid: {key}, {escaped}, {key[7:20]}"}}, 400)
            elif b"patient 4?" in body:
                self.send({"error": {"message": f"failed with {key}"}}, 500)
            elif b"patient 5?" in body:
                message = {"content": None, "refusal": f"I do not answer {key}"}
                self.send({"choices": [{"message": message, "finish_reason": "stop"}]})
            else:
                message = {"content": f"<answer>{key}</answer>"}
                self.send({"choices": [{"message": message, "finish_reason": "stop"}]})

    with serve(Handler) as url:
        yield url


def test_a_key_that_the_server_repeats_is_nowhere(source: Path, tmp_path: Path) -> None:
    from inspect_ai.log import read_eval_log

    out = tmp_path / "eval"
    with repeating() as url:
        words = (*flags(source, out, "--model-name", "m"), "--api-key-env", "SOME_KEY")
        done = evaluate(url, *words, changes={"SOME_KEY": KEY})
        judge = ("--judge", "openai", "--judge-url", url, "--judge-model", "m", "--judge-api-key-env", "SOME_KEY")
        asked = evaluate(url, *words, *judge, "--out", tmp_path / "judged", changes={"SOME_KEY": KEY})
    assert done.returncode == 1 and "3 of 6 questions have no score" in done.stderr
    assert asked.returncode == 1 and "cannot be read" in asked.stderr
    messages = [done.stdout, done.stderr, asked.stdout, asked.stderr]
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        messages.append(path.read_text("utf-8", "replace"))
        if path.suffix == ".eval":
            messages.append(read_eval_log(str(path)).model_dump_json())
    assert sum("***" in text for text in messages) >= 5, "nothing was repeated"
    pieces = {KEY[start : start + 10] for start in range(len(KEY) - 9)}
    assert not [piece for piece in pieces for text in messages if piece in text]


def test_a_judge_that_cannot_be_read_is_refused_with_its_reply(source: Path, tmp_path: Path) -> None:
    with serving() as model, refusing(400, only="no question has this") as judge:
        words = ("--judge", "openai", "--judge-url", judge.url, "--judge-model", "q")
        done = evaluate(model.url, *flags(source, tmp_path / "eval", *words))
        assert model.stats()["requests"] == 0
    assert done.returncode == 1 and "cannot be read" in done.stderr and "drug 0" in done.stderr


def test_a_task_of_which_every_question_is_refused_has_failed(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    with refusing(422) as server:
        done = evaluate(server.url, *flags(source, out, "--model-name", "m"))
        assert server.asked == COUNT
    assert (
        done.returncode == 1 and "1 of 1 tasks have no figure, the first medqa: no question was answered" in done.stderr
    )
    assert "HTTP 422" in done.stderr and not manifest(out)["finished"]


def test_a_name_that_is_not_listed_is_told_before_anything_is_asked(source: Path, tmp_path: Path) -> None:
    with refusing(404, listed=b'{"data": [{"id": "org/right"}]}') as server:
        done = evaluate(server.url, *flags(source, tmp_path / "eval", "--model-name", "org/rigth"))
        assert server.asked == 0
    assert done.returncode == 1 and "did you mean --model-name org/right?" in done.stderr


def test_a_subset_does_not_finish_the_evaluation(source: Path, tmp_path: Path) -> None:
    out, again = tmp_path / "eval", tmp_path / "again"
    gone = tmp_path / "gone"
    gone.mkdir()
    sources = ["--sources", f"medqa={source}", f"pubmedqa={gone}", "--out", out]
    with serving() as model:
        both = evaluate(model.url, "--tasks", "medqa", "pubmedqa", *sources)
        assert both.returncode == 1 and "1 of 2 tasks have no figure, the first pubmedqa" in both.stderr
        part = evaluate(model.url, "--tasks", "medqa", *sources, "--resume")
    assert part.returncode == 0 and "not finished: pubmedqa of earlier runs" in part.stderr
    assert not manifest(out)["finished"] and "pubmedqa" in manifest(out)["failed"]
    assert "Not finished" in part.stdout and "pubmedqa: " in part.stdout
    judged = evaluate("rejudge", out, "--judge", "rule", "--out", again)
    assert judged.returncode == 1 and "the first pubmedqa" in judged.stderr
    assert not manifest(again)["finished"] and manifest(again)["done"]["medqa"]["scored"] == COUNT


def test_rows_that_were_refused_are_counted(tmp_path: Path) -> None:
    source, out = medqa(tmp_path / "medqa", COUNT), tmp_path / "eval"
    lines = (source / "test.json").read_text().splitlines()
    (source / "test.json").write_text(
        "\n".join([*lines, json.dumps({**json.loads(lines[0]), "id": "odd", "label": 9})])
    )
    with serving() as model:
        done = evaluate(model.url, *flags(source, out))
    assert done.returncode == 0, done.stderr
    (refused,) = manifest(out)["done"]["medqa"]["refused"].items()
    assert refused[1] == 1 and f"; 1 rows of its source refused (1 {refused[0]})" in done.stderr
    assert "| refused |" in done.stdout and f"| {COUNT} | 0 | 0 | 1 |" in done.stdout
    assert shared.summary(out)["tasks"][0]["refused"] == dict([refused])
    assert evaluate("rejudge", out, "--judge", "rule", "--out", tmp_path / "again").returncode == 0
    assert manifest(tmp_path / "again")["done"]["medqa"]["refused"] == dict([refused])


def test_two_rejudgings_into_one_folder_are_refused(source: Path, tmp_path: Path) -> None:
    from medix_verl.evaluation.store.manifest import held

    with serving() as model:
        assert evaluate(model.url, *flags(source, tmp_path / "eval")).returncode == 0
    with held(tmp_path / "again"):
        done = evaluate("rejudge", tmp_path / "eval", "--judge", "rule", "--out", tmp_path / "again")
    assert done.returncode == 1 and "another process is evaluating into" in done.stderr


def test_a_server_that_is_started_finds_models_and_login_where_they_were(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medix_verl.evaluation.models.source import Model
    from medix_verl.evaluation.suite import SuiteSpec, run_suite
    from medix_verl.evaluation.tasks.table import find

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    for name in ("HF_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    seen = tmp_path / "seen.json"
    program = (
        f"import json, os; open({str(seen)!r}, 'w').write(json.dumps(dict(os.environ)));"
        "from medix_verl.evaluation.models.mock import main; main(['--port', '{port}'])"
    )
    model = Model("any", load_limit_s=60.0, command=(sys.executable, "-c", program))
    level = logging.getLogger().level
    run_suite(SuiteSpec(model, (find("medqa"),), tmp_path / "eval", sources={"medqa": source}), lambda line: None)
    assert logging.getLogger().level == level, "the caller's own warnings are silenced"
    given = json.loads(seen.read_text())
    assert given["XDG_CACHE_HOME"] == str(tmp_path / "mine") and "XDG_DATA_HOME" not in given
    assert (tmp_path / "eval" / "library" / "data").is_dir()
