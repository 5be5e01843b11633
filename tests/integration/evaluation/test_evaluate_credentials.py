# SPDX-License-Identifier: Apache-2.0
"""Credentialed data in a real run: where its text and its pictures are afterwards, and who is refused."""

from __future__ import annotations

import base64
import importlib.util
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helpers import evaluations as shared
from helpers.mimic import SECRET, picture, write_mimic

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("inspect_ai") is None, reason="the extra `eval` is not installed"),
    pytest.mark.timeout(300),
]
TASKS = ("mimic_cxr_report_summarization", "mimic_cxr_report_generation")


def parts(raw: bytes) -> list[bytes]:
    """Pieces by which a picture is found, raw or in base64, whatever stands around it."""
    text = base64.b64encode(raw)
    return [raw[100:160], raw[1000:1060], text[200:260], text[1200:1260]]


def contents(path: Path) -> Iterator[bytes]:
    """A file's bytes, and those of what it holds where it is an archive."""
    raw = path.read_bytes()
    yield raw
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield unpacked(archive, name)


def unpacked(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member; inspect_ai packs with zstandard, which zipfile of this Python does not know."""
    try:
        return archive.read(name)
    except NotImplementedError:
        from inspect_ai.log import read_eval_log

        log = read_eval_log(str(archive.filename))
        return log.model_dump_json().encode()


def holding(folder: Path, needles: list[bytes]) -> list[str]:
    """Files below a folder that hold one of the pieces."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if any(needle in raw for raw in contents(path) for needle in needles)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An evaluation of both MIMIC tasks, with a home and a folder for temporary files of its own."""
    root = tmp_path_factory.mktemp("mimic")
    raw = picture()
    source = write_mimic(root / "data", raw)
    for name in ("home", "tmp", "work"):
        (root / name).mkdir()
    changes = {"HOME": str(root / "home"), "TMPDIR": str(root / "tmp"), "HTTP_PROXY": "http://127.0.0.1:9"}
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "INSPECT_CACHE_DIR"):
        changes[name] = str(root / "home" / name)
    with shared.serving() as model, shared.serving() as judge:
        words = ["--tasks", *TASKS, "--sources", *(f"{task}={source}" for task in TASKS), "--out", root / "eval"]
        asked = ["--judge", "openai", "--judge-url", judge.url, "--judge-model", "mock-judge"]
        done = subprocess.run(
            shared.words_of(model.url, *words, *asked),
            capture_output=True,
            text=True,
            env=shared.environment(changes),
            cwd=root / "work",
            timeout=200,
            check=False,
        )
        seen = model.stats()["requests"]
    return SimpleNamespace(root=root, out=root / "eval", raw=raw, done=done, seen=seen)


def test_it_runs_on_local_servers(finished: Any) -> None:
    assert finished.done.returncode == 0, finished.done.stderr
    assert finished.seen == 2
    assert {state for lines in shared.records(finished.out).values() for state in [lines[0]["status"]]} == {"scored"}


def test_the_text_is_in_no_file_outside_the_folder(finished: Any) -> None:
    needles = [SECRET.encode(), b"Mrs Ypsilon"]
    assert holding(finished.out, needles) != []  # the search finds what is there
    for place in ("home", "tmp", "work"):
        assert holding(finished.root / place, needles) == []


def test_the_pictures_are_in_no_file_at_all(finished: Any) -> None:
    needles = parts(finished.raw)
    assert holding(finished.root / "data", needles[:2]) != []
    for place in ("eval", "home", "tmp", "work"):
        assert holding(finished.root / place, needles) == []
    assert not (finished.out / "images").exists()


def test_nothing_of_it_was_said(finished: Any) -> None:
    assert "Ypsilon" not in finished.done.stdout + finished.done.stderr


@pytest.mark.parametrize("who", ["model", "judge"])
def test_a_remote_address_is_refused_before_anything_is_asked(finished: Any, tmp_path: Path, who: str) -> None:
    remote = "http://192.0.2.1:8000/v1"
    with shared.serving() as server:
        model, judge = (remote, server.url) if who == "model" else (server.url, remote)
        words = ["--tasks", TASKS[0], "--sources", f"{TASKS[0]}={finished.root / 'data'}", "--out", tmp_path / "eval"]
        asked = ["--judge", "openai", "--judge-url", judge, "--judge-model", "q", "--model-name", "m"]
        done = shared.evaluate(model, *words, *asked)
        assert server.stats()["requests"] == 0
    assert done.returncode == 1 and f"the {who} at {remote} is not local" in done.stderr
    assert "--allow-remote-credentialed" in done.stderr and not (tmp_path / "eval").exists()


def test_re_judging_is_guarded_too(finished: Any, tmp_path: Path) -> None:
    asked = ["--judge", "openai", "--judge-url", "http://192.0.2.1:8000/v1", "--judge-model", "q"]
    done = shared.evaluate("rejudge", finished.out, *asked, "--out", tmp_path / "again")
    assert done.returncode == 1 and "is not local" in done.stderr


def test_inspect_eval_is_sent_to_the_guarded_way() -> None:
    from medix_verl.errors import ConfigError
    from medix_verl.evaluation.inspect import tasks as inspect_tasks

    with pytest.raises(ConfigError, match="medix-verl evaluate MODEL --tasks mimic_cxr_report_generation"):
        inspect_tasks.mimic_cxr_report_generation(source="x")


def test_the_export_is_refused(finished: Any, tmp_path: Path) -> None:
    done = shared.evaluate("export", finished.out, "--out", tmp_path / "board", "--tasks", TASKS[0])
    assert done.returncode == 1 and "credentialed" in done.stderr
    assert list(tmp_path.rglob("*.json*")) == []
