# SPDX-License-Identifier: Apache-2.0
"""`medix-verl demo`: what its options become, what it prints, what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medix_verl.cli.main import main
from medix_verl.demo import ablate as ablation
from medix_verl.demo import run as training
from medix_verl.demo.run import DemoSpec
from medix_verl.errors import RunStoppedError


class FakeDemo:
    """Stands for the run: keeps its arguments, writes a report, or fails."""

    def __init__(self) -> None:
        self.specs: list[DemoSpec] = []
        self.failure: Exception | None = None

    def __call__(self, spec: DemoSpec, say: Callable[[str], None]) -> dict[str, float]:
        self.specs.append(spec)
        say("training")
        if self.failure is not None:
            raise self.failure
        (spec.out / "report.md").write_text("# the report")
        return {}


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> FakeDemo:
    fake = FakeDemo()
    monkeypatch.setattr(training, "run_demo", fake)
    return fake


def test_the_defaults(
    demo: FakeDemo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    assert demo.specs == [DemoSpec(Path("outputs/demo"))]
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert printed.out == "# the report\n" and lines[0] == "training"
    # A training that left no metrics has no page, and that is said; it is no failure of the training.
    assert len(lines) == 2 and lines[1].startswith(
        "there is no page of this run: outputs/demo is neither an evaluation nor a"
    )


def test_every_option(demo: FakeDemo, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    words = ["--out", str(out), "--steps", "3", "--judge", "verl", "--seed", "7", "--lr", "0", "--time-limit", "60"]
    assert main(["demo", *words, "trainer.nnodes=1", "+x.y=2"]) == 0
    assert demo.specs == [DemoSpec(out, 3, "verl", 7, 0.0, 60.0, ("trainer.nnodes=1", "+x.y=2"))]


def test_another_policy_and_other_questions(demo: FakeDemo, tmp_path: Path) -> None:
    words = ["--policy", "smollm2", "--questions", "ontology", "--weights", "w", "--warmup-steps", "4", "--resume"]
    assert main(["demo", "--out", str(tmp_path), *words]) == 0
    made = {"kind": "smollm2", "questions": "ontology", "weights": Path("w"), "warmup_steps": 4, "resume": True}
    assert demo.specs == [DemoSpec(tmp_path, **made)]  # type: ignore[arg-type]
    assert (demo.specs[0].last_step, demo.specs[0].seconds) == (30, 6600.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--policy", "smollm2", "--steps", "0"], "--steps is 0, at least 1 is accepted: type --steps 30"),
        (["--warmup-steps", "0"], "--warmup-steps is 0, at least 1 is accepted: leave it out"),
        (["--attack", "--policy", "smollm2"], "--attack is for --policy tiny and --questions pictures"),
        (["--attack", "--questions", "ontology"], "--attack is for --policy tiny and --questions pictures"),
        (["--ablate", "--resume"], "--resume is for one training; --ablate and --attack go on by themselves"),
        (["--steps", "0"], "--steps is 0, at least 1 is accepted: type --steps 52"),
        (["--steps", "-3"], "--steps is -3, at least 1 is accepted"),
        (["--lr", "-1"], "--lr is -1, 0 to below 1 is accepted: leave it out, or type --lr 0 for a control"),
        (["--lr", "nan"], "--lr is nan"),
        (["--time-limit", "0"], "--time-limit is 0, more than 0 seconds are accepted: type --time-limit 1500"),
        (["--time-limit", "nan"], "--time-limit is nan"),
    ],
)
def test_numbers_that_make_no_sense(
    demo: FakeDemo, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["demo", "--out", str(tmp_path / "out"), *words]) == 1
    assert message in capsys.readouterr().err
    assert demo.specs == [] and not (tmp_path / "out").exists()


def test_the_ablation_prints_its_own_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo: FakeDemo, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[DemoSpec] = []

    def ablate(spec: DemoSpec, say: Callable[[str], None]) -> None:
        asked.append(spec)
        (spec.out / "ablation").mkdir()
        (spec.out / "ablation" / "ablation.md").write_text("# the table")

    monkeypatch.setattr(ablation, "run_ablation", ablate)
    assert main(["demo", "--out", str(tmp_path), "--steps", "3", "--ablate"]) == 0
    assert asked == [DemoSpec(tmp_path, 3)] and demo.specs == []
    assert capsys.readouterr().out == "# the table\n"


def test_another_judge_is_a_wrong_command_line(demo: FakeDemo, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["demo", "--judge", "openai"])
    assert "choose from" in capsys.readouterr().err


def test_a_failed_run_is_one_line_and_a_status(
    demo: FakeDemo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.failure = RunStoppedError("the training ended with code 1: no space; see train.log")
    assert main(["demo", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "medix-verl: error: the training ended with code 1: no space; see train.log"
    )


def test_ctrl_c(demo: FakeDemo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo.failure = KeyboardInterrupt()  # type: ignore[assignment]
    assert main(["demo", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err.endswith("medix-verl: error: interrupted\n")


def test_a_file_in_the_place_of_the_folder(demo: FakeDemo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").touch()
    assert main(["demo", "--out", str(tmp_path / "out")]) == 1
    assert "out: a file, where a folder is needed" in capsys.readouterr().err
