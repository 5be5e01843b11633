# SPDX-License-Identifier: Apache-2.0
"""Fingerprints of a file: made once, made again when anything changed, and never for a file with an unusable row."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path

import pytest
from PIL import Image

from helpers.wheels import scikit_image
from medix_verl.data.duplicates import fingerprint_cache as module
from medix_verl.data.duplicates.fingerprint_cache import file_marks
from medix_verl.data.io.parquet import write_samples
from medix_verl.errors import DataError
from medix_verl.types import ImageRef, Sample

pictures = scikit_image()

EYE = Image.fromarray(pictures.retina()).resize((64, 64))


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, answer: str = "eye", image: ImageRef | None = None) -> Path:
    shown = image or ImageRef(bytes=png(EYE))
    write_samples([Sample("a", "s", "What?", answer, images=(shown,)), Sample("b", "s", "Who?", "n/a")], path)
    return path


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*.marks.parquet"))


def test_they_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "e.parquet")
    first = list(file_marks(path))
    assert [name for name, _ in first] == ["a", "b"] and len(first[0][1].images) == 1
    assert len(kept(tmp_path)) == 1
    assert kept(tmp_path)[0].stat().st_mode == path.stat().st_mode
    monkeypatch.setattr(module, "marks_of", None)
    assert list(file_marks(path)) == first


def test_another_content_is_fingerprinted_anew_and_the_old_ones_go(tmp_path: Path) -> None:
    path = write(tmp_path / "e.parquet")
    other = write(tmp_path / "e[1].parquet")
    first, (old,) = list(file_marks(path)), kept(tmp_path)
    list(file_marks(other))
    write(path, answer="an eye")
    assert list(file_marks(path)) != first
    assert old not in kept(tmp_path) and len(kept(tmp_path)) == 2


def test_a_picture_beside_the_file_belongs_to_its_content(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(png(EYE))
    path = write(tmp_path / "e.parquet", image=ImageRef(path="p.png"))
    first = list(file_marks(path))
    (tmp_path / "p.png").write_bytes(png(EYE.rotate(90)))
    assert next(iter(file_marks(path)))[1].images != first[0][1].images


def test_a_picture_that_is_replaced_under_its_old_time(tmp_path: Path) -> None:
    (tmp_path / "p.bmp").write_bytes(bmp(EYE))
    os.utime(tmp_path / "p.bmp", (1_700_000_000, 1_700_000_000))
    path = write(tmp_path / "e.parquet", image=ImageRef(path="p.bmp"))
    first = list(file_marks(path))
    (tmp_path / "p.bmp").write_bytes(bmp(EYE.rotate(90)))
    os.utime(tmp_path / "p.bmp", (1_700_000_000, 1_700_000_000))
    assert next(iter(file_marks(path)))[1].images != first[0][1].images


def bmp(picture: Image.Image) -> bytes:
    """A file whose length says nothing of what it shows."""
    stream = io.BytesIO()
    picture.convert("RGB").save(stream, "BMP")
    return stream.getvalue()


def test_an_unusable_row_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "e.parquet", image=ImageRef(bytes=png(EYE)[:300]))
    with pytest.raises(DataError, match=r"e\.parquet: row 'a': its picture is cut off .*a leak into it"):
        list(file_marks(path))
    path = write(tmp_path / "e.parquet", image=ImageRef(path="gone.png"))
    with pytest.raises(DataError, match=r"row 'a': picture .*gone\.png cannot be read"):
        list(file_marks(path))
    assert kept(tmp_path) == [] and list(tmp_path.glob("*.tmp")) == []


def test_a_folder_that_cannot_be_written_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "e.parquet")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("medix_verl.data.duplicates.fingerprint_cache.atomic_write", refuse)
    with caplog.at_level(logging.WARNING):
        assert len(list(file_marks(path))) == 2
    assert "cannot be saved next to it (Permission denied)" in caplog.text
    assert os.listdir(tmp_path) == ["e.parquet"]
