# SPDX-License-Identifier: Apache-2.0
"""Averages over the answers that a part applies to, and over no others; one line an answer, never the end of a run."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.embedding.encoder import EncoderStats
from medix_verl.judge.stats import JudgeStats
from medix_verl.report.run.dumps import read_dumps
from medix_verl.rewards.composite import shares_of
from medix_verl.rewards.keys import to_row, to_verl
from medix_verl.rewards.metrics import Tally, keep_parts, part_lines, part_metrics, service_metrics, terms_found
from medix_verl.rewards.spec import RewardSpec
from medix_verl.rewards.term import REDUCERS
from medix_verl.types import Failed, Failure, RewardBreakdown, TermKeys

PARTS = ("score", "acc", "judge", "semantic", "format", "modality")
KEYS = shares_of(RewardSpec()).keys
OWN = (*KEYS, TermKeys("brevity"))
GONE = Failed(Failure.INTERNAL, "gone")
EXTRA = {"score": 0.9, "acc": 1.0, "judge_ok": 1.0}
INFO = {"id": "row-ä", "modality": "X_RAY", "question": "long"}


def answer(
    score: float, acc: float, semantic: float | None = 1.0, modality: float | None = 1.0, form: float = 1.0
) -> dict[str, float]:
    terms = {"judge": acc, "semantic": semantic, "format": form, "modality": modality}
    return to_verl(RewardBreakdown(score, acc, terms, "x", keys=KEYS))


def test_no_answers_give_no_metrics() -> None:
    assert part_metrics([]) == {}


def test_means_and_deviations() -> None:
    metrics = part_metrics([answer(1.0, 1.0), answer(0.1, 0.0, semantic=0.0, modality=0.0)])
    assert metrics["medix/score/mean"] == pytest.approx(0.55)
    assert metrics["medix/score/std"] == pytest.approx(0.45)
    assert metrics["medix/acc/mean"] == metrics["medix/judge/mean"] == 0.5
    assert metrics["medix/format/std"] == 0.0
    assert {metrics[f"medix/{part}/valid"] for part in PARTS} == {1.0}


def test_a_text_only_answer_does_not_lower_the_modality() -> None:
    """verl's own average would count its 0."""
    metrics = part_metrics([answer(1.0, 1.0), answer(1.0, 1.0, modality=None), answer(1.0, 1.0, modality=None)])
    assert metrics["medix/modality/mean"] == 1.0
    assert metrics["medix/modality/valid"] == pytest.approx(1 / 3)
    assert metrics["medix/acc/valid"] == 1.0


def test_a_part_that_applies_nowhere_has_a_share_but_no_mean() -> None:
    metrics = part_metrics([answer(1.0, 1.0, semantic=None)])
    assert metrics["medix/semantic/valid"] == 0.0
    assert "medix/semantic/mean" not in metrics and "medix/semantic/std" not in metrics


def test_busy_seconds_are_summed_over_those_that_have_them() -> None:
    extras = [{**answer(1.0, 1.0), "reward_busy_s": 0.25}, {**answer(1.0, 1.0), "reward_busy_s": 0.5}]
    assert part_metrics(extras)["medix/reward/busy_s"] == 0.75
    assert part_metrics([*extras, answer(1.0, 1.0)])["medix/reward/busy_s"] == 0.75
    assert "medix/reward/busy_s" not in part_metrics([answer(1.0, 1.0)])


def test_the_share_of_answers_behind_an_open_prompt() -> None:
    rows = [{**answer(1.0, 1.0), "thinking_open": value} for value in (1.0, 1.0, 0.0, 0.0)]
    assert part_metrics(rows)["medix/thinking/open"] == 0.5
    assert "medix/thinking/open" not in part_metrics([answer(1.0, 1.0)])
    assert "thinking" not in terms_found(part_metrics(rows))


def test_the_services_numbers_carry_their_names() -> None:
    found = service_metrics({"calls": 3.0, "p95_s": 0.5}, {"embedded": 7}, "medix/val")
    assert found == {"medix/val/judge/calls": 3.0, "medix/val/judge/p95_s": 0.5, "medix/val/encoder/embedded": 7.0}
    assert service_metrics({}, {}) == {}


def test_no_name_changes_verls_reducer() -> None:
    assert service_metrics({"time_max_s": 1.0, "total": 2.0}, {"calls": 1.0}) == {"medix/encoder/calls": 1.0}
    named = [
        *JudgeStats(failures={"timeout": 1}).flat(),
        *EncoderStats.__dataclass_fields__,
        *part_metrics([answer(1, 1)]),
    ]
    assert [name for name in named if any(word in name for word in REDUCERS)] == []


def test_validation_has_names_of_its_own() -> None:
    assert part_metrics([answer(1.0, 1.0)], "medix/val")["medix/val/acc/mean"] == 1.0


unit = st.floats(0, 1)


@given(st.lists(st.builds(answer, unit, st.sampled_from([0.0, 1.0]), st.none() | unit, st.none() | unit), min_size=1))
def test_every_metric_is_a_finite_number_between_its_bounds(extras: list[dict[str, float]]) -> None:
    metrics = part_metrics(extras)
    assert all(math.isfinite(value) and 0 <= value <= 1 for value in metrics.values())
    for part in PARTS:
        has_mean = f"medix/{part}/mean" in metrics
        assert has_mean is (metrics[f"medix/{part}/valid"] > 0)


def five(brevity: float | None, failed: tuple[str, ...] = (), **terms: float | None) -> dict[str, float]:
    """An answer with a term that is not built in."""
    given = {"judge": 1.0, "semantic": 0.5, "format": 1.0, "modality": None, "brevity": brevity, **terms}
    return to_verl(RewardBreakdown(0.8, given["judge"], given, "x", dict.fromkeys(failed, GONE), OWN))


def test_a_fifth_term_has_metrics_like_the_others() -> None:
    metrics = part_metrics([five(0.2), five(0.6), five(None), five(None, failed=("brevity",))])
    assert metrics["medix/brevity/mean"] == pytest.approx(0.4) and metrics["medix/brevity/std"] == pytest.approx(0.2)
    assert metrics["medix/brevity/valid"] == 0.5 and metrics["medix/brevity/failed"] == 0.25
    assert metrics["medix/judge/failed"] == metrics["medix/semantic/failed"] == 0.0
    assert "medix/format/failed" not in metrics and "medix/modality/failed" not in metrics, "they cannot fail"


def test_the_same_metrics_come_from_the_rows_of_score() -> None:
    terms = {"judge": None, "semantic": 0.5, "format": 1.0, "modality": None, "brevity": 0.5}
    rows = [
        to_row(RewardBreakdown(None, None, terms, "x", {"judge": GONE}, OWN)),
        to_row(RewardBreakdown(0.5, 1.0, {**terms, "judge": 1.0}, "x", keys=OWN)),
    ]
    metrics = part_metrics(rows)
    assert metrics["medix/score/valid"] == metrics["medix/acc/valid"] == metrics["medix/judge/valid"] == 0.5
    assert metrics["medix/score/mean"] == 0.5 and metrics["medix/brevity/mean"] == 0.5


def test_acc_is_known_where_the_term_that_decides_it_is() -> None:
    extras = [five(1.0), five(None, failed=("brevity",))]
    assert part_metrics(extras)["medix/acc/valid"] == 1.0
    assert part_metrics(extras, acc_term="brevity")["medix/acc/valid"] == 0.5
    tally = Tally("medix", "brevity")
    tally.add(extras, {}, {})
    assert tally.metrics()["medix/acc/valid"] == 0.5


def test_terms_are_found_in_the_names_of_metrics() -> None:
    message = [*service_metrics({"p50_s": 0.1, "calls": 3.0}, {"embedded": 1.0}), "medix/unscored", "critic/score/mean"]
    message += [*part_metrics([five(0.5)]), *part_metrics([{**five(0.5), "other": 0.1, "other_ok": 1.0}], "medix/val")]
    assert terms_found(message) == ["judge", "semantic", "format", "modality", "brevity"]
    assert terms_found(["medix/b/mean", "medix/a/valid", "medix/format/valid"]) == ["format", "b", "a"]


def test_a_line_names_the_terms_that_failed_or_do_not_apply() -> None:
    extra = five(None, failed=("semantic",), semantic=None)
    (line,) = part_lines(["a_0_0"], [extra], [INFO], ["rad"])
    message = json.loads(line)
    assert message["terms"] == {
        "acc": 1.0, "judge": 1.0, "semantic": None, "format": 1.0, "modality": None, "brevity": None,
    }  # fmt: skip
    assert {key: message[key] for key in extra} == extra
    (line,) = part_lines(["a_0_0"], [extra], [INFO], ["rad"], acc_term="semantic")
    assert json.loads(line)["terms"]["acc"] is None


def test_a_line_is_what_the_report_joins(tmp_path: Path) -> None:
    keep_parts(tmp_path, 3, False, part_lines(["a_0_0"], [EXTRA], [INFO], ["rad"]))
    answer = {"input": "q", "output": "<answer>x</answer>", "gts": "x", "score": 0.9, "uid": "a_0_0"}
    (tmp_path / "3.jsonl").write_text(json.dumps(answer) + "\n")
    (read,) = read_dumps(tmp_path, tmp_path / "parts").kept
    assert (read.row_id, read.source, read.modality, read.terms) == ("row-ä", "rad", "X_RAY", {"acc": 1.0})


def test_batches_of_a_validation_share_a_file(tmp_path: Path) -> None:
    for key in ("a_0_0", "b_0_0"):
        keep_parts(tmp_path, 5, True, part_lines([key], [EXTRA], [INFO], ["rad"]))
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["val-5.jsonl"]
    assert len((tmp_path / "parts" / "val-5.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_a_row_of_another_data_set_class_has_no_id() -> None:
    (line,) = part_lines(["a_0_0"], [EXTRA], [None], ["rad"])
    assert json.loads(line) == {
        "uid": "a_0_0",
        "id": None,
        "data_source": "rad",
        "modality_tag": None,
        **EXTRA,
        "terms": {"acc": 1.0},
    }


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        keep_parts(tmp_path / "file", 1, False, ["{}\n"])
    assert "the parts of 1 answers were not kept" in caplog.text and "another trainer.rollout_data_dir" in caplog.text
