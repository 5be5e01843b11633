# SPDX-License-Identifier: Apache-2.0
"""Parts count when they are whole, and belong to one plan."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from medix_verl.data.converters.base import Refused
from medix_verl.data.duplicates.fingerprints import Fingerprint, fingerprint, from_record
from medix_verl.data.prepare.check_pool import Outcome
from medix_verl.data.prepare.parts import Parts
from medix_verl.types import Sample


def accepted(name: str, flags: tuple[str, ...] = ()) -> Outcome:
    sample = Sample(name, "s", f"What is {name}?", "this")
    return Outcome(sample, flags, fingerprint(sample, []))


def ids(parts: Parts) -> list[str]:
    return [sample.id for sample in parts.samples()]


def test_a_part_is_read_as_it_was_written(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "a.parquet", {"k": 1})
    assert parts.begin() == "nothing"
    parts.write(0, [accepted("a", ("tiny",)), Outcome(Refused("b", "no answer", "none")), accepted("c", ("tiny",))])
    parts.write(1, [Outcome(Refused("d", "no answer"))])
    first, second = parts.facts()
    assert (first.items, first.samples, first.refused, first.flags) == (
        3,
        2,
        (("b", "no answer", "none"),),
        {"tiny": 2},
    )
    assert (second.items, second.samples) == (1, 0)
    assert ids(parts) == ["a", "c"]
    assert [name for batch in parts.marks() for name in batch.column("id").to_pylist()] == ["a", "c"]
    assert not parts.complete
    parts.finish()
    assert parts.complete
    parts.remove()
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_part_does_not_count(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "a.parquet", {})
    parts.begin()
    parts.write(0, [accepted("a")])

    def broken() -> Iterator[Outcome]:
        yield accepted("b")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        parts.write(1, broken())
    (parts.folder / ".part-00001.parquet.0.part").write_bytes(b"of a killed one")
    again = Parts(tmp_path / "a.parquet", {})
    assert again.begin() == "parts" and again.count() == 1
    assert not list(again.folder.glob(".*.part"))
    again.write(1, [accepted("c")])
    assert ids(again) == ["a", "c"]


def test_a_part_that_is_lost_is_made_again(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "a.parquet", {})
    parts.begin()
    for number, name in enumerate("abc"):
        parts.write(number, [accepted(name)])
    parts.finish()
    (parts.folder / "part-00001.json").unlink()
    assert parts.count() == 1 and not parts.complete


def test_a_folder_that_is_half_deleted_does_not_count(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "a.parquet", {})
    parts.begin()
    parts.write(0, [accepted("a")])
    parts.folder.rename(tmp_path / ".a.parquet.parts.gone")
    assert Parts(tmp_path / "a.parquet", {}).begin() == "nothing"
    assert [path.name for path in tmp_path.iterdir()] == [".a.parquet.parts"]


def test_parts_of_another_plan_are_thrown_away(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "a.parquet", {"split": "train", "limit": 3})
    parts.begin()
    parts.write(0, [accepted("a")])
    other = Parts(tmp_path / "a.parquet", {"split": "val", "limit": 3})
    assert other.begin() == "another plan (changed: split)"
    assert other.count() == 0
    (other.folder / "plan.json").write_text("{", encoding="utf-8")
    assert other.begin() == "another plan (its plan cannot be read)"


def test_no_fingerprint_is_no_mark(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "a.parquet", {})
    parts.begin()
    with pytest.raises(TypeError, match="no fingerprint"):
        parts.write(0, [Outcome(Sample("a", "s", "?", "x"))])


def test_a_fingerprint_survives(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "a.parquet", {})
    parts.begin()
    marks = Fingerprint(b"t" * 16, b"q" * 16, (b"i" * 16,), (2**64 - 1,), (b"d" * 32,), b"g" * 16)
    parts.write(0, [Outcome(Sample("a", "s", "?", "x"), (), marks)])
    (record,) = [record for batch in parts.marks() for record in batch.to_pylist()]
    assert from_record(record) == ("a", marks)
