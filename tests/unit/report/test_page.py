# SPDX-License-Identifier: Apache-2.0
"""The page: stands alone, escapes what it shows, warns first, and shows nothing of credentialed tasks."""

import json
import re
from pathlib import Path

import pytest

from helpers.evaluation_folder import MANIFEST, PICTURE, made, record
from helpers.tags import Tags
from medix_verl.cli.main import main
from medix_verl.evaluation.audit.leakage import Leakage
from medix_verl.evaluation.audit.verdicts import disagreement
from medix_verl.evaluation.stats.paired import compare
from medix_verl.evaluation.store.read import read_evaluation
from medix_verl.evaluation.store.records import record_path, write_records
from medix_verl.evaluation.tasks.table import select
from medix_verl.report.content import Beside, build, warnings
from medix_verl.report.page import render, write_page
from medix_verl.report.samples import choose, outcome_of, show


def test_the_page_stands_alone(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    write_page(made(tmp_path / "e"), out, samples=6)
    text = out.read_text(encoding="utf-8")
    tags = Tags(text).seen
    assert {tag for tag, _ in tags} & {"link", "iframe", "object", "embed"} == set()
    sources = [given["src"] for _, given in tags if given.get("src")]
    assert sources and all(source is not None and source.startswith("data:image/jpeg;base64,") for source in sources)
    policy = next(given["content"] for _, given in tags if given.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and "default-src 'none'" in policy and "script-src 'sha256-" in policy
    assert "http://" not in text and "@import" not in text and "url(" not in text
    assert text.index("Before you read a figure") < text.index('id="table"')
    assert "MODEL-X" in text and "JUDGE-Y, protocol published" in text and "73.6" in text


def test_the_same_records_give_the_same_page(tmp_path: Path) -> None:
    folder = made(tmp_path / "e")
    pages = [render(build(read_evaluation(folder)), samples=5) for _ in range(2)]
    assert pages[0] == pages[1]


def test_nothing_of_a_credentialed_task_but_its_figures(tmp_path: Path) -> None:
    text = render(build(read_evaluation(made(tmp_path / "e"))), samples=100)
    assert "SECRET" not in text and "mimic_cxr_report_generation" in text and "60.0 ~[" in text
    assert text.count("no text and no picture of it is on this page") == 1
    assert 'alt="picture 1 of mimic' not in text and 'alt="picture 1 of rad_vqa' in text


def test_facets_axes_and_report_metrics(tmp_path: Path) -> None:
    folder = made(tmp_path / "e")
    rows = [
        record("medqa", n, 1.0, facets={"region": ["Lung", "Brain <b>"][n % 2]}, reference="yes", answer="Yes.")
        for n in range(80)
    ]
    write_records(record_path(folder, "medqa"), rows)
    given = {"answer_type": "rubric", "facets": {"theme": "hedging"}, "metrics": {"axis:accuracy": 0.25}}
    write_records(record_path(folder, "healthbench"), [record("healthbench", n, 0.5, **given) for n in range(80)])
    secret = {"answer_type": "report", "facets": {"region": "SECRET"}, "metrics": {"rouge_l": 0.5}}
    rows = [record("mimic_cxr_report_generation", n, 0.6, **secret) for n in range(80)]
    write_records(record_path(folder, "mimic_cxr_report_generation"), rows)
    text = render(build(read_evaluation(folder)), samples=0)
    assert "<h3>By body region</h3>" in text and "<td>Brain &lt;b&gt;</td>" in text and "<h3>By theme</h3>" in text
    assert re.search(r"<td>accuracy</td><td class=.number.[^>]*>25.0 ~\[", text)
    assert re.search(r"<td>rouge_l</td><td class=.number.[^>]*>50.0 ~\[", text) and "SECRET" not in text
    assert "Yes in 100.0% ~[" in text


def test_a_text_of_a_record_is_never_code(tmp_path: Path) -> None:
    folder = made(tmp_path / "e", model="<b>bold</b>")
    bad = "<script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}"
    rows = [
        record("medqa", n, 0.0, question=bad, reference=bad, response=bad, reason=bad, answer=bad) for n in range(9)
    ]
    write_records(record_path(folder, "medqa"), rows)
    text = render(build(read_evaluation(folder)))
    tags = Tags(text).seen
    assert sum(tag == "script" for tag, _ in tags) == 1 and not any("onerror" in given for _, given in tags)
    assert "&lt;script&gt;alert(1)" in text and "{{ 7 * 7 }}" in text and "<b>bold" not in text


def test_warnings_come_from_the_numbers(tmp_path: Path) -> None:
    folder = made(tmp_path / "e", finished=False, failed={"pmc_vqa": "no source"}, settings={"limit": 80})
    found = warnings(build(read_evaluation(folder)))
    assert found[:3] == [
        "This evaluation did not finish: figures are of the part that was done.",
        "pmc_vqa has no figure: no source",
        "Only 80 questions of each task were asked: these are not figures of the whole sets.",
    ]
    assert any(
        text.startswith("Fewer than 30 independent pictures, patients or questions: ")
        and "mimic_cxr_report_generation (20)" in text
        for text in found
    )
    survivors = [text for text in found if text.startswith("rad_vqa: ")]
    assert len(survivors) == 1
    assert re.fullmatch(r"rad_vqa: [5-9]\d% of the right answers are right with blank pictures too\.", survivors[0])
    assert "Nothing is known of leakage: give the training files with --training FILE.parquet." in found
    assert found[-1] == "The judge was compared with no clinician and with no other judge."


def test_refused_rows_and_missing_tasks_are_told(tmp_path: Path) -> None:
    done = {"medqa": {"questions": 40, "refused": {"no answer": 3, "no picture": 4}}}
    more = {"done": done, "asked": ["medqa", "slake_vqa"], "tasks": ["medqa"], "conditions": ["real"]}
    content = build(read_evaluation(made(tmp_path, finished=False, failed={"medqa": "the model is down"}, **more)))
    message = warnings(content)
    assert "medqa: 7 rows of its source were refused (3 no answer, 4 no picture)." in message
    assert "medqa is not whole: the model is down" in message and "slake_vqa has no figure: not run yet" in message
    text = render(content)
    assert "refused rows</th>" in text and '<td class="number bad" data-label="refused rows">7</td>' in text


def test_the_rule_judge_gives_lower_bounds_for_free_text(tmp_path: Path) -> None:
    ruled = build(read_evaluation(made(tmp_path / "e", judge={"kind": "rule", "model": []})))
    closed = [line.task for line in ruled.lines if not line.lower_bound]
    assert "mimic_cxr_report_generation" in closed and "rad_vqa" not in closed
    text = render(ruled)
    assert "≥ marks a lower bound" in text and re.search(r'<td class="number"[^>]*>≥ \d', text)
    served = render(build(read_evaluation(made(tmp_path / "f"))))
    assert "≥" not in served


def test_a_task_without_any_score(tmp_path: Path) -> None:
    folder = made(tmp_path / "e", judge={"kind": "rule", "model": []}, protocol={"name": "robust"})
    write_records(record_path(folder, "medqa"), [record("medqa", n, None) for n in range(3)])
    content = build(read_evaluation(folder))
    found = warnings(content)
    assert "medqa has no score: 3 unscored, 0 errors of 3." in found
    assert any("fixed rules" in text for text in found) and any("protocol robust" in text for text in found)
    assert all(average.estimate is None for average in content.averages)
    assert "no score" in render(content)


def test_lost_questions_are_bounded(tmp_path: Path) -> None:
    folder = made(tmp_path / "e")
    rows = [record("medqa", n, None if n < 10 else 1.0) for n in range(100)]
    write_records(record_path(folder, "medqa"), rows)
    found = warnings(build(read_evaluation(folder)))
    assert "medqa: 10 of 100 questions have no score; the figure could be 90.0% to 100.0%." in found


def test_the_published_average_needs_all_17_tasks(tmp_path: Path) -> None:
    folder = tmp_path / "e"
    names = [spec.name for spec in select("published")]
    for place, name in enumerate(names):
        rows = [record(name, n, float(n % 10 < 6), answer_type="open") for n in range(40)]
        write_records(record_path(folder, name), rows if place else rows[:0])
    (folder / "eval.json").write_text(json.dumps(MANIFEST), encoding="utf-8")
    partly = build(read_evaluation(folder)).averages
    assert [average.estimate is None for average in partly] == [True, False, True, True] and partly[2].missing == (
        names[0],
    )
    write_records(record_path(folder, names[0]), [record(names[0], n, 1.0) for n in range(40)])
    whole = build(read_evaluation(folder)).averages[2]
    assert whole.estimate is not None and whole.estimate.value == pytest.approx((16 * 0.6 + 1) / 17)


def test_everything_beside(tmp_path: Path) -> None:
    folder = made(tmp_path / "e")
    evaluation, other = read_evaluation(folder), read_evaluation(made(tmp_path / "f", seed=1, model="MODEL-A"))
    share = build(evaluation).lines[0].summary.overall.estimate
    leak = Leakage("medqa", 90, {"same-question": 9}, share, share, share, None, exact_only=3)
    beside = Beside(compare(other, evaluation), disagreement(evaluation, other), None, {"train.parquet": [leak]})
    content = build(evaluation, beside)
    text = render(content)
    assert "Comparison: MODEL-X minus MODEL-A" in text and "Another judge: JUDGE-Y" in text
    assert "9 same-question" in text and "Looked for: The same question, the same picture, a copy of it" in text
    message = warnings(content)
    assert "medqa: 9 of 90 questions are in train.parquet." in message
    assert any(
        line.startswith("medqa: of 3 questions only exact copies of the pictures were looked") for line in message
    )


def test_samples_are_bounded_and_of_every_kind() -> None:
    rows = [record("medqa", n, 1.0 if n < 50 else 0.0) for n in range(60)] + [record("medqa", 60, None)]
    chosen = choose(rows, 10)
    assert len(chosen) == 10 and chosen == choose(rows, 10)
    kinds = [outcome_of(item) for item in chosen]
    assert kinds == ["wrong"] * kinds.count("wrong") + ["unscored"] + ["right"] * kinds.count("right")
    assert abs(kinds.count("wrong") - kinds.count("right")) <= 1
    assert outcome_of(record("medqa", 1, 0.4)) == "partly"


def test_pictures_are_small_and_may_be_missing(tmp_path: Path) -> None:
    folder = made(tmp_path / "e")
    there, gone = show(
        folder, [record("rad_vqa", n, 1.0, images=(name,)) for n, name in enumerate((PICTURE, "cd" * 16))], 5
    )
    assert len(there.pictures) == 1 and len(there.pictures[0]) < 20_000 and there.hidden_pictures == 0
    assert gone.pictures == () and gone.hidden_pictures == 1
    (escape,) = show(folder, [record("rad_vqa", 1, 1.0, images=("../eval",))], 5)
    assert escape.pictures == ()


def test_long_texts_are_cut(tmp_path: Path) -> None:
    folder = made(tmp_path / "e")
    write_records(record_path(folder, "medqa"), [record("medqa", 1, 1.0, response="y" * 100_000)])
    text = render(build(read_evaluation(folder)), samples=1)
    assert "… (100,000 characters)" in text and "y" * 2100 not in text


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "r.html"
    assert main(["report", str(made(tmp_path / "e")), "--out", str(out), "--samples", "3"]) == 0
    shown = capsys.readouterr()
    assert re.match(r".*r\.html: 3 tasks, 0\.\d MB", shown.out) and "warning: Nothing is known of leakage" in shown.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e", "r.html"]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--out", "r.pdf"], "give 0 or more, and a name ending in .html"),
        (["--out", "r.html", "--samples", "-1"], "got --samples -1"),
        (["--out", "r.html", "--key", "k.json"], "--key was given without --labels"),
        (["--out", "r.html", "--compare", "nowhere"], "nowhere is not an evaluation"),
    ],
)
def test_flags_that_do_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], match: str
) -> None:
    assert main(["report", str(made(tmp_path / "e")), *words]) == 1
    assert match in capsys.readouterr().err
