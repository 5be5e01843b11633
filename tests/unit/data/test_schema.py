# SPDX-License-Identifier: Apache-2.0
"""Rows: what is accepted, what is refused and with which words, and the round trip through a parquet file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medix_verl.data.io.parquet import read_samples, write_samples
from medix_verl.data.schema import SAMPLE_SCHEMA, check_file, check_schema, from_row, to_row
from medix_verl.errors import DataError
from medix_verl.types import MODALITIES, ImageRef, Sample

PLAIN = Sample(id="a1", data_source="src", question="What is shown?", answer="heart", modality="CT_SCAN")

# Surrogates cannot be written as UTF-8, in parquet or anywhere else.
texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30).filter(str.strip)
refs = st.binary(min_size=1, max_size=40).map(lambda data: ImageRef(bytes=data)) | texts.map(
    lambda path: ImageRef(path=path)
)
json_values = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts | st.lists(texts, max_size=3)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    answer = draw(texts)
    others = draw(st.none() | st.lists(texts, min_size=1, max_size=4))
    return Sample(
        id=draw(texts),
        data_source=draw(texts),
        question=draw(texts),
        answer=answer,
        modality=draw(st.none() | st.sampled_from(MODALITIES)),
        images=tuple(draw(st.lists(refs, max_size=3))),
        options=None if others is None else (*others, answer),
        split=draw(texts),
        meta=draw(st.dictionaries(texts, json_values, max_size=3)),
    )


def row(**changes: Any) -> dict[str, Any]:
    return {**to_row(PLAIN), **changes}


@given(samples())
def test_a_row_gives_its_sample_back(sample: Sample) -> None:
    assert from_row(to_row(sample)) == sample


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(samples(), min_size=1, max_size=6, unique_by=lambda sample: sample.id))
def test_a_file_gives_its_samples_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Sample]) -> None:
    path = tmp_path_factory.mktemp("round") / "rows.parquet"
    assert write_samples(rows, path) == len(rows)
    assert list(read_samples(path)) == rows
    assert check_file(path) == len(rows)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": ""}, r"row '': id is ''; it must be a text that is not empty"),
        ({"question": "  "}, r"row 'a1': question is '  '"),
        ({"answer": None}, r"row 'a1': answer is None"),
        ({"answer": 3}, r"row 'a1': answer is 3"),
        ({"split": None}, r"row 'a1': split is None"),
        ({"modality": "CT"}, r"row 'a1': modality 'CT' is not known; use null or one of X_RAY"),
        ({"modality": ""}, r"row 'a1': modality '' is not known"),
        ({"images": [{"bytes": b"x", "path": "y"}]}, r"row 'a1': image 0 has both bytes and path; give exactly one"),
        ({"images": [{"bytes": None, "path": None}]}, r"row 'a1': image 0 has neither bytes nor path"),
        ({"images": [{"path": "ok"}, "p.png"]}, r"row 'a1': image 1 is a str; give a struct"),
        ({"options": ["heart"]}, r"row 'a1': options are \('heart',\); give two or more texts"),
        ({"options": ["liver", " "]}, r"row 'a1': options are .*; give two or more texts"),
        ({"options": ["liver", "lung"]}, r"row 'a1': answer 'heart' is not among its options \['liver', 'lung'\]"),
        ({"meta": "{"}, r"row 'a1': meta is '\{', which is not JSON"),
        ({"meta": "[1]"}, r"row 'a1': meta is a JSON list; write a JSON object"),
        ({"meta": {"a": 1}}, r"row 'a1': meta is \{'a': 1\}, which is not JSON"),
    ],
)
def test_a_bad_row_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        from_row(row(**changes))


def test_a_sample_that_could_not_be_read_back_is_not_written() -> None:
    with pytest.raises(DataError, match="row 'a1': meta is not a JSON object"):
        to_row(replace(PLAIN, meta={"x": {1, 2}}))
    with pytest.raises(DataError, match="row 'a1': meta is not a JSON object"):
        to_row(replace(PLAIN, meta={"x": float("nan")}))
    with pytest.raises(DataError, match="row 'a1': modality 'xray' is not known"):
        to_row(replace(PLAIN, modality="xray"))


def test_missing_columns_and_wrong_types_are_named_with_the_file() -> None:
    fields = [field for field in SAMPLE_SCHEMA if field.name not in ("answer", "meta")]
    words = r"f\.parquet: missing column answer, meta \(columns got: id, .*medix-verl prepare"
    with pytest.raises(DataError, match=words):
        check_schema(pa.schema(fields), "f.parquet")
    wrong = SAMPLE_SCHEMA.set(3, pa.field("answer", pa.int64()))
    with pytest.raises(DataError, match=r"f\.parquet: wrong column type: answer is int64, not string"):
        check_schema(wrong, "f.parquet")
    flat = SAMPLE_SCHEMA.set(5, pa.field("images", pa.list_(pa.binary())))
    with pytest.raises(DataError, match="images is list<"):
        check_schema(flat, "f.parquet")


def test_large_types_all_null_columns_and_further_columns_are_accepted() -> None:
    picture = pa.struct([("path", pa.large_string()), ("bytes", pa.large_binary())])
    schema = (
        SAMPLE_SCHEMA.set(0, pa.field("id", pa.large_string()))
        .set(5, pa.field("images", pa.large_list(picture)))
        .set(6, pa.field("options", pa.null()))
        .append(pa.field("extra", pa.int8()))
    )
    check_schema(schema, "f.parquet")


def test_an_unusable_file_is_refused(tmp_path: Any) -> None:
    with pytest.raises(DataError, match=r"none\.parquet: no such file; give a parquet file"):
        check_file(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("id,question\n")
    with pytest.raises(DataError, match=r"text\.parquet: this is not a readable parquet file"):
        check_file(tmp_path / "text.parquet")
    pq.write_table(SAMPLE_SCHEMA.empty_table(), tmp_path / "empty.parquet")
    with pytest.raises(DataError, match=r"empty\.parquet: the file has no rows"):
        check_file(tmp_path / "empty.parquet")
