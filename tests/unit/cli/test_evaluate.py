# SPDX-License-Identifier: Apache-2.0
"""The command's words: what is refused before anything heavy is imported, the list of tasks, local copies by name."""

import argparse
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from medix_verl.cli.evaluate import evaluate
from medix_verl.cli.evaluate.sources import read_sources
from medix_verl.cli.main import main
from medix_verl.errors import ConfigError
from medix_verl.evaluation.grading.judge_settings import check_judging
from medix_verl.evaluation.settings import as_flags


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says; without the extra `eval`, words that are in order are refused for that."""
    assert main(["evaluate", *words]) == 1
    error = capsys.readouterr().err
    if find_spec("inspect_ai") is None and "pip install 'medix-verl[eval]'" in error:
        pytest.skip("inspect_ai is not installed")
    return error


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "no MODEL"),
        (["a", "b", "--tasks", "medqa"], "2 words where one MODEL goes"),
        (["owner/name"], "got no --tasks"),
        (["owner/name", "--tasks", "slak_vqa"], "did you mean 'slake_vqa'"),
        (["owner/name", "--tasks", "medqa", "--without", "medqa"], "--without leaves no task"),
        (["owner/name", "--tasks", "medqa", "--limit", "0"], "--limit is 0"),
        (["compare", "a"], "compare got 1 folders"),
        (["export", "a"], "needs a folder"),
    ],
)
def test_wrong_words_are_one_line(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    if words[:1] == ["export"]:
        pytest.importorskip("medix_verl.evaluation.reports.medix_layout")
    error = refused(words, capsys)
    assert expected in error and len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run"], "no MODEL"),
        (["run", "owner/name"], "got no --tasks"),
        (["run", "owner/name", "--tasks", "medqa", "--limit", "0"], "--limit is 0"),
        (["run", "owner/name", "--tasks", "medqa", "--few-shot", "-1"], "--few-shot is -1; set it to an integer"),
        (["run", "owner/name", "--tasks", "medqa", "--connections", "0"], "--connections is 0"),
        (["run", "owner/name", "--tasks", "gone.yaml"], "gone.yaml: there is no such file"),
        (["run", "owner/name", "--tasks", "slake", "--without", "slake_vqa"], "--without leaves no task"),
        (["rejudge", "a", "b"], "rejudge got 2 folders; type: medix-verl evaluate rejudge DIR"),
        # Spelled as before there were subcommands.
        (["--tasks", "medqa", "--limit", "0", "--", "owner/name"], "--limit is 0"),
        (["--out", "x", "compare", "a"], "compare got 1 folders"),
        (["--judge", "rule", "rejudge"], "rejudge got 0 folders"),
        (["owner/name", "--debug"], "got no --tasks"),
    ],
)
def test_subcommands_and_the_older_spelling(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in refused(words, capsys).splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [["compare", "a", "b", "--judge", "openai"], ["export", "a", "--protocol", "robust"], ["list", "--seed", "1"]],
)
def test_a_subcommand_has_its_own_flags_only(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", *words])
    assert f"unrecognized arguments: {words[-2]}" in capsys.readouterr().err


def test_help_names_the_subcommands(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["-h"]):
        with pytest.raises(SystemExit, match="0"):
            main(["evaluate", *words])
        shown = capsys.readouterr().out
        assert [name for name in evaluate.SUBCOMMANDS if f"    {name}" not in shown] == []
    assert main(["evaluate", "--debug", "list"]) == 0


def test_the_list_has_every_column_and_loads_nothing() -> None:
    # In a process of its own: other tests import inspect_ai into this one.
    program = "import sys; from medix_verl.cli.main import main; code = main(['evaluate', '--list'])"
    program += "; sys.exit(code or 'inspect_ai' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    assert shown[0].split() == ["task", "size", "type", "answers", "metric", "licence", "credential"]
    assert any("mimic_cxr_report_generation" in line and "physionet.org" in line for line in shown)
    assert shown[-1].startswith("30 tasks")


def test_only_the_whole_flag_lets_credentialed_data_out(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "owner/name", "--tasks", "medqa", "--allow-remote"])
    assert "--allow-remote" in capsys.readouterr().err


def test_e1_no_flag_reads_the_word_false_as_true(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "owner/name", "--tasks", "medqa", "--resume", "false"])
    assert "false" in capsys.readouterr().err


@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_e2_every_word_of_the_servers_command_is_a_text() -> None:
    from medix_verl.evaluation.models.server import ServerSpec, serve_command

    words = serve_command(ServerSpec("owner/name"), 8005)
    assert all(isinstance(word, str) for word in words)
    assert words[words.index("--host") + 1] == "127.0.0.1" and words[words.index("--port") + 1] == "8005"


def test_local_copies_by_pair_file_and_folder(tmp_path: Path) -> None:
    (tmp_path / "all" / "medqa").mkdir(parents=True)
    (tmp_path / "all" / "other").mkdir()
    (tmp_path / "s.json").write_text('{"slake_vqa": "data/slake"}')
    found = read_sources([f"rad_vqa={tmp_path}/rad", str(tmp_path / "s.json"), str(tmp_path / "all")])
    assert found == {
        "rad_vqa": tmp_path / "rad",
        "slake_vqa": Path("data/slake"),
        "medqa": tmp_path / "all" / "medqa",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not JSON"), ('{"medqa": 1}', "is not an object of texts"), ('{"medqua": "x"}', "'medqa'")],
)
def test_a_wrong_file_of_copies_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_sources([str(tmp_path / "s.json")])


def test_a_word_that_is_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="no such file or folder"):
        read_sources(["nowhere"])


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    return parser.parse_args(
        ["run", "m", "--judge", "openai", "--judge-url", "http://x/v1", "--judge-model", "q", *words]
    )


def test_swap_belongs_to_the_robust_protocol() -> None:
    off = parsed("--protocol", "robust", "--no-judge-swap")
    assert not evaluate.protocol_of(off).swap and "swap" not in evaluate.judge_settings(off)
    assert evaluate.protocol_of(parsed("--protocol", "robust")).swap


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            ["--judge-prompt", "reference"],
            "--judge-prompt was given and would do nothing: protocol published has its own",
        ),
        (["--no-judge-guard"], "--judge-guard was given and would do nothing"),
        (["--judge-swap"], "--judge-swap was given and would do nothing: protocol published"),
        (["--protocol", "robust", "--judge-soft"], "--judge-soft was given and would do nothing: protocol robust"),
    ],
)
def test_a_judge_flag_that_would_do_nothing_is_refused(more: list[str], expected: str) -> None:
    args = parsed(*more)
    with as_flags(), pytest.raises(ConfigError, match=expected):
        check_judging(evaluate.judge_settings(args), evaluate.protocol_of(args))
