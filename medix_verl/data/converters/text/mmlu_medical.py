# SPDX-License-Identifier: Apache-2.0
"""MMLU's six medical subsets as one data set (cais/mmlu, MIT).

Files: one folder per subset (`anatomy`, `clinical_knowledge`, `college_biology`, `college_medicine`,
`medical_genetics`, `professional_medicine`), each with `test-*.parquet` and `validation-*.parquet` of `question`,
`subject`, `choices` (four texts) and `answer` (0 to 3). hails/mmlu_no_train has the same rows but needs a loading
script, which `datasets` no longer runs. `data_source` names the subset (`mmlu-medical/anatomy`). Rows have no ids;
each gets a hash of its content as id.

`--set subset=NAME` selects one subset; `all` selects the six in the order above: 1,089 test and 123 validation
questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medix_verl.data.converters.assemble import Choices, as_number, assemble, text_of
from medix_verl.data.converters.base import Ids, Option, Refused, SetSpec
from medix_verl.data.source import Source
from medix_verl.types import Sample

__all__ = ["OPTIONS", "SPEC", "SUBSETS", "read"]

SUBSETS = (
    "anatomy",
    "clinical_knowledge",
    "college_biology",
    "college_medicine",
    "medical_genetics",
    "professional_medicine",
)
SPEC = SetSpec(
    name="mmlu-medical",
    title="MMLU, six medical subsets",
    hub_id="cais/mmlu",
    licence="MIT",
    task="closed",
    pictures=False,
    about="Anatomy, clinical knowledge, biology, medicine, genetics and professional medicine; four options",
    splits={"val": "validation", "test": "test"},
    rows={"val": 123, "test": 1089},
)
OPTIONS = {"subset": Option("all", "one subset, or all six", ("all", *SUBSETS))}


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`)."""
    chosen, ids = source.options["subset"], Ids(SPEC.name)
    for subset in SUBSETS if chosen == "all" else (chosen,):
        for row in source.rows(SPEC.splits[split], ("question", "choices", "answer"), config=subset):
            yield to_item(row, split, subset, ids)


def to_item(row: Mapping[str, Any], split: str, subset: str, ids: Ids) -> Sample | Refused:
    """One published row."""
    choices = {str(at): text for at, text in enumerate(row["choices"] or ())}
    label = as_number(text_of(row["answer"]))
    return assemble(
        SPEC,
        split,
        ids.of(subset, text_of(row["question"]), label, *map(text_of, choices.values())),
        question=row["question"],
        choices=Choices(choices, label),
        subset=subset,
    )
