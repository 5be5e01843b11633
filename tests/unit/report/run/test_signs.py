# SPDX-License-Identifier: Apache-2.0
"""Each warning speaks when its rule says so, and is silent just before; without its figures it says nothing."""

import pytest

from medix_verl.report.run.dumps import Answer, Dumps, StepAnswers
from medix_verl.report.run.files import Metrics
from medix_verl.report.run.signs import drift, gaps, run_signs, window


def run(steps: int = 20, not_numbers: dict[str, int] | None = None, broken: int = 0, **curves: object) -> Metrics:
    """Metrics of some steps: a curve is (first, last), changing in the middle, or a list of values; `__` is `/`."""
    found: dict[int, dict[str, float]] = {step: {"timing_s/step": 1.0} for step in range(1, steps + 1)}
    for name, curve in curves.items():
        values = curve if isinstance(curve, list) else [curve[0]] * (steps // 2) + [curve[1]] * (steps - steps // 2)  # type: ignore[index]
        for step, value in enumerate(values, 1):
            found[step][name.replace("__", "/")] = value
    return Metrics(found, broken, not_numbers)


def dumped(**figures: object) -> Dumps:
    given = {"answers": 40, "groups": 8, "collapsed": 0, "common": "x", "common_share": 0.1, "references": 9,
             "reference_share": 0.1, "wordless": 0.0, "unparsed": 0.0}  # fmt: skip
    steps = tuple(StepAnswers(step=n, **{**given, **figures}) for n in range(1, 21))  # type: ignore[arg-type]
    return Dumps(steps)


def signs(metrics: Metrics | None = None, training: Dumps | None = None, validation: Dumps | None = None) -> str:
    return "\n".join(run_signs(metrics or run(), training or Dumps(), validation or Dumps()))


def test_a_quiet_run_has_no_sign() -> None:
    quiet = run(
        medix__score__mean=(0.2, 0.6), medix__acc__mean=(0.1, 0.5), medix__format__mean=(0.99, 0.99),
        actor__entropy=(0.5, 0.3), response_length__mean=(100.0, 120.0), medix__judge__valid=(1.0, 0.995),
        medix__unscored=(0.0, 0.0), critic__advantages__max=(1.0, 1.0), critic__advantages__min=(-1.0, -1.0),
    )  # fmt: skip
    assert signs(quiet, dumped()) == "" == signs(Metrics({}))


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({"medix__unscored": (0.0, 2.0)}, "20 answers of training have no score, in 10 steps, last 20."),
        ({"medix__val__unscored": (0.0, 1.0)}, "10 answers of validation have no score"),
        ({"medix__judge__valid": (1.0, 0.97)}, "1.5% of the answers have no judge term; worst 3%."),
        ({"medix__judge__valid": (1.0, 0.99)}, ""),
        ({"medix__semantic__valid": (0.0, 0.0)}, ""),
        ({"medix__modality__valid": (0.5, 0.5)}, ""),
        ({"medix__brevity__valid": (0.5, 0.5), "medix__brevity__failed": (0.0, 0.04)},
         "2.0% of the answers have no brevity term; worst 4%."),
        ({"medix__brevity__valid": (0.5, 0.5), "medix__brevity__failed": (0.0, 0.0)}, ""),
        ({"medix__semantic__valid": (0.5, 0.5), "medix__semantic__failed": (0.0, 0.0)}, ""),
        ({"medix__judge__valid": (0.0, 0.0), "medix__judge__failed": (1.0, 1.0)}, "100.0% of the answers have no"),
        ({"medix__brevity__mean": (0.9, 0.79)}, "The term brevity fell from 0.900 to 0.790."),
        ({"medix__brevity__mean": (0.9, 0.81)}, ""),
        ({"medix__judge__mean": (0.9, 0.1)}, ""),
        ({"medix__score__mean": (0.3, 0.4), "medix__acc__mean": (0.2, 0.22)},
         "The reward rose from 0.300 to 0.400, and acc went from 0.200 to 0.220"),
        ({"medix__score__mean": (0.3, 0.4), "medix__acc__mean": (0.2, 0.23)}, ""),
        ({"medix__score__mean": (0.3, 0.34), "medix__acc__mean": (0.2, 0.2)}, ""),
        ({"medix__score__mean": (0.3, 0.4)}, ""),
        ({"critic__score__mean": (0.3, 0.4), "medix__acc__mean": (0.3, 0.2)}, "and acc went from 0.300 to 0.200"),
        ({"medix__format__mean": (1.0, 0.94)}, "Format went from 1.000 to 0.940."),
        ({"medix__format__mean": (1.0, 0.96)}, ""),
        ({"medix__format__mean": (0.85, 0.88)}, "Format went from 0.850 to 0.880."),
        ({"medix__modality__mean": (0.9, 0.79)}, "The modality tag fell from 0.900 to 0.790"),
        ({"medix__modality__mean": (0.9, 0.81)}, ""),
        ({"response_length__mean": (100.0, 151.0)}, "Answers went from 100 to 151 tokens."),
        ({"response_length__mean": (100.0, 149.0)}, ""),
        ({"response_length__mean": (100.0, 66.0)}, "Answers went from 100 to 66 tokens."),
        ({"response_length__clip_ratio": (0.0, 0.11)}, "11% of the last steps' answers were cut"),
        ({"response_length__clip_ratio": (0.2, 0.1)}, ""),
        ({"actor__entropy": (1.0, 0.19)}, "Entropy collapsed from 1 to 0.19"),
        ({"actor__entropy": (1.0, 0.21)}, ""),
        ({"actor__entropy": (0.3, 1.0)}, "Entropy grew from 0.3 to 1"),
        ({"medix__judge__calls": (10.0, 10.0), "medix__judge__failures_timeout": (0.0, 2.0)},
         "20 of 200 requests to the judge failed: 20 timeout."),
        ({"medix__judge__calls": (10.0, 10.0), "medix__judge__failures_timeout": (0.0, 1.0)}, ""),
        ({"medix__judge__calls": (10.0, 10.0), "medix__judge__panel_compared": (5.0, 5.0),
          "medix__judge__failures_disagreement": (0.0, 2.0)},
         "The panel of judges could not agree on 20 of 100 questions, which have no score."),
        ({"medix__judge__panel_compared": (50.0, 50.0), "medix__judge__failures_disagreement": (1.0, 1.0)}, ""),
        ({"training__rollout_probs_diff_mean": (0.001, 0.06)}, "disagree on probabilities by over 0.05 in 10 steps."),
        ({"critic__advantages__max": (1.0, 0.0), "critic__advantages__min": (-1.0, 0.0)},
         "10 steps had no advantage at all"),
    ],
)  # fmt: skip
def test_each_rule_of_the_metrics(curves: dict[str, tuple[float, float]], message: str) -> None:
    found = signs(run(**curves))
    assert message in found if message else found == ""


def test_a_rise_inside_the_noise_is_no_sign() -> None:
    noisy = [0.3 + 0.3 * (n % 2) + (0.06 if n > 10 else 0.0) for n in range(1, 21)]
    assert signs(run(medix__score__mean=noisy, medix__acc__mean=(0.2, 0.2))) == ""


def test_a_validation_that_got_worse_is_told_for_its_source() -> None:
    key = "val-core__rad__acc__mean@1"
    assert "Validation acc of rad fell from 0.500 (step 2) to 0.470." in signs(run(3, **{key: [0.4, 0.5, 0.47]}))
    assert "fell" not in signs(run(3, **{key: [0.4, 0.5, 0.49]})) and "fell" not in signs(run(1, **{key: [0.4]}))


def test_a_source_with_a_slash_in_its_name_is_told_whole() -> None:
    key = "val-core__owner__set__acc__mean@4"
    assert "Validation acc of owner/set fell from 0.500" in signs(run(2, **{key: [0.5, 0.4]}))


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ({"common_share": 0.4}, "40% of the last steps' answers are the same, such as “x”"),
        ({"common_share": 0.3}, ""),
        ({"common_share": 0.4, "reference_share": 0.25}, ""),
        ({"common_share": 0.9, "references": 1}, ""),
        ({"wordless": 0.06}, "6% of the last steps' answers are missing, or hold no letter and no digit."),
        ({"wordless": 0.05}, ""),
        ({"collapsed": 5}, "62% of the last steps' groups all have one score"),
        ({"collapsed": 4}, ""),
    ],
)
def test_each_rule_of_the_answers(figures: dict[str, object], message: str) -> None:
    found = signs(training=dumped(**figures))
    assert message in found if message else found == ""


def test_what_was_not_a_number_and_what_was_not_read() -> None:
    found = signs(run(not_numbers={"actor/grad_norm": 3, "some/other": 9}, broken=1), Dumps(broken=2))
    assert "actor/grad_norm was not a number in 3 steps." in found and "some/other" not in found
    assert "Lines that could not be read, as of a run in progress: 1 of metrics, 2 of training." in found


def test_few_steps_tell_no_drift() -> None:
    assert drift(run(9, a=(0.0, 1.0)), "a") is None
    assert signs(run(9, actor__entropy=(1.0, 0.0))) == "Only 9 steps: from fewer than 10 no drift can be seen."
    found = drift(run(10, a=(0.0, 1.0)), "missing", "a")
    assert found is not None and (found.first, found.last, found.error) == (0.0, 1.0, 0.0)
    assert [window(steps) for steps in (1, 2, 10, 24, 50, 1000)] == [1, 1, 5, 5, 10, 20]


def test_what_was_not_recorded_is_said_with_what_records_it() -> None:
    message = "\n".join(gaps(Metrics({}), Dumps(), Dumps()))
    assert "trainer.logger=[console,file]" in message and "trainer.rollout_data_dir=" in message
    assert "trainer.validation_data_dir=" in message
    bare = Answer(1, "u", "q", "a", "r", 1.0, {})
    message = "\n".join(gaps(run(), Dumps(dumped().steps, (bare,)), dumped()))
    assert "plugin's sampler" in message and "Training answers have a score only" in message
    whole = Answer(1, "u", "q", "a", "r", 1.0, {"acc": 1.0})
    assert gaps(run(medix__acc__mean=(0.0, 0.0)), Dumps(dumped().steps, (whole,)), dumped()) == []


def test_an_answer_without_a_verdict_is_no_worse_validation() -> None:
    """verl's acc counts it as wrong; what is told is the acc of those that were judged."""
    acc, judged = ([0.4, 0.5, 0.3], [0.4, 0.5, 0.5])
    curves: dict[str, object] = {"val-core__rad__acc__mean@1": acc}
    assert "Validation acc of rad fell from 0.500 (step 2) to 0.300." in signs(run(3, **curves))
    curves["val-aux__rad__acc_success_only__mean@1"] = judged
    assert "fell" not in signs(run(3, **curves))
