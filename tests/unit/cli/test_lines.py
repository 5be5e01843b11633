# SPDX-License-Identifier: Apache-2.0
"""The seconds of a silent wait: on a terminal, after a while, and gone at the end."""

import io
import sys
import threading
import time
import types

import pytest

from medix_verl.cli import lines
from medix_verl.cli.lines import EscapedOutput, escaped, say, waiting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    screen = Terminal()
    # Not sys.stderr: pytest puts its own there between a fixture and its test.
    monkeypatch.setattr(lines, "sys", types.SimpleNamespace(stderr=screen))
    monkeypatch.setattr(lines, "TICK_S", 0.02)
    monkeypatch.setenv("LINES", "40")  # tqdm hides a bar where it believes that there is no room
    monkeypatch.setenv("COLUMNS", "100")
    return screen


def wait_for(screen: Terminal, text: str) -> None:
    limit = time.monotonic() + 20
    while text not in screen.getvalue():
        assert time.monotonic() < limit, screen.getvalue()
        time.sleep(0.01)


def test_a_long_wait_counts_its_seconds_and_leaves_no_line(terminal: Terminal) -> None:
    with waiting("asking verl", patience_s=0.0):
        wait_for(terminal, "asking verl: 00:0")
        say("a line above it")
    assert "a line above it\n" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")
    assert terminal.getvalue().rsplit("\r", 2)[-2].strip() == ""
    assert not [thread for thread in threading.enumerate() if thread.name == "medix-waiting"]


def test_a_short_wait_shows_nothing(terminal: Terminal) -> None:
    with waiting("asking verl", patience_s=30.0):
        pass
    assert terminal.getvalue() == ""


def test_an_error_passes_through_and_the_line_goes(terminal: Terminal) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_later(terminal)
    assert terminal.getvalue().endswith("\r")
    assert not [thread for thread in threading.enumerate() if thread.name == "medix-waiting"]


def test_a_log_file_gets_nothing_that_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with waiting("asking verl", patience_s=0.0):
        time.sleep(0.05)
    assert screen.getvalue() == ""


def fail_later(screen: Terminal) -> None:
    with waiting("asking verl", patience_s=0.0):
        wait_for(screen, "asking verl")
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("r1\x1b]0;title\x07", "r1\\x1b]0;title\\x07"),
        ("a\rb\x9b2J", "a\\rb\\x9b2J"),
        ("gnp.\u202eexe\u2066", "gnp.\\u202eexe\\u2066"),
        ("\ud800\u2028", "\\ud800\\u2028"),
        ("one line\n\tand \u4e2d\u6587, \u00e9, e\u0301", "one line\n\tand \u4e2d\u6587, \u00e9, e\u0301"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(
    text: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert escaped(text) == shown and escaped(shown) == shown
    say(text)
    assert capsys.readouterr().err == f"{shown}\n"
    print(text, "x", file=EscapedOutput(sys.stdout))
    assert capsys.readouterr().out == f"{shown} x\n"
