# SPDX-License-Identifier: Apache-2.0
"""A table without a column of splits is never in two splits: it is refused, or divided by a hash."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from medix_verl.data.converters.base import Refused, resolve_options
from medix_verl.data.converters.own import questions as own
from medix_verl.data.converters.own.split import Groups, Splitting
from medix_verl.data.source import Source
from medix_verl.errors import ConfigError, DataError
from medix_verl.types import Sample


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), level).save(buffer, format="PNG")
    return buffer.getvalue()


def table(folder: Path, rows: list[dict[str, object]], name: str = "mine.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(
        json.dumps({"id": f"r{n}", "question": f"Q{n}?", "answer": "x", **row}) + "\n" for n, row in enumerate(rows)
    )
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def read(place: Path, split: str, **options: str) -> list[Sample | Refused]:
    return list(own.read(Source(place, options=resolve_options("own", own.OPTIONS, options)), split))


def sides(place: Path, **options: str) -> dict[str, list[str]]:
    """Split -> ids."""
    shares = {"val_share": "0.3", "test_share": "0.2", **options}
    return {split: [item.id for item in read(place, split, **shares)] for split in ("train", "val", "test")}


def test_the_same_rows_for_two_splits_are_refused(tmp_path: Path) -> None:
    place = table(tmp_path / "data", [{}] * 5)
    assert len(read(place, "train")) == 5
    for split in ("val", "test"):
        with pytest.raises(
            DataError,
            match=rf"has no column split, so that its rows would be in {split} and in train; type --split-by patient",
        ):
            read(place, split)
    assert len(read(place, "val", split_by="none")) == 5


@pytest.mark.parametrize("name", ["val.jsonl", "my-validation.jsonl", "dev_2.jsonl", "val/questions.jsonl"])
def test_a_table_that_is_named_for_its_split(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert len(read(table(path.parent, [{}] * 2, path.name), "val")) == 2
    with pytest.raises(DataError, match="in test and in train"):
        read(path, "test")


@pytest.mark.parametrize("by", ["patient", "picture", "row"])
def test_each_row_is_in_one_split_and_its_group_with_it(tmp_path: Path, by: str) -> None:
    for number in range(40):
        (tmp_path / f"{number}.png").write_bytes(png(number))
        (tmp_path / f"copy-{number}.png").write_bytes(png(number))
    rows = [{"patient_id": n // 5, "image": ("copy-" if n % 2 else "") + f"{n // 5}.png"} for n in range(200)]
    place = table(tmp_path, rows)
    found = sides(place, split_by=by)
    assert sorted(name for ids in found.values() for name in ids) == sorted(f"r{n}" for n in range(200))
    assert all(found.values()) and len(found["train"]) > len(found["val"])
    if by != "row":
        group = {split: {int(name[1:]) // 5 for name in ids} for split, ids in found.items()}
        assert (
            not group["train"] & group["val"]
            and not group["val"] & group["test"]
            and not group["train"] & group["test"]
        )
    assert sides(place, split_by=by) == found


def test_the_side_does_not_depend_on_the_other_rows(tmp_path: Path) -> None:
    rows = [{"patient_id": n} for n in range(50)]
    first = sides(table(tmp_path / "a", rows), split_by="patient")
    second = sides(table(tmp_path / "b", [*rows, *({"patient_id": n} for n in range(50, 99))]), split_by="patient")
    assert all(set(first[split]) <= set(second[split]) for split in first)


def test_rows_with_a_picture_in_common_through_another_row(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    chain = [{"images": [f"{n}.png", f"{n + 1}.png"]} for n in range(29)]
    found = sides(table(tmp_path, [*chain, *({} for _ in range(40))]), split_by="picture")
    assert sum(bool({f"r{n}" for n in range(29)} & set(ids)) for ids in found.values()) == 1


def test_the_same_question_of_the_same_picture_stays_together(tmp_path: Path) -> None:
    rows = [{"question": f"{'' if n % 2 else ' '}What is  {n // 2}?"} for n in range(60)]
    found = sides(table(tmp_path, rows), split_by="row")
    pairs = {split: {int(name[1:]) // 2 for name in ids} for split, ids in found.items()}
    assert all(pairs.values()) and not pairs["train"] & (pairs["val"] | pairs["test"])


def test_a_row_without_a_patient_stands_on_no_side(tmp_path: Path) -> None:
    place = table(tmp_path, [{"patient_id": n} for n in range(20)] + [{}, {"patient_id": " "}])
    for split in ("train", "val"):
        refused = [
            item for item in read(place, split, split_by="patient", val_share="0.4") if isinstance(item, Refused)
        ]
        assert [(item.id, item.reason) for item in refused] == [("r20", "no patient"), ("r21", "no patient")]


@pytest.mark.parametrize(
    ("options", "split", "message"),
    [
        ({"val_share": "much"}, "train", "--val-share is 'much'; accepted: a number from 0 to below 1"),
        ({"val_share": "1"}, "train", "--val-share is '1'"),
        ({"val_share": "nan"}, "train", "--val-share is 'nan'"),
        ({"val_share": "0.5", "test_share": "0.5"}, "train", "leave nothing to train"),
        ({"split_by": "row"}, "test", "gives nothing to test; add --test-share"),
        ({"split_by": "ward"}, "train", "option split_by is 'ward'; accepted: auto, patient, picture, row, none"),
    ],
)
def test_shares_that_cannot_be(tmp_path: Path, options: dict[str, str], split: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(table(tmp_path, [{}]), split, **options)


def test_a_column_and_a_hash_are_not_both_taken(tmp_path: Path) -> None:
    place = table(tmp_path, [{"split": "train"}, {"split": "val"}])
    assert [item.id for item in read(place, "val")] == ["r1"]
    with pytest.raises(DataError, match="has a column split, and --split-by is row; leave out one of the two"):
        read(place, "val", split_by="row")


def test_a_split_that_gets_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of its 1 rows falls into val \(by row, --val-share 0\.001"):
        read(table(tmp_path, [{}]), "val", split_by="row", val_share="0.001")


def test_a_hash_gives_the_share() -> None:
    by = Splitting("row", 0.1, 0.2)
    found = [by.split_of(f"key {n}") for n in range(10_000)]
    assert abs(found.count("val") - 1000) < 100 and abs(found.count("test") - 2000) < 150


def test_a_groups_key_does_not_depend_on_the_order() -> None:
    keys = []
    for order in (["ab", "bc", "cd"], ["cd", "ab", "bc"], ["bc", "cd", "ab"]):
        groups = Groups()
        for pair in order:
            groups.join(pair)
        keys.append([groups.of(name) for name in "abcde"])
    assert keys == [["a", "a", "a", "a", "e"]] * 3
