# SPDX-License-Identifier: Apache-2.0
"""Pictures of a row: by value, by name, and the one that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from medix_verl.data.converters.pictures import by_name, by_value
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.types import ImageRef


def test_embedded_pictures_are_called_by_their_content() -> None:
    one, two = by_value([{"bytes": b"x", "path": "a.png"}, b"y"]), by_value([{"bytes": b"x", "path": None}])
    assert one.refs == (ImageRef(bytes=b"x"), ImageRef(bytes=b"y"))
    assert one.names[0] == two.names[0] != one.names[1] and not one.missing


def test_one_picture_and_a_list_of_pictures_are_the_same() -> None:
    one = {"bytes": b"x", "path": None}
    assert by_value([one]) == by_value([[one]]) == by_value([[b"x"]]) != by_value([[one, b"y"]])
    assert by_value([[one, None]]).missing == by_value([[None]]).missing == "column image is empty"


@pytest.mark.parametrize("value", [None, {"bytes": None, "path": "a.png"}, {"bytes": b"", "path": None}])
def test_an_empty_column_is_noted(value: object) -> None:
    assert by_value([value], "image").missing == "column image is empty"


def test_a_column_of_another_kind_is_refused() -> None:
    with pytest.raises(DataError, match="column image holds a str; expected pictures: structs of bytes, path"):
        by_value(["a.png"])


def test_files_beside_the_rows_are_read_and_a_missing_one_is_noted(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "empty.png").write_bytes(b"")
    source = Source(tmp_path)
    assert by_name(source, ["a.png"]).refs == (ImageRef(bytes=b"x"),)
    both = by_name(source, ["a.png", "b.png"])
    assert both.names == ("a.png", "b.png") and both.missing == "there is no file b.png beside the rows"
    assert by_name(source, ["empty.png"]).missing == "empty.png is an empty file"
    assert by_name(source, []).missing == "the row names no picture"
    assert "leaves the data set's folder" in by_name(source, ["../a.png"]).missing
