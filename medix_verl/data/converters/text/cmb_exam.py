# SPDX-License-Identifier: Apache-2.0
"""CMB-Exam: Chinese medical examinations (FreedomIntelligence/CMB, Apache-2.0; arXiv 2308.08833).

Files: `CMB-Exam/CMB-train/CMB-train-merge.json` (269,359 rows), `CMB-val/CMB-val-merge.json` (280),
`CMB-test/CMB-test-choice-question-merge.json` (11,200), each a list with `exam_type`, `exam_class`, `exam_subject`,
`question`, `question_type`, `option` (letter -> text, blank for unused letters), and `answer`. The test rows have no
`answer`; their answers are in `CMB-test-choice-answer.json` (`id`, `answer`), which is on GitHub only
(FreedomIntelligence/CMB, data/) and must be put in the folder of the questions. A row whose answer has several letters
("BCDE") is refused, because no prompt here asks for several choices. 10,035 test rows have one letter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from medix_verl.data.converters.assemble import Choices, assemble, own_id, text_of, unique
from medix_verl.data.converters.base import Ids, Refused, SetSpec
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.types import Sample

__all__ = ["SPEC", "read"]

ANSWERS = "CMB-test-choice-answer.json"
SPEC = SetSpec(
    name="cmb-exam",
    title="CMB-Exam",
    hub_id="FreedomIntelligence/CMB",
    licence="Apache-2.0",
    task="closed",
    pictures=False,
    about="Chinese examinations of physicians, nurses, pharmacists and students; questions with one right option",
    splits={"train": "train", "val": "val", "test": "test"},
    rows={"train": 269359, "val": 280, "test": 11200},
    files=f"for test: {ANSWERS}, from github.com/FreedomIntelligence/CMB/tree/main/data",
)
FILES = {
    "train": "CMB-train-merge.json",
    "val": "CMB-val-merge.json",
    "test": "CMB-test-choice-question-merge.json",
}
KEPT = ("exam_type", "exam_class", "exam_subject")


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`).

    Raises:
        DataError: The answers of the test questions are missing.
    """
    answers, ids = answers_of(source) if split == "test" else None, Ids(SPEC.name)
    columns = ("question", "option", *(("id",) if answers is not None else ("answer",)))
    rows = source.rows(SPEC.splits[split], columns, (*KEPT, "answer", "id"), files=FILES[split])
    yield from unique(to_item(row, split, answers, ids) for row in rows)


def answers_of(source: Source) -> dict[str, str]:
    """Id of a test question -> its letters."""
    try:
        listed = json.loads(source.member(ANSWERS))
        return {str(item["id"]): str(item["answer"]) for item in listed}
    except DataError as cause:
        raise DataError(
            f"{source.place} has no {ANSWERS}; the answers of the test questions are on GitHub only: put the file from "
            "github.com/FreedomIntelligence/CMB/tree/main/data beside the questions"
        ) from cause
    except (ValueError, KeyError, TypeError) as cause:
        raise DataError(f"{ANSWERS} is not a JSON list of id and answer ({cause}); get it again") from cause


def to_item(row: Mapping[str, Any], split: str, answers: Mapping[str, str] | None, ids: Ids) -> Sample | Refused:
    """One published row."""
    choices = dict(row["option"] or {})
    if answers is None:
        row_id, label = ids.of(text_of(row["question"]), *map(text_of, choices.values())), text_of(row["answer"])
    else:
        row_id, label = own_id(SPEC, row["id"], 0), answers.get(text_of(row["id"]), "")
    if len(label) > 1 and set(label) <= set(choices):
        return Refused(row_id, "several answers", f"{label}: all of these are right at once")
    extra = {key: text_of(row[key]) for key in KEPT}
    return assemble(
        SPEC,
        split,
        row_id,
        question=row["question"],
        choices=Choices(choices, label),
        extra={key: text for key, text in extra.items() if text},
    )
