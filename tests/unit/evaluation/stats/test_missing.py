# SPDX-License-Identifier: Apache-2.0
"""What questions without a score do to a figure: bounds, or wrong; never a mean over what was easy to score."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from medix_verl.cli.main import main
from medix_verl.errors import ConfigError, JudgeError
from medix_verl.evaluation.grading.judge_settings import judge_specs
from medix_verl.evaluation.grading.preflight import ask_judges
from medix_verl.evaluation.grading.spec import ProtocolSpec
from medix_verl.evaluation.reports.medix_layout import export_evaluation
from medix_verl.evaluation.reports.table import write_summary
from medix_verl.evaluation.stats.missing import (
    Counting,
    cause_of,
    counting_of,
    facts_of_counting,
    mean_bounds,
    summary_of,
)
from medix_verl.evaluation.store.manifest import write_manifest
from medix_verl.evaluation.store.read import read_evaluation
from medix_verl.evaluation.store.records import Record, record_path, write_records
from medix_verl.judge.mock import MockJudge, MockSpec
from medix_verl.report.content import build, warnings
from medix_verl.report.page import render

BOUNDS, WRONG = Counting(), Counting(errors="wrong")


def records(right: int, wrong: int, unscored: int, errors: int, task: str = "medqa") -> list[Record]:
    values = [1.0] * right + [0.0] * wrong + [None] * (unscored + errors)
    states = ["scored"] * (right + wrong) + ["unscored"] * unscored + ["error"] * errors
    return [
        Record(
            task, f"q{place}", f"q{place}", "Q?", "a", "r", "a", value, state, "" if value is not None else "HTTP 500"
        )
        for place, (value, state) in enumerate(zip(values, states, strict=True))
    ]


@pytest.mark.parametrize(
    ("found", "counting", "score", "ends"),
    [
        (records(12, 0, 8, 0), BOUNDS, None, (0.6, 1.0)),  # a judge that cannot be read: equality scored the right ones
        (records(6, 7, 0, 7), BOUNDS, None, (0.3, 0.65)),  # 7 of 20 lost to HTTP 500
        (records(12, 0, 8, 0), WRONG, 0.6, (0.6, 1.0)),
        (records(6, 7, 0, 7), WRONG, 0.3, (0.3, 0.65)),
        (records(49, 49, 1, 1), BOUNDS, 0.5, (0.49, 0.51)),  # 2 of 100 is what may be lost
        (records(49, 48, 1, 2), BOUNDS, None, (0.49, 0.52)),
        (records(6, 7, 0, 7), Counting(max_unscored=0.35), 6 / 13, (0.3, 0.65)),
        (records(0, 0, 3, 0), WRONG, 0.0, (0.0, 1.0)),
    ],
)
def test_the_figure_of_a_task(
    found: Sequence[Record], counting: Counting, score: float | None, ends: tuple[float, float]
) -> None:
    summary = summary_of("medqa", found, counting).overall
    assert (summary.estimate and summary.estimate.value) == (score if score is None else pytest.approx(score))
    assert (summary.worst, summary.best) == pytest.approx(ends) or counting.errors == "wrong"
    assert (summary.spread is None) == (score is None)
    states = [record.status for record in found]
    assert (summary.counts.scored, summary.counts.unscored, summary.counts.errors) == (
        states.count("scored"),
        states.count("unscored"),
        states.count("error"),
    )
    assert bool(cause_of(found, counting)) == (score is None)


def test_a_part_of_a_task_is_withheld_like_the_task() -> None:
    """All that was lost is of one kind: the task as a whole lost few, and this kind a third."""
    found = [*records(99, 98, 0, 0), *(r for r in records(1, 1, 1, 0, "medqa"))]
    mixed = [
        Record(
            **{**{s: getattr(r, s) for s in r.__slots__}, "id": f"r{n}", "answer_type": "closed" if n > 196 else "open"}
        )
        for n, r in enumerate(found)
    ]
    summary = summary_of("medqa", mixed, BOUNDS)
    assert summary.overall.estimate is not None and summary.by_answer_type["open"].estimate is not None
    assert summary.by_answer_type["closed"].estimate is None and summary.by_answer_type["closed"].best == pytest.approx(
        2 / 3
    )


def test_an_average_is_between_its_bounds_or_there_is_none() -> None:
    parts = [summary_of("medqa", found, BOUNDS).overall for found in (records(12, 0, 8, 0), records(5, 5, 0, 0))]
    assert mean_bounds(parts) == pytest.approx((0.55, 0.75))
    assert mean_bounds([*parts, None]) is None and mean_bounds([]) is None


@pytest.mark.parametrize("given", [{"max_unscored": 1.5}, {"max_unscored": -0.1}, {"errors": "right"}])
def test_what_is_no_counting_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="counting.(max_unscored|errors)"):
        Counting(**given)  # type: ignore[arg-type]


def folder_of(path: Path, counting: Counting, found: Sequence[Record]) -> Path:
    manifest = {
        "format": 1,
        "model": "m",
        "judge": {"kind": "openai", "model": ["q"]},
        "protocol": {"name": "published"},
        "tasks": ["medqa"],
        "conditions": ["real"],
        "done": {"medqa": {"deviations": ["another split"], "cut_off": {"length": 1}}},
        "failed": {},
        "finished": counting.errors == "wrong",
        "counting": facts_of_counting(counting),
    }
    write_records(record_path(path, "medqa"), found)
    write_manifest(path, manifest)
    write_summary(path, manifest)
    assert counting_of(manifest) == counting and counting_of({}) == BOUNDS
    return path


def test_table_average_report_and_export_say_the_same(tmp_path: Path) -> None:
    found = records(12, 0, 8, 0)
    lost, wrong = folder_of(tmp_path / "a", BOUNDS, found), folder_of(tmp_path / "b", WRONG, found)
    assert "| medqa | 60.0% to 100.0% (bounds) | 12 | 8 | 0 |" in (lost / "table.md").read_text()
    assert "1 tasks** | 60.0% to 100.0% (bounds)" in (lost / "table.md").read_text()
    assert "| medqa | 60.0% ~[" in (wrong / "table.md").read_text()
    assert "counted as wrong" in (wrong / "table.md").read_text()
    page = render(build(read_evaluation(lost)))
    assert page.count("60.0 to 100.0 (bounds)") >= 2 and "100.0 ~[" not in page and "100.0 [" not in page
    assert any("8 of 20 questions have no score" in text for text in warnings(build(read_evaluation(lost))))
    assert any("they are counted as wrong" in text for text in warnings(build(read_evaluation(wrong))))
    assert "**medqa: another split**" in (lost / "table.md").read_text() and "medqa: another split." in page
    assert "**medqa: 1 of 20 answers" in (lost / "table.md").read_text()
    export_evaluation(read_evaluation(wrong), tmp_path / "out")
    assert "60.00%" in (tmp_path / "out" / "m" / "m_score.txt").read_text()
    with pytest.raises(ConfigError, match="did not finish"):
        export_evaluation(read_evaluation(lost), tmp_path / "out")


@pytest.mark.parametrize("protocol", ["published", "robust"])
def test_a_judge_that_cannot_be_read_is_refused_before_the_run(protocol: str) -> None:
    async def ask(**mock: object) -> tuple[str, int]:
        async with MockJudge(MockSpec(**mock)) as server:  # type: ignore[arg-type]
            specs = judge_specs({"kind": "openai", "url": server.url, "model": "m"})
            try:
                await asyncio.to_thread(ask_judges, specs, ProtocolSpec(protocol))
            except JudgeError as error:
                return str(error), server.stats()["requests"]
            return "", server.stats()["requests"]

    printed, _ = asyncio.run(ask(garbage_share=1.0))
    assert "cannot be read" in printed and "judge.max_tokens=2048" in printed and "'" in printed, printed
    if protocol == "robust":
        assert asyncio.run(ask()) == ("", 2)


def test_a_comparison_says_which_of_the_two_is_not_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = records(12, 0, 8, 0)
    folders = [folder_of(tmp_path / name, own, found) for name, own in (("a", BOUNDS), ("b", WRONG))]
    assert main(["evaluate", "compare", *map(str, folders)]) == 0
    printed = capsys.readouterr().err
    assert "A is not finished: what has a score in it may be no sample" in printed and "B is not" not in printed
