# SPDX-License-Identifier: Apache-2.0
"""The store of pictures: one file a content, whole files only, names that say the kind."""

import hashlib
import threading
from pathlib import Path

import pytest

from medix_verl.data.pictures.image_store import ImageStore
from medix_verl.errors import DataError
from medix_verl.types import ImageRef

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 100


def test_a_picture_is_stored_once(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "train.images")
    ref = store.put(PNG)
    name = hashlib.sha256(PNG).hexdigest()[:32]
    assert ref == ImageRef(path=f"train.images/{name[:2]}/{name}.png")
    assert (tmp_path / str(ref.path)).read_bytes() == PNG
    before = (tmp_path / str(ref.path)).stat().st_mtime_ns
    assert store.put(PNG) == ref
    assert (tmp_path / str(ref.path)).stat().st_mtime_ns == before
    assert store.put(PNG + b"y") != ref
    assert len(list((tmp_path / "train.images").rglob("*.*"))) == 2, "and nothing half-written is left"


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (b"\xff\xd8\xff\xe0", ".jpg"),
        (b"GIF89a", ".gif"),
        (b"RIFF....WEBPVP8", ".webp"),
        (b"II*\x00", ".tif"),
        (b"\x00" * 128 + b"DICM", ".dcm"),
        (b"?", ".bin"),
    ],
)
def test_the_name_says_the_kind(tmp_path: Path, data: bytes, suffix: str) -> None:
    assert str(ImageStore(tmp_path / "s").put(data).path).endswith(suffix)


def test_a_file_can_be_read_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    path = tmp_path / str(ImageStore(tmp_path / "s").put(PNG).path)
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_many_may_put_the_same_picture(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "s")
    threads = [threading.Thread(target=store.put, args=(PNG,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()] == [PNG]


def test_no_bytes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a picture to store has no bytes; drop the row"):
        ImageStore(tmp_path / "s").put(b"")
