# SPDX-License-Identifier: Apache-2.0
"""What the measured answers become: lines for `medix-verl score`, scores, averages. No model is asked here."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from helpers.wheels import scikit_image
from medix_verl.cli.scoring.score_input import read_lines
from medix_verl.demo.measure import average, describe, score_lines
from medix_verl.demo.models.warmup import target_text
from medix_verl.demo.questions.picture_rows import demo_samples
from medix_verl.errors import RunStoppedError

scikit_image()
ROWS = list(demo_samples("val", 20, seed=0))


def scored(decoding: str, kind: str, acc: float | None, modality: float | None = 1.0, row: str = "a") -> dict[str, Any]:
    terms = {"acc": acc, "score": acc, "format": 1.0, "modality": modality}
    return {"id": row, "decoding": decoding, "kind": kind, **terms}


class FakeScore:
    """Stands for the process of `medix-verl score`: scores every line with its number."""

    def __init__(self, returncode: int = 0, stderr: str = "") -> None:
        self.returncode, self.stderr = returncode, stderr
        self.words: list[str] = []

    def __call__(self, words: Sequence[str], **options: object) -> subprocess.CompletedProcess[str]:
        self.words = list(words)
        source, out = Path(words[words.index("score") + 1]), Path(words[words.index("--out") + 1])
        if self.returncode == 0:
            lines = source.read_text().splitlines()
            out.write_text("".join(json.dumps({"acc": number}) + "\n" for number, _ in enumerate(lines)))
        return subprocess.CompletedProcess(words, self.returncode, "", self.stderr)


def test_a_line_is_what_the_command_score_reads(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    lines = [describe(row, target_text(row, row.answer), "greedy") for row in ROWS]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for row, line in zip(ROWS, read_lines(path), strict=True):
        assert line.id == row.id and line.response == target_text(row, row.answer)
        assert line.reference.answer == row.answer and line.reference.modality == row.modality
        assert line.reference.synonyms == tuple(row.meta["synonyms"])
        assert line.reference.tolerance == row.meta.get("tolerance")


def test_scores_are_those_of_their_lines(tmp_path: Path) -> None:
    run = FakeScore()
    lines = [describe(row, "x", "sampled") for row in ROWS]
    rows = score_lines(lines, tmp_path / "answers.jsonl", "medix_cpu", run)
    assert [row["acc"] for row in rows] == list(range(len(ROWS)))
    assert [row["kind"] for row in rows] == [row.meta["kind"] for row in ROWS]
    assert run.words[1:4] == ["-m", "medix_verl", "score"] and run.words[run.words.index("--recipe") + 1] == "medix_cpu"


@pytest.mark.parametrize(("stderr", "cause"), [("a\nmedix-verl: error: b\n", "medix-verl: error: b"), ("", "nothing")])
def test_answers_that_cannot_be_scored_stop_the_demo(tmp_path: Path, stderr: str, cause: str) -> None:
    with pytest.raises(RunStoppedError, match=f"answers.jsonl could not be scored: .*{cause}"):
        score_lines([describe(ROWS[0], "x", "greedy")], tmp_path / "answers.jsonl", "medix_cpu", FakeScore(1, stderr))


def test_averages_are_taken_by_decoding_picture_and_kind() -> None:
    figures = average(
        [
            scored("greedy", "modality", 1.0),
            scored("greedy", "modality", 0.0, modality=0.0),
            scored("greedy", "organ", 1.0, modality=None),
            scored("sampled", "modality", 0.0),
            scored("sampled", "organ", None, modality=None),
        ]
    )
    assert figures["greedy/acc"] == pytest.approx(2 / 3) and figures["greedy/picture_acc"] == 0.5
    assert figures["greedy/modality"] == 0.5 and figures["greedy/format"] == 1.0
    assert figures["greedy/acc/modality"] == 0.5 and figures["greedy/acc/organ"] == 1.0
    assert figures["sampled/acc"] == 0.0, "an unscored answer is not a wrong one"
    assert math.isnan(figures["sampled/acc/organ"])


def test_accuracy_has_an_interval_in_which_the_samples_of_a_question_are_one_cluster() -> None:
    """Four equal samples of each of 40 questions are worth no more than one of each."""
    answers = [float(number % 2) for number in range(40)]
    once = average([scored("greedy", "organ", acc, None, str(number)) for number, acc in enumerate(answers)])
    four = average([scored("sampled", "organ", acc, None, str(n)) for n, acc in enumerate(answers) for _ in range(4)])
    assert once["greedy/acc_low"] == pytest.approx(0.352, abs=0.001)  # Wilson, 20 of 40
    assert once["greedy/acc_high"] == pytest.approx(0.648, abs=0.001)
    assert four["sampled/acc_low"] == pytest.approx(once["greedy/acc_low"], abs=0.01)
    assert "greedy/picture_acc_low" not in once, "no question had a picture"
    nothing = average([scored("greedy", "organ", None)])
    assert "greedy/acc_low" not in nothing and math.isnan(nothing["greedy/acc/organ"])


def test_every_term_of_the_scores_is_averaged() -> None:
    rows = [
        {**scored(decoding, "organ", 1.0), "brevity": value, "brevity_ok": int(value is not None)}
        for decoding in ("greedy", "sampled")
        for value in (0.2, 0.4, None)
    ]
    assert average(rows)["greedy/brevity"] == pytest.approx(0.3)
