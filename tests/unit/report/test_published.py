# SPDX-License-Identifier: Apache-2.0
"""Other people's figures: each with its source, none without a protocol."""

import json
from pathlib import Path

import pytest

from medix_verl.errors import DataError
from medix_verl.report.published import published_tables, read_tables


def test_the_tables_of_the_package() -> None:
    tables = published_tables()
    assert [table.protocol for table in tables] == ["published", "other", "other", "other"]
    authors = dict(tables[0].rows)
    assert authors["MediX-R1 30B"] == (73.6,) and authors["MediX-R1 8B"] == (68.8,) and len(authors) == 9
    assert all(table.source and table.note for table in tables)


def entry(**more: object) -> dict[str, object]:
    given = {"title": "t", "protocol": "other", "source": "s", "url": None, "note": "", "columns": ["a"]}
    return {**given, "rows": [{"model": "m", "values": [1.0]}], **more}


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"rows": [{"model": "m", "values": [1.0, 2.0]}]}, "the row of m needs 1 percentages"),
        ({"rows": [{"model": "m", "values": [101]}]}, "the row of m needs 1 percentages"),
        ({"protocol": "ours"}, "t needs a source and one of the protocols published, other"),
        ({"source": ""}, "t needs a source"),
        ({"rows": [{}]}, "KeyError"),
    ],
)
def test_a_table_that_is_none(tmp_path: Path, bad: dict[str, object], match: str) -> None:
    path = tmp_path / "tables.json"
    path.write_text(json.dumps([entry(**bad)]), encoding="utf-8")
    with pytest.raises(DataError, match=match):
        read_tables(path)
