# SPDX-License-Identifier: Apache-2.0
"""Replies are found again under everything that makes them and nothing else, in memory and in the file."""

import logging
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medix_verl.errors import ConfigError
from medix_verl.judge.cache import APPLICATION, ReplyCache, Store, key_of, open_cache
from medix_verl.judge.prompt import Writer
from medix_verl.judge.reply import Reply
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Reference

YES, NO = Reply("YES"), Reply("NO \ud800", 0.25)
SPEC = JudgeSpec(kind="openai", url="http://a/v1", model="m", prompt="reference")
REFERENCE = Reference("pneumonia", question="What is seen?", options=("pneumonia", "cyst"))


@pytest.fixture
def other(tmp_path: Path) -> str:
    """A prompt of one's own."""
    path = tmp_path / "own.txt"
    path.write_text("Own: {question} {reference} {candidate} {fence}", encoding="utf-8")
    return str(path)


def key(candidate: str = "lung", reference: Reference = REFERENCE, model: str = "m", **spec: Any) -> bytes:
    """The keys of a question's passes."""
    changed = replace(SPEC, **spec)
    writer = Writer(changed, model)
    passes = [writer.prompt(candidate, reference)]
    if changed.swap:
        passes.append(writer.swapped_prompt(candidate, reference))
    return b"".join(key_of(writer.body(prompt)) for prompt in passes)


@pytest.mark.parametrize(
    "change",
    [
        {"candidate": "lungs"},
        {"model": "n"},
        {"structured": "none"},
        {"soft": True},
        {"swap": True},
        {"max_candidate_chars": 3},
        {"reference": replace(REFERENCE, answer="x")},
        {"reference": replace(REFERENCE, question="x")},
        {"reference": replace(REFERENCE, question=None)},
        {"reference": replace(REFERENCE, options=("cyst", "pneumonia"))},
        {"reference": replace(REFERENCE, options=None)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_the_verdict_changes_the_key(change: dict[str, Any]) -> None:
    assert key(**change) != key()


def test_the_text_of_a_prompt_is_in_the_key_and_not_its_name(other: str) -> None:
    first = key(prompt=other)
    assert first != key()
    Path(other).rename(other.replace("own", "same"))
    assert key(prompt=other.replace("own", "same")) == first


@pytest.mark.parametrize(
    "change",
    [
        {"url": "http://b/v1"},
        {"url": ["http://a/v1", "http://b/v1"]},
        {"timeout_s": 1.0},
        {"max_concurrent": 2},
        {"reference": replace(REFERENCE, synonyms=("lung infection",))},
        {"reference": replace(REFERENCE, modality="CT_SCAN", tolerance=0.1)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_nothing_else_does(change: dict[str, Any]) -> None:
    assert key(**change) == key()


def test_what_is_not_shown_is_not_in_the_key() -> None:
    assert key("abcX", max_candidate_chars=3) == key("abcY and more", max_candidate_chars=3)
    assert key("abc", max_candidate_chars=3) != key("abcd", max_candidate_chars=3), "a cut is shown"


def test_parts_do_not_run_together_and_strange_text_has_a_key() -> None:
    assert key(reference=Reference("b", question="a")) != key(reference=Reference("", question="ab"))
    # The request is the key, and no judge is shown what UTF-8 cannot hold.
    assert key("\ud800") == key("\ud801") != key("\ud800x")


def test_the_least_recently_used_go_first() -> None:
    cache = ReplyCache(2)
    cache.put(b"1", YES)
    cache.put(b"2", NO)
    assert cache.get(b"1") == YES
    cache.put(b"3", YES)
    assert (cache.get(b"1"), cache.get(b"2"), cache.get(b"3")) == (YES, None, YES)


def test_the_first_reply_stays(tmp_path: Path) -> None:
    cache = ReplyCache(0, Store(tmp_path / "c", write_through=True))
    cache.put(b"1", YES)
    cache.put(b"1", NO)
    assert cache.get(b"1") == YES
    cache.close()


def test_what_was_written_through_outlives_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "replies.sqlite"
    code = (
        "import os, signal, sys; from pathlib import Path; from medix_verl.judge.cache import Store; "
        "from medix_verl.judge.reply import Reply; s = Store(Path(sys.argv[1]), write_through=True); "
        "[s.put(bytes([n]), Reply(str(n))) for n in range(100)]; os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], timeout=60).returncode == -9
    store = Store(path)
    assert [store.get(bytes([number])) for number in range(100)] == [Reply(str(number)) for number in range(100)]
    store.close()


def test_none_keeps_nothing() -> None:
    cache = open_cache(replace(SPEC, cache="none"))
    cache.put(b"1", YES)
    assert cache.get(b"1") is None


def test_a_file_outlives_its_process(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    first = open_cache(replace(SPEC, cache=str(path)))
    first.put(b"1", YES)
    first.put(b"2", NO)
    first.close()
    first.close()
    second = open_cache(replace(SPEC, cache=str(path)))
    assert (second.get(b"1"), second.get(b"2"), second.get(b"3")) == (YES, NO, None)
    second.close()


def test_processes_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    code = (
        "import sys; from pathlib import Path; from medix_verl.judge.cache import Store; "
        "from medix_verl.judge.reply import Reply; s = Store(Path(sys.argv[1])); "
        "[s.put(bytes([int(sys.argv[2]), n % 256, n // 256]), Reply('YES')) for n in range(2000)]; s.close()"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(path), str(number)]) for number in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM replies").fetchone() == (8000,)


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE patients (name TEXT)")


def newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE replies (key BLOB)")
        connection.execute(f"PRAGMA application_id={APPLICATION}")
        connection.execute("PRAGMA user_version=99")


def damaged(path: Path) -> None:
    store = Store(path)
    for number in range(3000):
        store.put(number.to_bytes(32, "big"), YES)
    store.close()
    raw = bytearray(path.read_bytes())
    raw[4096:12288] = b"\xff" * 8192
    path.write_bytes(bytes(raw))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_text("no database at all, but long enough to be read as one" * 40), "not a database"),
        (foreign, "a database of another program"),
        (newer, "its format is 99, this version reads 2"),
        (damaged, "damaged|malformed"),
        (lambda path: path.mkdir(), "unable to open"),
    ],
    ids=["text", "foreign", "newer", "damaged", "folder"],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, spoil: Any, message: str) -> None:
    path = tmp_path / "verdicts.sqlite"
    spoil(path)
    with pytest.raises(ConfigError, match=rf"verdicts.sqlite' cannot be used \(.*({message})") as caught:
        open_cache(replace(SPEC, cache=str(path)))
    assert "\n" not in str(caught.value) and "set judge.cache=memory" in str(caught.value)


def test_a_file_that_fails_later_is_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(tmp_path / "verdicts.sqlite")
    store.reader.execute("DROP TABLE replies")
    with caplog.at_level(logging.ERROR):
        assert store.get(b"1") is None
        assert store.get(b"1") is None
        store.put(b"1", YES)
    store.close()
    assert caplog.text.count("the run goes on without the file") == 1
