# SPDX-License-Identifier: Apache-2.0
"""A stamped file's pictures are not decoded again; whatever was changed in it, they are."""

import io
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from medix_verl.data.io.parquet import load_table, write_rows, write_samples
from medix_verl.data.pictures import messages
from medix_verl.data.pictures.image_store import ImageStore
from medix_verl.data.pictures.messages import to_message
from medix_verl.data.pictures.stamp import KEY
from medix_verl.data.schema import SAMPLE_SCHEMA
from medix_verl.errors import DataError
from medix_verl.types import ImageRef, Sample


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of `datasets`."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (level, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def put(path: Path, decoded: bool = True) -> Path:
    samples = [
        Sample("a", "s", "What?", "x", "CT_SCAN", (ImageRef(bytes=png(1)), ImageRef(path="t.images/aa/aa.png"))),
        Sample("b", "s", "Why?", "y"),
        Sample("c", "s", "Who?", "z", "CT_SCAN", (ImageRef(bytes=png(2)),)),
    ]
    write_rows(iter(samples), path, path, decoded)
    return path


CHANGES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "nothing": lambda table: table,
    "a question": lambda table: table.set_column(2, SAMPLE_SCHEMA.field(2), [["Where?", "When?", "How?"]]),
    "a row less": lambda table: table.slice(1),
    "the order": lambda table: table.take([2, 1, 0]),
    "a picture": lambda table: pa.Table.from_pylist(
        [{**row, "images": [{"bytes": b"broken", "path": None}] * len(row["images"])} for row in table.to_pylist()],
        schema=table.schema,
    ),
}


@pytest.mark.parametrize(("change", "kept"), [(name, name in ("nothing", "a question")) for name in CHANGES])
def test_a_stamp_that_another_tool_carried_along_counts_for_the_same_pictures_only(
    tmp_path: Path, change: str, kept: bool
) -> None:
    table = pq.read_table(put(tmp_path / "a.parquet"))
    stamped = {KEY: pq.read_metadata(tmp_path / "a.parquet").metadata[KEY]}
    pq.write_table(CHANGES[change](table).replace_schema_metadata(stamped), tmp_path / "b.parquet")
    for _ in range(2):  # made, and found in the cache
        assert load_table(tmp_path / "a.parquet").decoded
        assert load_table(tmp_path / "b.parquet").decoded is kept


def test_no_stamp_where_nothing_was_decoded(tmp_path: Path) -> None:
    assert not load_table(put(tmp_path / "a.parquet", decoded=False)).decoded
    write_samples([Sample("a", "s", "What?", "x")], tmp_path / "b.parquet")
    assert not load_table(tmp_path / "b.parquet").decoded


@pytest.mark.parametrize("change", [("PIL.__version__", "9.9"), ("medix_verl.data.pictures.images.FORMATS", ("PNG",))])
def test_another_decoder_decodes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, object]
) -> None:
    from medix_verl.data.pictures.images import known_formats

    path = put(tmp_path / "a.parquet")
    assert load_table(path).decoded
    monkeypatch.setattr(*change)
    known_formats.cache_clear()
    assert not load_table(path).decoded
    monkeypatch.undo()
    known_formats.cache_clear()


def test_a_stamp_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    table = pq.read_table(put(tmp_path / "a.parquet"))
    for number, value in enumerate((b"{", b"[]", b"3", b'{"pictures": 1}')):
        pq.write_table(table.replace_schema_metadata({KEY: value}), tmp_path / f"{number}.parquet")
        assert not load_table(tmp_path / f"{number}.parquet").decoded


@pytest.mark.parametrize("form", ["encoded", "files"])
def test_what_is_decoded_for_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    seen: list[ImageRef] = []
    monkeypatch.setattr(messages, "load_image", lambda ref, *_: seen.append(ref))
    stored = ImageStore(tmp_path / "t.images").put(png(3))
    changed = ImageStore(tmp_path / "t.images").put(png(4))
    (tmp_path / str(changed.path)).write_bytes(png(5))
    dicom = ImageRef(bytes=b"\0" * 128 + b"DICM" + b"\0" * 40)
    for ref in (ImageRef(bytes=png(1)), stored, changed, dicom):
        to_message(ref, "r", str(tmp_path), form, None, str(tmp_path / "store"), decoded=True)
    assert seen == [changed, dicom]
    to_message(stored, "r", str(tmp_path), form, None, None, decoded=False)
    assert seen == [changed, dicom, stored]


def test_a_stored_picture_that_is_gone_still_names_its_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 'r': picture .*gone\.png cannot be read"):
        to_message(ImageRef(path="gone.png"), "r", str(tmp_path), "files", None, None, decoded=True)
