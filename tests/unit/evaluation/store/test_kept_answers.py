# SPDX-License-Identifier: Apache-2.0
"""Kept answers: what was put outlives a kill, and what an earlier version kept in a file of its own is taken over."""

import hashlib
import json
from pathlib import Path

from medix_verl.evaluation.assemble import open_replies
from medix_verl.judge.reply import Reply

KEYS = {name: hashlib.sha256(name.encode()) for name in "abc"}


def test_what_was_put_is_there_after_opening_again(tmp_path: Path) -> None:
    text = Reply(json.dumps({"text": "é\n\ud800", "latency_s": 1.5}))
    open_replies(tmp_path / "deep").put(b"key", text)
    # Not closed: a killed process closes nothing.
    again = open_replies(tmp_path / "deep")
    again.put(b"key", Reply("another"))
    assert again.get(b"key") == text and again.get(b"other") is None


def test_answers_of_an_earlier_version_are_taken_over_and_a_torn_or_damaged_line_is_not(tmp_path: Path) -> None:
    old = tmp_path / "cache" / "answers.jsonl"
    old.parent.mkdir()
    lines = [json.dumps({"key": key.hexdigest(), "value": {"text": name}}) for name, key in KEYS.items()]
    twice = lines[0].replace('"text": "a"', '"text": "later"')
    old.write_text("\n".join([lines[0], "nonsense", twice, lines[1], lines[2][:-1]]))
    for _ in range(2):
        replies = open_replies(tmp_path)
        found = [replies.get(key.digest()) for key in KEYS.values()]
        assert found == [Reply('{"text": "a"}'), Reply('{"text": "b"}'), None]
        replies.close()
    assert not old.exists()
