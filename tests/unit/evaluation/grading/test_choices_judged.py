# SPDX-License-Identifier: Apache-2.0
"""Multiple choice in an evaluation: the row's label decides, whatever the options' texts are equal to."""

import asyncio

import pytest

from medix_verl.evaluation.grading.spec import ProtocolSpec, build_protocol
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Sample

SAME = ("Increased", "increased.", "Decreased")
DOSES = ("5 mg", "5000 ug", "5 g")
BLOOD = ("A", "B", "AB", "O")
TURNED = ("B", "A", "D", "C")
CASES = [
    # Options that are equal when normalised: the label tells them apart.
    (SAME, "A", "A", 1.0),
    (SAME, "A", "B", 0.0),
    (SAME, "A", "(B) increased.", 0.0),
    (SAME, "B", "The answer is B", 1.0),
    (SAME, "B", "(A) Increased", 0.0),
    (SAME, "A", "C", 0.0),
    (DOSES, "A", "A", 1.0),
    (DOSES, "A", "5 mg", 1.0),
    (DOSES, "A", "B", 0.0),
    (DOSES, "A", "5000 ug", 0.0),
    (DOSES, "B", "5000 ug", 1.0),
    (DOSES, "B", "5 mg", 0.0),
    # Options that are letters: a text that is a letter is that option, and other labels are labels.
    (BLOOD, "C", "AB", 1.0),
    (BLOOD, "C", "C", 1.0),
    (BLOOD, "C", "(C) AB", 1.0),
    (BLOOD, "C", "C. AB", 1.0),
    (BLOOD, "C", "The answer is C", 1.0),
    (BLOOD, "C", "The answer is AB", 1.0),
    (BLOOD, "C", "A", 0.0),
    (BLOOD, "C", "B", 0.0),
    (BLOOD, "C", "D", 0.0),
    (BLOOD, "C", "(C) A", 0.0),
    (BLOOD, "D", "D. O", 1.0),
    (BLOOD, "D", "D", 1.0),
    (BLOOD, "D", "O", 1.0),
    (BLOOD, "A", "(A) A", 1.0),
    (BLOOD, "A", "A", 1.0),
    (BLOOD, "A", "C", 0.0),
    (BLOOD, "A", "vitamin C", 0.0),
    (BLOOD, "C", "vitamin C", 0.0),
    (TURNED, "B", "(B) A", 1.0),
    (TURNED, "B", "B. A", 1.0),
    (TURNED, "B", "(A) B", 0.0),
]


@pytest.mark.parametrize("protocol", ["published", "robust"])
@pytest.mark.parametrize(("options", "label", "response", "value"), CASES)
def test_the_label_decides(options: tuple[str, ...], label: str, response: str, value: float, protocol: str) -> None:
    sample = Sample("1", "medqa", "Which?", options["ABCD".index(label)], options=options, meta={"label": label})
    judging = build_protocol(ProtocolSpec(protocol), [JudgeSpec()])
    assert asyncio.run(judging.judge(sample, response)).value == value
