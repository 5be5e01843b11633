# SPDX-License-Identifier: Apache-2.0
"""What records say of a judge: votes, another judge, length; and the cases for asking again."""

from pathlib import Path

import pytest

from medix_verl.errors import ConfigError
from medix_verl.evaluation.audit.verdicts import cases_of, consistency, disagreement, length_bias, verdicts
from medix_verl.evaluation.store.read import Evaluation
from medix_verl.evaluation.store.records import Record


def record(number: int, value: float | None, response: str = "x", **more: object) -> Record:
    given = {"task": "medqa", "id": f"{number:03d}", "cluster": str(number), "question": "q", "reference": "left lung"}
    status = "unscored" if value is None else "scored"
    return Record(**{**given, "response": response, "answer": response, "value": value, "status": status, **more})  # type: ignore[arg-type]


def evaluation(judge: str, records: list[Record]) -> Evaluation:
    return Evaluation(Path(judge), {"model": "m", "judge": judge}, {("medqa", "real"): records})


def test_two_judges_by_hand() -> None:
    a = [record(n, float(n < 25)) for n in range(50)]
    b = [record(n, float(n < 20 or 25 <= n < 35)) for n in range(50)]
    found = disagreement(evaluation("A", a), evaluation("B", b))
    assert found.table == {"yes_yes": 20, "yes_no": 5, "no_yes": 10, "no_no": 15}
    assert found.agreement is not None and found.agreement.value == 0.7
    assert found.kappa is not None and found.kappa.value == pytest.approx(0.4)
    assert (
        found.shift is not None and found.shift.value == pytest.approx(0.1) and found.shift.low < 0 < found.shift.high
    )
    assert (found.a, found.b, found.other_response, found.unscored) == ("A", "B", 0, 0)


@pytest.mark.parametrize(("count", "most"), [(50, 0.08), (200, 0.02), (1000, 0.004)])
def test_identical_judges_are_0_apart(count: int, most: float) -> None:
    # It was 0 plus or minus 13.6 points with 200 clusters: the interval of a score of 1/2.
    rows = [record(n, float(n % 2)) for n in range(count)]
    found = disagreement(evaluation("A", rows), evaluation("B", rows)).shift
    assert found is not None and found.value == 0.0 and found.approximate
    assert -most < found.low < 0.0 < found.high < most


def test_length_on_heavy_clusters_is_marked() -> None:
    sizes = [40 if n % 10 == 0 else 1 for n in range(100)]
    clusters = [str(n) for n, size in enumerate(sizes) for _ in range(size)]
    rows = [record(n, float(n % 2), "w" * (5 + n % 7), cluster=cluster) for n, cluster in enumerate(clusters)]
    heavy, even = length_bias(rows), length_bias([record(n, row.value, row.response) for n, row in enumerate(rows)])
    assert heavy is not None and even is not None
    assert (heavy.correlation.approximate, even.correlation.approximate) == (True, False)


def test_only_the_same_response_is_compared() -> None:
    a = [record(0, 1.0), record(1, 1.0), record(2, 1.0), record(3, 0.4, answer_type="report")]
    b = [record(0, 1.0), record(1, 1.0, "other"), record(2, None), record(3, 0.4, answer_type="report")]
    found = disagreement(evaluation("A", a), evaluation("B", b))
    assert (found.other_response, found.unscored) == (1, 1)
    assert found.agreement is not None and found.agreement.count == 1
    with pytest.raises(ConfigError, match="A and B have no response in common; give a folder that was re-judged"):
        disagreement(evaluation("A", a[1:2]), evaluation("B", b))


def test_votes() -> None:
    rows = [
        record(0, 1.0, votes=(1.0, 1.0, 1.0)),
        record(1, 1.0, votes=(1.0, 0.0, 1.0)),
        record(2, 1.0, votes=(1.0, None, 1.0)),
        record(3, 1.0, votes=(1.0, None)),
        record(4, 1.0),
    ]
    found = consistency(rows)
    assert found is not None and (found.value, found.count) == (pytest.approx(2 / 3), 3)
    assert consistency(rows[3:]) is None


def test_long_answers_that_pass() -> None:
    rows = [record(n, float(n >= 20), "word " * (n + 1)) for n in range(40)]
    found = length_bias(rows)
    assert found is not None and found.correlation.value > 0.8 and found.correlation.low > 0.7
    assert found.accepted > found.rejected


def test_the_references_own_words_say_nothing_of_length() -> None:
    rows = [record(n, 1.0, "Left lung.") for n in range(40)] + [
        record(40 + n, float(n % 2), "w" * (5 + n // 2)) for n in range(40)
    ]
    found = length_bias(rows)
    assert found is not None and found.correlation.count == 40 and abs(found.correlation.value) < 0.2
    assert length_bias(rows[:40]) is None and length_bias(rows[40:48]) is None


def test_only_plain_verdicts_count() -> None:
    rows = [record(0, 1.0), record(1, None), record(2, 0.5), record(3, 1.0, answer_type="report")]
    assert [item.id for item in verdicts(evaluation("A", rows))] == ["000"]


def test_cases_to_ask_again() -> None:
    rows = [record(n, float(n % 2), f"answer {n}", options=("a", "b")) for n in range(30)]
    found = cases_of(rows, 10, seed=1)
    assert len(found) == 10 and found == cases_of(rows[::-1], 10, seed=1) != cases_of(rows, 10, seed=2)
    assert all(case.label == (int(case.candidate.split()[1]) % 2 == 1) for case in found)
    assert found[0].reference.question == "q" and found[0].reference.options == ("a", "b")
    assert len(cases_of(rows, 100)) == 30 and cases_of([record(0, 0.0, answer=None)], 5) == []
