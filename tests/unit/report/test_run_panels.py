# SPDX-License-Identifier: Apache-2.0
"""Panels: the right metric under each name, shares of what was asked, and no point where nothing was recorded."""

from medix_verl.report.charts import Panel
from medix_verl.report.run_dumps import Dumps, StepAnswers
from medix_verl.report.run_files import Metrics
from medix_verl.report.run_panels import panels_of


def panels(*steps: dict[str, float], training: Dumps | None = None) -> dict[str, Panel]:
    found = {number: {"timing_s/step": 1.0, **data} for number, data in enumerate(steps, 1)}
    return {panel.title: panel for panel in panels_of(Metrics(found), training or Dumps())}


def points(panel: Panel, name: str) -> list[tuple[float, float]]:
    (series,) = (series for series in panel.series if series.name == name)
    return list(series.points)


def test_the_reward_is_the_plugins_where_it_is_there_and_verls_otherwise() -> None:
    both = {"medix/score/mean": 0.5, "critic/score/mean": 0.9}
    assert points(panels(both)["Reward and acc"], "reward") == [(1.0, 0.5)]
    assert points(panels({"critic/score/mean": 0.9})["Reward and acc"], "reward") == [(1.0, 0.9)]


def test_a_share_is_of_what_was_asked() -> None:
    asked = {"medix/judge/asked": 10.0, "medix/judge/cache_hits": 4.0, "medix/judge/equality": 1.0}
    coded = {"medix/encoder/asked": 5.0, "medix/encoder/cache_hits": 5.0}
    found = panels({**asked, **coded}, {"medix/judge/asked": 0.0, "medix/judge/cache_hits": 0.0})
    panel = found["Share that needed no model"]
    assert points(panel, "judge: known already") == [(1.0, 0.4)]
    assert points(panel, "judge: equal to the reference") == [(1.0, 0.1)]
    assert points(panel, "encoder: known already") == [(1.0, 0.5)], "two texts a pair"
    assert points(panel, "judge: stopped by a guard") == []


def test_failures_of_every_kind_have_a_curve() -> None:
    panel = panels({"medix/unscored": 2.0, "medix/judge/failures_timeout": 3.0, "medix/judge/failures_http_500": 1.0})
    found = {series.name: series.points for series in panel["Answers without a score, failed requests"].series}
    assert found == {
        "without a score": ((1.0, 2.0),),
        "judge: http_500": ((1.0, 1.0),),
        "judge: timeout": ((1.0, 3.0),),
    }


def test_filtered_groups_and_groups_of_one_score() -> None:
    step = StepAnswers(1, 40, 8, 3, "x", 0.1, 9, 0.1, 0.0, 0.0)
    panel = panels({"training/filter_groups/evicted_samples": 5.0}, training=Dumps((step,)))
    found = panel["Groups filtered, or with one score throughout"]
    assert points(found, "filtered") == [(1.0, 5.0)] and points(found, "one score") == [(1.0, 3.0)]


def test_each_validation_has_its_data_source_and_is_marked() -> None:
    found = panels(
        {"val-core/rad/acc/mean@1": 0.2, "val-core/slake/acc/mean@4": 0.3, "val-core/rad/acc/best@4/mean": 0.9}
    )
    series = found["Validation acc"].series
    assert [(line.name, line.marks) for line in series] == [("rad mean@1", True), ("slake mean@4", True)]
