# SPDX-License-Identifier: Apache-2.0
"""A conversation is asked as its turns, without a template; another question as before."""

from typing import Any

import pytest

from medix_verl.errors import DataError
from medix_verl.evaluation.assemble import TaskChoices, load_items
from medix_verl.evaluation.grading.judge_settings import judge_specs
from medix_verl.evaluation.grading.spec import ProtocolSpec, build_protocol
from medix_verl.evaluation.task_run import Answering, TaskRun, prompt_of, question_key
from medix_verl.evaluation.tasks.conversation import as_text, turns_of
from medix_verl.evaluation.tasks.table import find
from medix_verl.types import Sample

TURNS = [{"role": "user", "content": "It hurts."}, {"role": "assistant", "content": "Where?"}]
TURNS += [{"role": "user", "content": " Here.\n"}]


def sample(turns: Any = TURNS) -> Sample:
    meta = {"rubrics": [{"criterion": "x", "points": 1}], "conversation": turns}
    return Sample("a", "healthbench", "User: It hurts.", "x", meta=meta)


def run(*samples: Sample) -> TaskRun:
    spec = find("healthbench")
    items = load_items(spec, None, TaskChoices(), None, lambda *_: iter(samples))
    return TaskRun(spec, items, build_protocol(ProtocolSpec("published"), judge_specs({})), Answering("m"))


def test_the_turns_are_as_they_are() -> None:
    assert turns_of(sample()) == (("user", "It hurts."), ("assistant", "Where?"), ("user", " Here.\n"))
    assert as_text(sample()) == "user: It hurts.\n\nassistant: Where?\n\nuser:  Here.\n"
    assert turns_of(sample(None)) == () and as_text(sample(None)) == "User: It hurts."


def test_no_template_stands_around_them() -> None:
    made, plain = run(sample()), run(sample(None))
    text = prompt_of(made, made.items["a"])
    assert "<think>" not in text and "<answer>" not in text and text == as_text(sample())
    assert "<think>" in prompt_of(plain, plain.items["a"])
    other = run(sample([*TURNS[:2], {"role": "user", "content": "There."}]))
    assert question_key(made, made.items["a"]) != question_key(other, other.items["a"])


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ("text", "meta.conversation is str; give a list of turns"),
        ([{"role": "doctor", "content": "x"}], "it needs a `role` of system, user, assistant and a text `content`"),
        ([{"role": "user", "content": None}], "it needs a `role`"),
        ([3], "a turn is 3"),
        (TURNS[:2], "the last turn is the assistant's"),
    ],
)
def test_other_turns_are_refused(turns: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        turns_of(sample(turns))
    assert message in str(caught.value)
