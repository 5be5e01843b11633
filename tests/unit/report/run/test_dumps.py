# SPDX-License-Identifier: Apache-2.0
"""Dumped answers: every one is counted, a bounded choice is kept, and a term that does not hold is none, never 0."""

import json
from collections import Counter
from pathlib import Path

import pytest

from medix_verl.report.run.dumps import read_dumps


def line(uid: str, output: str = "<answer>x</answer>", **more: object) -> dict[str, object]:
    return {"input": "q", "output": output, "gts": "x", "score": 1.0, "step": 1, "uid": uid, **more}


def write(path: Path, *entries: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return path


def test_a_step_in_figures(tmp_path: Path) -> None:
    scores = {"a": (1.0, 1.0, 1.0), "b": (0.0, 1.0, 0.0), "c": (0.5,)}
    rows = [line(f"{g}_{n}_0", score=score, gts=g) for g, found in scores.items() for n, score in enumerate(found)]
    rows += [line("d_0_0", "<answer>!?</answer>", gts="d"), line("d_1_0", "no block", gts="d", score=0.0)]
    write(tmp_path / "7.jsonl", *rows)
    (step,) = read_dumps(tmp_path).steps
    assert (step.step, step.answers, step.groups, step.collapsed) == (7, 9, 3, 1), "c has one answer and is no group"
    assert (step.common, step.common_share, step.references) == ("x", 7 / 9, 4)
    assert step.wordless == 2 / 9 and step.unparsed == 1 / 9 and step.reference_share == 3 / 9


@pytest.mark.parametrize(("prompt", "parsed"), [("assistant\n<think>\n", None), ("assistant\n", "a")])
def test_an_answer_is_read_behind_its_own_prompt(tmp_path: Path, prompt: str, parsed: str | None) -> None:
    line = {"input": prompt, "output": "so <answer>a</answer>", "gts": "a", "score": 0.0, "uid": "u_0_0"}
    (tmp_path / "1.jsonl").write_text(json.dumps(line) + "\n")
    dumps = read_dumps(tmp_path)
    assert dumps.kept[0].parsed == parsed
    assert dumps.steps[0].unparsed == float(parsed is None)


def test_a_term_whose_flag_is_0_is_none(tmp_path: Path) -> None:
    flags = {"judge_ok": 0.0, "semantic_ok": 1.0, "modality_applies": 0.0}
    write(tmp_path / "1.jsonl", line("a_0_0", acc=0.0, judge=0.0, semantic=0.0, format=1.0, modality=0.0, **flags))
    (answer,) = read_dumps(tmp_path).kept
    assert answer.terms == {"acc": None, "judge": None, "semantic": 0.0, "format": 1.0, "modality": None}
    assert answer.outcome == "no verdict"


def test_our_parts_are_joined_by_uid(tmp_path: Path) -> None:
    write(tmp_path / "1.jsonl", line("a_0_0", score=0.9), line("a_1_0", score=0.1))
    parts = {"id": "row-1", "data_source": "rad", "modality_tag": "X_RAY", "judge_ok": 1.0, "score": 77.0}
    write(tmp_path / "parts" / "1.jsonl", {"uid": "a_1_0", "acc": 0.0, **parts}, {"uid": "zz_0_0", "acc": 1.0, **parts})
    one, other = sorted(read_dumps(tmp_path, tmp_path / "parts").kept, key=lambda answer: answer.uid)
    assert (one.row_id, one.terms, one.outcome) == (None, {}, "high score")
    assert (other.row_id, other.source, other.modality, other.score) == ("row-1", "rad", "X_RAY", 0.1)
    assert other.terms == {"acc": 0.0} and other.outcome == "wrong"


FIVE = {"brevity": 0.25, "acc": 1.0, "judge": 1.0, "semantic": None, "format": 1.0, "modality": None}


def test_terms_of_the_parts_are_taken_as_they_are(tmp_path: Path) -> None:
    write(tmp_path / "1.jsonl", line("a_0_0"), line("a_1_0"), line("a_2_0"))
    flat = {"id": "r", "brevity": 0.0, "judge": 0.0, "judge_ok": 0.0, "acc": 0.0}
    parts = [
        {"uid": "a_0_0", **flat, "terms": FIVE},
        {"uid": "a_1_0", **flat, "terms": {"brevity": None, "judge": float("inf")}},
        {"uid": "a_2_0", **flat, "terms": "none"},
    ]
    write(tmp_path / "parts" / "1.jsonl", *parts)
    one, two, three = sorted(read_dumps(tmp_path, tmp_path / "parts").kept, key=lambda answer: answer.uid)
    assert list(one.terms.items()) == [*((name, FIVE[name]) for name in list(FIVE)[1:]), ("brevity", 0.25)]
    assert one.outcome == "right"
    assert two.terms == {"judge": None, "brevity": None}
    assert three.terms == {"acc": None, "judge": None}, "no mapping: the flat keys count"


def test_a_fifth_term_is_found_in_verls_own_dump(tmp_path: Path) -> None:
    flags = {"judge_ok": 1.0, "brevity_ok": 0.0, "brevity_applies": 1.0}
    write(tmp_path / "1.jsonl", line("a_0_0", brevity=0.0, acc=1.0, judge=1.0, **flags))
    write(tmp_path / "2.jsonl", line("b_0_0", brevity=0.5, acc=1.0, judge=1.0, **{**flags, "brevity_ok": 1.0}))
    two, one = sorted(read_dumps(tmp_path).kept, key=lambda answer: -answer.step)
    assert list(one.terms.items()) == [("acc", 1.0), ("judge", 1.0), ("brevity", None)]
    assert two.terms["brevity"] == 0.5


def test_validations_have_parts_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "v" / "1.jsonl", line("a_0_0"))
    write(tmp_path / "p" / "1.jsonl", {"uid": "a_0_0", "id": "of training"})
    write(tmp_path / "p" / "val-1.jsonl", {"uid": "a_0_0", "id": "of validation"})
    assert read_dumps(tmp_path / "v", tmp_path / "p", whole=True).kept[0].row_id == "of validation"


@pytest.mark.parametrize(
    "bad",
    [{"input": "q"}, {"output": None}, {"output": 3}, [1, 2], "text"],
    ids=["no output", "null", "number", "list", "str"],
)
def test_lines_without_an_answer_are_counted(tmp_path: Path, bad: object) -> None:
    path = write(tmp_path / "1.jsonl", line("a_0_0"), bad)
    path.write_text(path.read_text() + '{"input": "q", "outp')
    found = read_dumps(tmp_path)
    assert (found.answers, found.broken) == (1, 2)


def test_missing_columns_are_no_zeros(tmp_path: Path) -> None:
    write(tmp_path / "1.jsonl", {"output": "<answer>x</answer>"}, line("a_0_0", score=float("nan"), acc=None, gts=None))
    bare, odd = sorted(read_dumps(tmp_path).kept, key=lambda answer: answer.uid)
    assert (bare.score, bare.group, bare.reference, bare.outcome) == (None, None, "", "no verdict")
    assert (odd.score, odd.terms, odd.outcome) == (None, {"acc": None}, "no verdict")


def test_of_many_answers_a_seeded_and_even_choice_is_kept(tmp_path: Path) -> None:
    for step in range(1, 11):
        rows = [line(f"{step}-{n}_0_0", acc=float(n % 20 == 0), judge_ok=1.0) for n in range(100)]
        write(tmp_path / f"{step}.jsonl", *rows)
    found = read_dumps(tmp_path, keep=40)
    assert found.answers == 1000 and found.outcomes == {"right": 50, "wrong": 950}
    assert Counter(answer.outcome for answer in found.kept) == {"right": 20, "wrong": 20}
    assert len({answer.step for answer in found.kept}) > 5 and read_dumps(tmp_path, keep=40).kept == found.kept
    assert read_dumps(tmp_path, keep=0).kept == ()
    assert Counter(answer.outcome for answer in read_dumps(tmp_path, keep=120).kept) == {"right": 50, "wrong": 70}


def test_the_first_and_the_last_validation_are_kept_whole(tmp_path: Path) -> None:
    for step, count in ((20, 3), (3, 2), (100, 4)):
        write(tmp_path / f"{step}.jsonl", *(line(f"{step}-{n}_0_0") for n in range(count)))
    (tmp_path / "200.jsonl").write_text("")
    found = read_dumps(tmp_path, whole=True)
    assert [step.step for step in found.steps] == [3, 20, 100] and (len(found.first), len(found.last)) == (2, 4)
    assert read_dumps(None).answers == 0
