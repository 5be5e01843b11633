# SPDX-License-Identifier: Apache-2.0
"""Reading a judge's reply: the closed set, and nothing that merely contains a verdict."""

import pytest
from medix_verl.judge.verdict import read_verdict

from medix_verl.errors import JudgeError


@pytest.mark.parametrize(
    ("reply", "right"),
    [("YES", True), ("no", False), (" Yes.\n", True), ("**NO**", False), ("**Yes.**", True), ("**YES**.", True)],
)
@pytest.mark.parametrize("structured", ["choice", "none"])
def test_plain(reply: str, right: bool, structured: str) -> None:
    assert read_verdict(reply, structured) is right


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "NOT YES",
        "EYES",
        "YES NO",
        "YES\nNO",
        "YES, because",
        "Y",
        "NO..",
        "**YES",
        "YES**",
        "NO!",
        "1",
        "YES" * 500,
    ],
)
def test_anything_else_is_no_verdict(reply: str) -> None:
    with pytest.raises(JudgeError, match="is no verdict: .*; accepted: exactly YES or NO"):
        read_verdict(reply)


@pytest.mark.parametrize(("reply", "right"), [('{"verdict": "YES"}', True), (' {"verdict":"no"}\n', False)])
def test_json(reply: str, right: bool) -> None:
    assert read_verdict(reply, "json_schema") is right


@pytest.mark.parametrize(
    "reply",
    [
        "YES",
        '"YES"',
        "{}",
        '{"verdict": true}',
        '{"answer": "YES"}',
        '{"verdict": "NO", "verdict": "YES"}',
        '{"verdict": "MAYBE"}',
        '[["verdict", "YES"]]',
        '{"verdict": "YES"',
        "[" * 190,
    ],
)
def test_json_that_is_no_verdict(reply: str) -> None:
    with pytest.raises(JudgeError, match="is no verdict"):
        read_verdict(reply, "json_schema")
