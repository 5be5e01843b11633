# SPDX-License-Identifier: Apache-2.0
"""The dispatcher: one line and the right exit status for every way to end, and no import before a command is chosen."""

import subprocess
import sys
import types
from collections.abc import Callable

import pytest

from medix_verl.cli.main import COMMANDS, Command, main
from medix_verl.errors import ConfigError, MedixError

COMMAND = {"fake": Command("fake_medix_command", "does what a test tells it")}


def install_command(monkeypatch: pytest.MonkeyPatch, run: Callable[..., int], style: str = "add_arguments") -> None:
    module = types.ModuleType("fake_medix_command", "A command made by a test.")
    module.run = run
    if style == "add_arguments":
        module.add_arguments = lambda parser: parser.add_argument("--times", type=int, default=1)
    else:
        module.add_parser = lambda subparsers: subparsers.add_parser("fake").add_argument("--times", type=int)
    monkeypatch.setitem(sys.modules, "fake_medix_command", module)


def raiser(error: BaseException) -> Callable[..., int]:
    def run(args: object) -> int:
        raise error

    return run


@pytest.mark.parametrize("style", ["add_arguments", "add_parser"])
def test_runs_the_chosen_command_and_returns_its_status(monkeypatch: pytest.MonkeyPatch, style: str) -> None:
    install_command(monkeypatch, lambda args: args.times + 4, style)
    assert main(["fake", "--times", "3"], COMMAND) == 7


@pytest.mark.parametrize("error", [ConfigError("--judge is 'x'; accepted: rule, openai"), MedixError("a\nb")])
def test_own_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: MedixError
) -> None:
    install_command(monkeypatch, raiser(error))
    assert main(["fake"], COMMAND) == 1
    assert capsys.readouterr().err == f"medix-verl: error: {' '.join(str(error).split())}\n"


def test_missing_file_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    install_command(monkeypatch, raiser(FileNotFoundError(2, "No such file or directory", "answers.jsonl")))
    assert main(["fake"], COMMAND) == 1
    assert capsys.readouterr().err == (
        "medix-verl: error: answers.jsonl: no such file or folder; see what there is: ls .\n"
    )


def test_full_disk_without_a_file_name_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install_command(monkeypatch, raiser(OSError(28, "No space left on device")))
    assert main(["fake"], COMMAND) == 1
    assert capsys.readouterr().err == (
        "medix-verl: error: the disk is full; free some space or give another place: df -h shows what is full\n"
    )


def test_interrupt_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    install_command(monkeypatch, raiser(KeyboardInterrupt()))
    assert main(["fake"], COMMAND) == 130
    assert capsys.readouterr().err == "medix-verl: error: interrupted\n"


def test_unexpected_error_names_its_type_and_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install_command(monkeypatch, raiser(ZeroDivisionError("two\nlines")))
    assert main(["fake"], COMMAND) == 1
    assert capsys.readouterr().err == ("medix-verl: error: ZeroDivisionError: two lines; --debug shows the traceback\n")


@pytest.mark.parametrize("words", [["--debug", "fake"], ["fake", "--debug"]])
def test_debug_shows_the_traceback_on_either_side(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    install_command(monkeypatch, raiser(ZeroDivisionError("here")))
    assert main(words, COMMAND) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_unknown_command_is_2_and_suggests(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["docter"])
    assert "did you mean 'doctor'?" in capsys.readouterr().err


def test_wrong_option_is_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    install_command(monkeypatch, lambda args: 0)
    with pytest.raises(SystemExit, match="2"):
        main(["fake", "--nope"], COMMAND)
    assert "unrecognized arguments: --nope" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--debug"]])
def test_without_a_command_they_are_listed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(words)
    printed = capsys.readouterr().out
    assert [name for name in COMMANDS if f"\n    {name}" not in printed] == []


def test_help_lists_every_command_and_imports_none() -> None:
    program = (
        "import sys\nfrom medix_verl.cli.main import COMMANDS, main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {c.module for c in COMMANDS.values()} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for name, command in COMMANDS.items():
        assert name in done.stdout
        assert command.help.split(";")[0] in " ".join(done.stdout.split())


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.startswith("medix-verl ")


@pytest.mark.parametrize("lines", [1, 20_000])
def test_a_reader_that_ends_first_is_no_error(lines: int) -> None:
    """As `medix-verl recipe show medix | head`, with little and with much to print."""
    program = (
        "import sys, types\nfrom medix_verl.cli.main import Command, main\n"
        "fake = types.ModuleType('fake')\nfake.add_arguments = lambda parser: None\n"
        f"def run(args):\n    sys.stdin.read()\n    for _ in range({lines}):\n        print('y' * 20)\n    return 0\n"
        "fake.run = run\n"
        "sys.modules['fake'] = fake\nsys.exit(main(['fake'], {'fake': Command('fake', 'prints')}))\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None and child.stdin is not None and child.stderr is not None
    child.stdout.close()  # before a word is printed: the child waits for its input
    child.stdin.close()
    assert (child.wait(timeout=60), child.stderr.read()) == (141, "")
    child.stderr.close()


def test_a_pipe_of_ours_that_breaks_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As when a process that decodes pictures dies."""
    install_command(monkeypatch, raiser(BrokenPipeError(32, "Broken pipe")))
    assert main(["fake"], COMMAND) == 1
    assert capfd.readouterr().err == "medix-verl: error: Broken pipe; --debug shows the traceback\n"
