# SPDX-License-Identifier: Apache-2.0
"""A page's small pictures: of what training opens, and of nothing else that lies in an evaluation's folder."""

import io
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image

from medix_verl.evaluation.audit.thumbnails import thumbnail

NAME = "ab" * 16
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n%%EOF\n"


def folder_with(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / f"{NAME}.png").write_bytes(data)
    return tmp_path


def test_a_picture_is_small_and_a_data_uri(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (900, 300)).save(buffer, "PNG")
    uri = thumbnail(folder_with(tmp_path, buffer.getvalue()), NAME)
    assert uri is not None and uri.startswith("data:image/jpeg;base64,")


def test_a_program_with_a_pictures_name_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow gives EPS to Ghostscript."""
    Image.preinit()
    started: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *words, **more: started.append(words))
    assert thumbnail(folder_with(tmp_path, EPS), NAME) is None
    assert started == []


def test_names_that_are_no_hash_and_pictures_that_are_not_there(tmp_path: Path) -> None:
    assert thumbnail(tmp_path, "../secret") is None and thumbnail(tmp_path, NAME) is None
