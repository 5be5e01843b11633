# SPDX-License-Identifier: Apache-2.0
"""The page of a run: stands alone, warns first, escapes what it shows, and shows no picture of another question."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.run_folder import STEPS, answer_line, made, rows, write
from helpers.tags import Tags
from medix_verl.cli.main import main
from medix_verl.data.io.parquet import write_samples
from medix_verl.errors import DataError
from medix_verl.report.run.content import judge_said, read_run
from medix_verl.report.run.dumps import Answer
from medix_verl.report.run.files import find_run
from medix_verl.report.run.page import render_run, settings_of, write_run_page
from medix_verl.types import Sample


def page_of(folder: Path, *data: Path) -> str:
    return render_run(read_run(find_run(folder), data))


def test_the_page_stands_alone_and_warns_first(tmp_path: Path) -> None:
    text = page_of(made(tmp_path / "run"), tmp_path / "data.parquet")
    tags = Tags(text).seen
    assert {tag for tag, _ in tags} & {"link", "iframe", "object", "embed", "form"} == set()
    sources = [given["src"] for tag, given in tags if tag == "img"]
    assert sources and all((source or "").startswith("data:image/jpeg;base64,") for source in sources)
    assert "http://" not in text and "https://" not in text and "@import" not in text and "url(" not in text
    policy = next(given["content"] for _, given in tags if given.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and "default-src 'none'" in policy and "script-src 'sha256-" in policy
    assert "1 answers of training have no score, in 1 steps, last 4." in text
    assert text.index("have no score, in") < text.index('id="curves"') < text.index('id="answers"')


def test_the_same_records_give_the_same_page(tmp_path: Path) -> None:
    folder = made(tmp_path / "run")
    assert page_of(folder, tmp_path / "data.parquet") == page_of(folder, tmp_path / "data.parquet")


def test_figures_are_of_the_records(tmp_path: Path) -> None:
    run = read_run(find_run(made(tmp_path / "run")), [tmp_path / "data.parquet"])
    assert run.training.answers == 48 and run.validation.answers == 20
    everything = dict(run.validations)["All"][0]
    assert everything.first is not None and everything.first.value == pytest.approx(0.2)
    assert everything.last is not None and everything.last.value == pytest.approx(0.5) and everything.unscored == 0
    assert everything.last.low < 0.5 < everything.last.high
    by_modality = {line.name: line.last.count for line in dict(run.validations)["By modality"] if line.last}
    assert by_modality == {"CT_SCAN": 4, "X_RAY": 4, "not known": 2}, "Same? is in two rows of two modalities"
    panels = {panel.title: panel for panel in run.panels}
    (known, *_rest) = panels["Share that needed no model"].series
    assert known.points[0] == (1.0, 0.25)
    assert {ends.name: ends.last for ends in run.ends}["acc"] == pytest.approx(0.2)


def test_a_fifth_term_stands_where_the_four_stand(tmp_path: Path) -> None:
    folder = made(tmp_path / "run")
    known = {"acc": 1.0, "judge": 1.0, "semantic": 0.5, "format": 1.0, "modality": 1.0}
    for step in range(1, STEPS + 1):
        lines = [
            {"uid": f"{step}-a_{n}_0", "id": f"row-{step % 10}", "data_source": "rad",
             "terms": {"brevity": 0.125 if n else None, "<b>odd": 0.5, **known}} for n in range(4)
        ]  # fmt: skip
        write(folder / "rollouts" / "parts" / f"{step}.jsonl", lines)
    entries = [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]
    for entry in entries[1:]:
        entry["data"] |= {f"medix/{name}/mean": 0.5 for name in ("brevity", "judge", "<b>odd")}
        entry["data"] |= {"medix/brevity/valid": 0.75, "medix/brevity/failed": 0.25}
    write(folder / "metrics.jsonl", entries)
    run = read_run(find_run(folder), [tmp_path / "data.parquet"])
    assert [ends.name for ends in run.ends][:5] == ["reward", "acc", "judge", "brevity", "<b>odd"]
    assert any("25.0% of the answers have no brevity term" in sign for sign in run.signs)
    text = render_run(run)
    assert "<td>brevity</td>" in text and "brevity 0.75" in text, "in the table and in the legend of a curve"
    shown = re.findall(r'<div class="terms">(.*?)</div>', text)
    assert any(line.endswith("<span>brevity 0.125</span><span>&lt;b&gt;odd 0.5</span>") for line in shown)
    assert any("<span>brevity –</span>" in line for line in shown) and "<b>odd" not in text


def test_a_picture_that_may_be_anothers_is_not_shown(tmp_path: Path) -> None:
    folder = made(tmp_path / "run")
    text = page_of(folder, tmp_path / "data.parquet")
    assert "no picture: 2 rows have this question and reference" in text
    lines = [
        {"uid": f"v{STEPS}-{n}_0_0", "id": f"row-{n}", "data_source": "rad", "modality_tag": "X_RAY"} for n in range(10)
    ]
    write(folder / "rollouts" / "parts" / f"val-{STEPS}.jsonl", lines)
    shown = dict(read_run(find_run(folder), [tmp_path / "data.parquet"]).shown)["Validation"]
    last = {item.answer.uid: item for item in shown if item.answer.step == STEPS}
    assert last[f"v{STEPS}-9_0_0"].pictures and last[f"v{STEPS}-9_0_0"].fitting == 1
    assert last[f"v{STEPS}-8_0_0"].pictures != last[f"v{STEPS}-9_0_0"].pictures


def test_a_text_of_a_record_is_never_code(tmp_path: Path) -> None:
    folder = made(tmp_path / "<b>run")
    bad = "<script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}"
    write(folder / "rollouts" / "1.jsonl", [{"input": bad, "output": bad, "gts": bad, "score": 1.0, "uid": bad}])
    (folder / "config.yaml").write_text(bad)
    metrics = folder / "metrics.jsonl"
    metrics.write_text(
        metrics.read_text() + json.dumps({"step": 13, "data": {f"val-core/{bad}/acc/mean@1": 0.5}}) + "\n"
    )
    write_samples([Sample("bad", "rad", bad, bad)], tmp_path / "bad.parquet")
    text = page_of(folder, tmp_path / "data.parquet", tmp_path / "bad.parquet")
    tags = Tags(text).seen
    assert sum(tag == "script" for tag, _ in tags) == 1 and not any("onerror" in given for _, given in tags)
    assert "&lt;script&gt;alert(1)" in text and "{{ 7 * 7 }}" in text and "<b>run" not in text


def test_credentialed_answers_are_not_on_the_page(tmp_path: Path) -> None:
    text = page_of(made(tmp_path / "run", "mimic_cxr"), tmp_path / "data.parquet")
    assert "Question 1?" not in text and "<img" not in text and "answer 1" not in text
    assert "chosen answers are credentialed, or may be" in text


def test_a_run_in_progress_without_answers(tmp_path: Path) -> None:
    write(tmp_path / "metrics.jsonl", [{"step": 1, "data": {"timing_s/step": 1.0, "critic/score/mean": 0.5}}])
    text = page_of(tmp_path)
    assert "Only 1 steps" in text and "No validation answers" in text and "None to show." in text
    assert "None in the run" in text and "trainer.rollout_data_dir" in text


def test_answers_alone_are_a_report_too(tmp_path: Path) -> None:
    write(tmp_path / "rollouts" / "1.jsonl", [answer_line(rows()[0], "a_0_0", True)])
    write_samples(rows(), tmp_path / "data.parquet")
    text = page_of(tmp_path, tmp_path / "data.parquet")
    assert "no trained step recorded" in text and "No trained step was recorded." in text and "high score (1)" in text


@pytest.mark.parametrize(
    ("output", "acc", "judge", "said"),
    [
        ("<answer>Left  Lung.</answer>", 1.0, 1.0, "YES, not asked: the reference's own words"),
        ("<answer>on the left</answer>", 1.0, 1.0, "YES"),
        ("<answer>on the left</answer>", 1.0, 0.83, "YES, P(YES) 0.83"),
        ("<answer>right lung</answer>", 0.0, 0.0, "NO"),
        ("no block", 0.0, 0.0, "NO, not asked: there is no answer"),
        ("<answer>right lung</answer>", None, None, "none"),
    ],
)
def test_what_the_judge_said(output: str, acc: float | None, judge: float | None, said: str) -> None:
    assert judge_said(Answer(1, "u", "q", output, "left lung", 1.0, {"acc": acc, "judge": judge})) == said


def test_what_another_term_decides_is_not_the_judges_word() -> None:
    answer = Answer(1, "u", "q", "<answer>x</answer>", "left lung", 0.1, {"acc": 1.0, "rubric": 1.0})
    assert judge_said(answer) is None
    assert judge_said(replace(answer, terms={"acc": 1.0, "judge": None, "rubric": 1.0})) == "none"


def test_who_was_not_asked() -> None:
    stopped = judge_said(Answer(1, "u", "q", "<answer>...</answer>", "left lung", 0.1, {"acc": 0.0, "judge": 0.0}))
    assert stopped is not None and stopped.startswith("NO, not asked: ")
    assert judge_said(Answer(1, "u", "q", "<answer>x</answer>", "left lung", 0.1, {})) is None
    assert judge_said(Answer(1, "u", "q", "<answer>x</answer>", "", 0.1, {"acc": 0.0})) == "NO"


def test_settings_lose_what_looks_like_a_key(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "api_key: SECRET-1\nmax_token_len: 99\nurl: http://me:SECRET-2@host/v1\nhf_token = SECRET-3\n" + "x" * 70_000
    )
    text = settings_of(path)
    assert "SECRET" not in text and "max_token_len: 99" in text and "host/v1" in text
    assert text.endswith("… cut") and len(text) < 61_000


def test_no_page_holds_the_value_of_a_secret_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it stands: here in an answer, which a served model may have written."""
    folder = made(tmp_path / "run")
    for path in folder.glob("*/*.jsonl"):
        path.write_text(path.read_text().replace("<think>t<", "<think>my key is Zq8-very-long-value-77<"))
    assert "Zq8-very-long-value-77" in page_of(folder, tmp_path / "data.parquet")
    monkeypatch.setenv("JUDGE_API_KEY", "Zq8-very-long-value-77")
    text = page_of(folder, tmp_path / "data.parquet")
    assert ("Zq8-very-long-value-77" not in text and "my key is &lt;secret&gt;" in text) or "my key is <secret>" in text


def test_an_unfinished_page_never_replaces_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "r.html"
    out.write_text("the old page")
    with pytest.raises(DataError, match="nowhere.parquet"):
        write_run_page(find_run(made(tmp_path / "run")), out, [tmp_path / "nowhere.parquet"])
    assert out.read_text() == "the old page" and not list(tmp_path.glob(".*partial"))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "r.html"
    words = ["report", str(made(tmp_path / "run")), "--data", str(tmp_path / "data.parquet"), "--out", str(out)]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert re.match(r".*r\.html: 12 steps, 68 answers, 0\.\d MB", shown.out) and "warning: 1 answers of" in shown.err


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--compare", "x"], "is not an evaluation, which --compare does not fit; leave it out"),
        (["--labels", "x", "--other-judge", "y"], "which --other-judge, --labels do not fit"),
        (["--data", "nowhere.parquet"], "nowhere.parquet"),
        (["--metrics", "nowhere.jsonl"], "there is no nowhere.jsonl"),
    ],
)
def test_flags_that_do_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], match: str
) -> None:
    assert main(["report", str(made(tmp_path / "run")), "--out", str(tmp_path / "r.html"), *words]) == 1
    assert match in capsys.readouterr().err


def test_tensorboard_is_read_where_there_is_no_metrics_file(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(tmp_path / "tensorboard"))
    for step in range(1, 12):
        for key, value in (("critic/score/mean", step / 10), ("timing_s/step", 2.0)):
            writer.add_event(Event(step=step, summary=Summary(value=[Summary.Value(tag=key, simple_value=value)])))
    writer.close()
    metrics = read_run(find_run(tmp_path)).metrics
    assert metrics.training == list(range(1, 12)) and metrics.values("critic/score/mean")[-1] == pytest.approx(1.1)


def test_what_the_record_withholds_the_page_withholds(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "a:\n  AWS_SECRET_ACCESS_KEY: one1\n  secret_key: two2\n  h: {Authorization: Bearer three3333}\n  n: 4\n"
    )
    text = settings_of(path)
    assert "n: 4" in text and [word for word in ("one1", "two2", "three3333") if word in text] == []
