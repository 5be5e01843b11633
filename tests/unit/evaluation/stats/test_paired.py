# SPDX-License-Identifier: Apache-2.0
"""Two models on the same questions: what is compared, what is refused, and whether the p-values keep their promise."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest, kstest

from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.audit.agreement import Estimate
from medix_verl.evaluation.stats.paired import (
    compare,
    compare_pairs,
    holm,
    macro_difference,
    match,
    reconcile,
    sign_flip,
)
from medix_verl.evaluation.store.read import Evaluation
from medix_verl.evaluation.store.records import Record


def record(number: int, value: float | None, **more: object) -> Record:
    given = {"task": "t", "question": "q", "reference": "r", "response": "x", "answer": "x", "cluster": str(number)}
    status = "unscored" if value is None else "scored"
    return Record(**{**given, "id": f"{number:05d}", "value": value, "status": status, **more})  # type: ignore[arg-type]


def records(values: list[float | None], **more: object) -> list[Record]:
    return [record(number, value, **more) for number, value in enumerate(values)]


def evaluation(model: str, tasks: dict[str, list[Record]], **manifest: object) -> Evaluation:
    return Evaluation(Path(), {"model": model, **manifest}, {(task, "real"): found for task, found in tasks.items()})


def test_only_pairs_with_two_scores_are_compared() -> None:
    a = [record(0, 1.0), record(1, 0.0), record(2, None), record(3, 1.0)]
    b = [record(1, 1.0), record(2, 1.0), record(3, 1.0), record(4, 0.0)]
    found = compare_pairs(match("t", a, b))
    assert (found.pairs.only_a, found.pairs.only_b, found.pairs.unscored) == (("00000",), ("00004",), ("00002",))
    assert (found.mean_a, found.mean_b, found.better, found.worse) == (0.5, 1.0, 1, 0)
    assert found.difference is not None and (found.difference.value, found.difference.count) == (0.5, 2)


@pytest.mark.parametrize("part", ["question", "reference", "cluster"])
def test_one_id_with_two_meanings_is_refused(part: str) -> None:
    match_text = rf"t: id '00000' has two values of {part}: .* and 'other'; evaluate both models on the same version"
    with pytest.raises(DataError, match=match_text):
        match("t", records([1.0]), records([1.0], **{part: "other"}))


def test_nothing_to_compare() -> None:
    found = compare_pairs(match("t", records([None]), records([1.0])))
    assert found.difference is found.p_value is found.mean_a is None and found.clusters == 0
    both = evaluation("a", {"t": records([None])}), evaluation("b", {"t": records([1.0])})
    result = compare(*both)
    assert result.macro is None and result.tasks["t"].p_holm is None


def test_no_task_in_common() -> None:
    with pytest.raises(ConfigError, match="no task is in both: got t and u; evaluate both on one task"):
        compare(evaluation("a", {"t": records([1.0])}), evaluation("b", {"u": records([1.0])}))


def test_the_exact_sign_test() -> None:
    # Seven clusters differ, all in one direction: 2 of 2^7 patterns are as far from 0.
    assert sign_flip([1.0] * 7 + [0.0] * 50, 10, np.random.default_rng(0)) == pytest.approx(2 / 128)
    assert sign_flip([1.0, 1.0, -1.0], 10, np.random.default_rng(0)) == 1.0
    assert sign_flip([0.0, 0.0], 10, np.random.default_rng(0)) == 1.0


def test_single_samples_are_mcnemars_exact_test() -> None:
    found = sign_flip([1.0] * 40 + [-1.0] * 20, 40_000, np.random.default_rng(0))
    assert found == pytest.approx(binomtest(40, 60).pvalue, abs=0.002)


def test_a_cluster_flips_as_one() -> None:
    a = records([0.0] * 12, cluster="same picture")
    found = compare_pairs(match("t", a, records([1.0] * 12, cluster="same picture")))
    assert found.p_value == 1.0 and found.clusters == 1 and found.difference is not None
    assert (found.difference.low, found.difference.high) == (-1.0, 1.0)


def test_models_that_never_differ_may_differ_elsewhere() -> None:
    found = compare_pairs(match("t", records([1.0] * 50), records([1.0] * 50)))
    assert found.difference is not None and found.p_value == 1.0
    assert found.difference.low == -found.difference.high and 0.05 < found.difference.high < 0.1


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0] and holm([]) == [] and holm([0.2]) == [0.2]


def test_a_comparison_of_two_evaluations() -> None:
    rng = np.random.default_rng(0)
    tasks_a = {name: records(list((rng.random(300) < 0.5).astype(float)), task=name) for name in ("t", "u")}
    tasks_b = {name: records(list((rng.random(300) < 0.7).astype(float)), task=name) for name in ("t", "u")}
    a = evaluation("a", {**tasks_a, "only": records([1.0])}, judge="rule", seed=0)
    found = compare(a, evaluation("b", tasks_b, judge="model", seed=0))
    assert (found.a, found.b, list(found.tasks), found.only_a, found.only_b) == ("a", "b", ["t", "u"], ("only",), ())
    assert found.settings == ("judge",)
    assert all(item.p_holm is not None and item.p_holm >= (item.p_value or 0) for item in found.tasks.values())
    means = [item.difference.value for item in found.tasks.values() if item.difference is not None]
    assert found.macro is not None and found.macro.difference.value == pytest.approx(sum(means) / 2)
    assert found.macro.difference.low > 0.1 and found.macro.p_value < 0.001
    assert found == compare(a, evaluation("b", tasks_b, judge="model", seed=0))
    # Another task changes nothing but Holm's correction of this one.
    alone = compare(a, evaluation("b", {"t": tasks_b["t"]}))
    assert alone.tasks["t"].difference == found.tasks["t"].difference
    assert alone.tasks["t"].p_value == found.tasks["t"].p_value


def test_one_picture_in_two_tasks_is_one_cluster() -> None:
    a = [match(name, records([0.0] * 4, task=name), records([1.0] * 4, task=name)) for name in ("t", "u")]
    found = macro_difference(a, 0, 1000)
    assert found is not None and found.p_value == pytest.approx(2 / 2**4)  # 4 clusters, not 8


def simulate(rng: np.random.Generator, shift: float, clusters: int = 60) -> tuple[float, bool]:
    """p-value of two models with cluster effects, and whether the interval holds the true difference."""
    sizes = rng.geometric(0.3, clusters)
    names = np.repeat(np.arange(clusters), sizes)
    own = rng.normal(0, 0.15, clusters)[names]  # a picture that suits one model more than the other
    a = np.clip(0.5 + rng.uniform(-0.2, 0.2, len(names)), 0, 1)
    b = np.clip(a + own + shift + rng.uniform(-0.1, 0.1, len(names)), 0, 1)
    made = [[record(n, float(v[n]), cluster=str(names[n])) for n in range(len(names))] for v in (a, b)]
    found = compare_pairs(match("t", *made), rounds=400)
    assert found.difference is not None and found.p_value is not None
    return found.p_value, found.difference.low <= shift <= found.difference.high


def test_under_the_null_p_values_are_uniform_and_intervals_cover() -> None:
    rng = np.random.default_rng(7)
    found = [simulate(rng, 0.0) for _ in range(500)]
    p_values = [p for p, _ in found]
    assert kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean([p <= 0.05 for p in p_values]) == pytest.approx(0.05, abs=0.03)
    assert np.mean([covered for _, covered in found]) == pytest.approx(0.95, abs=0.03)


def test_a_difference_is_found_more_often_than_by_chance() -> None:
    rng = np.random.default_rng(8)
    power = np.mean([simulate(rng, 0.08)[0] <= 0.05 for _ in range(100)])
    assert power > 0.6


def test_a_record_without_score_is_never_a_number() -> None:
    from medix_verl.evaluation.stats.paired import value_of

    with pytest.raises(DataError, match="record '00000' has no score; leave it out of the comparison"):
        value_of(record(0, None))


@pytest.mark.parametrize(("a", "b", "value"), [(1.0, 1.0, 0.0), (0.0, 1.0, 1.0), (0.8, 0.4, -0.4)])
def test_that_nothing_varies_is_no_certainty(a: float, b: float, value: float) -> None:
    """Neither the task's interval nor the average's has a width of zero; more questions make both narrower."""
    widths = []
    for count in (5, 50):
        tasks = [(records([a] * count, task=name), records([b] * count, task=name)) for name in ("t", "u")]
        found = compare(evaluation("a", {"t": tasks[0][0], "u": tasks[1][0]}),
                        evaluation("b", {"t": tasks[0][1], "u": tasks[1][1]}), rounds=200)  # fmt: skip
        assert found.macro is not None
        for difference in (found.tasks["t"].difference, found.macro.difference):
            assert difference is not None and difference.value == pytest.approx(value)
            assert -1.0 <= difference.low <= value <= difference.high <= 1.0
            widths.append(difference.high - difference.low)
    assert 0.05 < widths[2] < widths[0] and 0.05 < widths[3] < widths[1]
    assert widths[3] < widths[2], "two tasks say more than one"
    # Five clusters that all differ have p = 0.0625: both intervals reach to 0 then, and are equally wide.
    assert widths[1] < widths[0] or widths == [1.0, 1.0, *widths[2:]]


@pytest.mark.parametrize(
    ("ends", "p_value"),
    [
        ((0.1, -0.02, 0.22), 0.001),  # the interval says nothing, the p-value does
        ((0.1, 0.02, 0.18), 0.2),  # and the other way round
        ((-0.1, -0.18, -0.02), 0.06),
        ((-0.1, -0.3, 0.001), 0.05),
        ((0.1, 0.0, 0.2), 0.05),
        ((0.0, 0.0, 0.0), 0.01),
    ],
)
def test_interval_and_p_value_say_the_same(ends: tuple[float, float, float], p_value: float) -> None:
    given = Estimate(*ends, 100)
    found, p = reconcile(given, p_value)
    assert (found.low > 0 or found.high < 0) == (p < 0.05) == (p <= 0.05)
    # Whichever was the cautious one is kept, and nothing is made narrower.
    assert p >= p_value and found.low <= given.low and found.high >= given.high and found.value == given.value


def test_what_agrees_is_left_alone() -> None:
    for estimate, p_value in ((Estimate(0.1, 0.05, 0.15, 9), 0.03), (Estimate(0.1, -0.05, 0.25, 9), 0.3)):
        assert reconcile(estimate, p_value) == (estimate, p_value)


def test_one_task_that_never_differs_is_no_contradiction() -> None:
    differs = match("t", records([0.0] * 40 + [1.0] * 40), records([1.0] * 20 + [0.0] * 20 + [1.0] * 40))
    never = match("u", *([record(n, 1.0, task="u", cluster=f"u{n}") for n in range(5)] for _ in "ab"))
    found = macro_difference([differs, never], 0, 2000)
    assert found is not None and found.difference.low < 0 < found.difference.high
    assert found.p_value > 0.05  # it was 0.0005 beside this interval


def test_no_comparison_contradicts_itself() -> None:
    rng = np.random.default_rng(3)
    for _ in range(60):
        tasks = []
        for name, many in (("t", rng.integers(3, 60)), ("u", rng.integers(3, 30))):
            shift = rng.choice([0.0, 0.3, 0.8])
            sides = (rng.random(many) < 0.1), (rng.random(many) < 0.1 + shift)
            made = [
                [record(n, float(v), task=name, cluster=f"{name}{n // 2}") for n, v in enumerate(side)]
                for side in sides
            ]
            tasks.append(match(name, *made))
        macro = macro_difference(tasks, 0, 400)
        assert macro is not None
        for difference, p in [
            (macro.difference, macro.p_value),
            *((item.difference, item.p_value) for item in (compare_pairs(task, rounds=400) for task in tasks)),
        ]:
            assert difference is not None and p is not None
            assert (difference.low > 0 or difference.high < 0) == (p <= 0.05)


def test_holm_is_marked_by_what_it_stands_on() -> None:
    few = [records([0.0] * 20, task="few"), records([1.0] * 20, task="few")]
    many = [records(list(v), task="many") for v in ([0.0] * 200, [0.0] * 150 + [1.0] * 50)]
    more = [records(list(v), task="more") for v in ([0.0, 1.0] * 100, [1.0] * 16 + [0.0] * 16 + [0.0, 1.0] * 84)]
    sides = [evaluation(n, {r[i][0].task: r[i] for r in (few, many, more)}) for i, n in enumerate("ab")]
    found = compare(*sides, rounds=2000).tasks
    assert [found[name].p_approximate for name in ("few", "many", "more")] == [True, False, False]
    smallest = min(item.p_value or 0.0 for item in found.values() if item.p_approximate)
    assert all(item.p_holm_approximate == ((item.p_value or 0.0) >= smallest) for item in found.values())
    assert found["few"].p_holm_approximate and found["more"].p_holm_approximate


def test_a_task_without_spread_widens_the_average() -> None:
    varied = match("t", records([0.0] * 20), records([0.0, 1.0] * 10))
    widths = []
    for count in (4, 400):
        same = match("u", *([record(n, 1.0, task="u", cluster=f"u{n}") for n in range(count)] for _ in "ab"))
        found = macro_difference([varied, same], 0, 200)
        assert found is not None
        widths.append(found.difference.high - found.difference.low)
    assert widths[0] > 1.5 * widths[1] > 0.1


def test_one_cluster_says_nothing_of_others() -> None:
    found = macro_difference([match("t", records([0.0] * 9, cluster="one"), records([1.0] * 9, cluster="one"))], 0, 100)
    assert found is not None and (found.difference.low, found.difference.high) == (-1.0, 1.0)
