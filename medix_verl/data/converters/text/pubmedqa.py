# SPDX-License-Identifier: Apache-2.0
"""PubMedQA: research questions answered yes, no or maybe from an abstract (qiaojin/PubMedQA, MIT).

Files: `pqa_labeled/train-*.parquet` (1,000 rows labelled by experts: our test) and `pqa_artificial/train-*.parquet`
(211,269 rows labelled by a rule, yes and no only: our train) with `pubid`, `question`, `context` (struct of
`contexts`, `labels`, ...), `long_answer`, `final_decision`. The authors' own layout, which MediX-R1's evaluation set
also uses, names them `QUESTION`, `CONTEXTS`, `LONG_ANSWER`; both are read. `pqa_unlabeled` has no answers.

The prompt has all sections of the abstract, then the question. The options are yes, no and maybe in both splits; the
reference is the decision, and the long answer is kept in the meta.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medix_verl.data.converters.assemble import Choices, assemble, first_there, own_id, text_of, unique
from medix_verl.data.converters.base import Refused, SetSpec
from medix_verl.data.source import Source
from medix_verl.types import Sample

__all__ = ["SPEC", "read"]

SPEC = SetSpec(
    name="pubmedqa",
    title="PubMedQA",
    hub_id="qiaojin/PubMedQA",
    licence="MIT",
    task="closed",
    pictures=False,
    about="A research question answered from its abstract: yes, no or maybe",
    splits={"train": "train", "test": "train"},
    rows={"train": 211269, "test": 1000},
)
_FILES = {
    "train": ("pqa_artificial/*.parquet", "train-*.parquet", "train.json*"),
    "test": ("pqa_labeled/*.parquet", "pubmedqa/test-*.parquet", "test-*.parquet", "test.json*"),
}
_OPTIONAL = ("pubid", "question", "context", "long_answer", "QUESTION", "CONTEXTS", "LONG_ANSWER")
_DECISIONS = {"yes": "yes", "no": "no", "maybe": "maybe"}


def read(source: Source, split: str) -> Iterator[Sample | Refused]:
    """One item for each question (see `base`)."""
    files = first_there(source, *_FILES[split])
    rows = source.rows(SPEC.splits[split], ("final_decision",), _OPTIONAL, files=files)
    yield from unique(to_item(row, split, number) for number, row in enumerate(rows))


def to_item(row: Mapping[str, Any], split: str, number: int) -> Sample | Refused:
    """One published row."""
    question = text_of(row["question"]) or text_of(row["QUESTION"])
    abstract = sections(row["context"] if row["context"] is not None else row["CONTEXTS"])
    explained = text_of(row["long_answer"]) or text_of(row["LONG_ANSWER"])
    row_id = own_id(SPEC, row["pubid"] if row["pubid"] is not None else number, number)
    if not abstract:
        return Refused(row_id, "no context", "the abstract is missing or blank")
    return assemble(
        SPEC,
        split,
        row_id,
        question=f"{abstract}\n\n{question}" if question else "",
        answer=row["final_decision"],
        choices=Choices(_DECISIONS),
        extra={"long_answer": explained} if explained else None,
    )


def sections(context: Any) -> str:
    """Join an abstract's sections to one text, from the published struct, a list or a text."""
    listed = context.get("contexts") if isinstance(context, Mapping) else context
    if isinstance(listed, str):
        return text_of(listed)
    return "\n".join(text for text in map(text_of, listed or ()) if text)
