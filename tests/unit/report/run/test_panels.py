# SPDX-License-Identifier: Apache-2.0
"""Panels: the right metric under each name, shares of what was asked, and no point where nothing was recorded."""

from medix_verl.report.charts import Panel
from medix_verl.report.run.dumps import Dumps, StepAnswers
from medix_verl.report.run.files import Metrics
from medix_verl.report.run.panels import panels_of


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


def test_a_panel_of_judges_has_its_agreement_and_a_single_judge_has_none() -> None:
    title = "Panel of judges: share of questions"
    assert title not in panels({"medix/judge/asked": 3.0})
    shares = {"medix/judge/agreement": 0.75, "medix/judge/member_1_dissent": 0.1, "medix/judge/member_2_yes": 0.5}
    panel = panels({**shares, "medix/judge/member_2_dissent": 0.2})[title]
    assert [(series.name, series.points) for series in panel.series] == [
        ("all agree", ((1.0, 0.75),)),
        ("judge 1 outvoted", ((1.0, 0.1),)),
        ("judge 2 outvoted", ((1.0, 0.2),)),
    ]


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


def test_every_term_of_the_log_has_its_curves() -> None:
    names = ("brevity", "format", "modality", "judge")
    step = {f"medix/{name}/{figure}": 0.5 for name in names for figure in ("mean", "valid", "std", "failed")}
    other = {
        "medix/val/other/mean": 0.1,
        "medix/judge/p50_s": 0.2,
        "medix/reward/busy_s": 1.0,
        "medix/score/valid": 1.0,
    }
    found = panels({**step, **other, "medix/acc/mean": 0.5, "medix/acc/valid": 1.0})
    shown = {title: [series.name for series in found[title].series] for title in found}
    assert shown["Terms of the reward"] == ["judge", "format", "modality", "brevity"]
    assert shown["Share of answers that a term holds for"] == ["score", "judge", "modality", "brevity"]
    assert points(found["Terms of the reward"], "brevity") == [(1.0, 0.5)]
    assert not [title for title in found if "other" in shown[title] or "val" in shown[title]]


def test_many_terms_take_another_panel_and_not_the_last_ones_place() -> None:
    found = panels({f"medix/t{n}/{figure}": 0.1 * n for n in range(8) for figure in ("mean", "valid")})
    assert [series.name for series in found["Terms of the reward (1)"].series] == ["t0", "t1", "t2", "t3", "t4", "t5"]
    assert [series.name for series in found["Terms of the reward (2)"].series] == ["t6", "t7"]
    assert "Terms of the reward" not in found


def test_a_run_without_terms_names_the_panels_that_it_lacks() -> None:
    found = panels({"critic/score/mean": 0.5})
    assert found["Terms of the reward"].series == () == found["Share of answers that a term holds for"].series
