# SPDX-License-Identifier: Apache-2.0
"""Files that a data set must not lead to: pipes, devices, links out of its folder; nothing waits, nothing is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medix_verl.data.io.file_limits import is_own_file, open_regular, read_regular
from medix_verl.data.pictures.images import load_image
from medix_verl.data.pictures.token_counts import image_size
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.types import ImageRef

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set with a file, a link to it, and links, pipes and devices that must not be opened."""
    (tmp_path / "secret").write_bytes(b"secret")
    root = tmp_path / "set"
    (root / "deep").mkdir(parents=True)
    (root / "a.png").write_bytes(b"own")
    (root / "deep" / "b.png").symlink_to("../a.png")
    (root / "out.png").symlink_to(tmp_path / "secret")
    (root / "zero.png").symlink_to("/dev/zero")
    (root / "gone.png").symlink_to("nowhere")
    (root / "circle.png").symlink_to("circle.png")
    (root / "there").symlink_to(tmp_path)
    (root / "again").symlink_to(root)
    os.mkfifo(root / "pipe.png")
    return root


BAD = ("out.png", "zero.png", "gone.png", "circle.png", "pipe.png", "there/secret")


def test_a_set_lists_its_own_files_only(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Source(folder).names("*") == ["a.png", "deep/b.png"]
    found = {record.args[0].name for record in caplog.records}  # type: ignore[index,union-attr]  # of the message
    assert found == {"out.png", "zero.png", "gone.png", "circle.png", "pipe.png", "there"}


def test_members_are_the_sets_own_files(folder: Path) -> None:
    source = Source(folder)
    assert source.member("a.png") == source.member("deep/b.png") == source.member("again/a.png") == b"own"
    for name in BAD:
        with pytest.raises(DataError, match="link that leaves the folder, a pipe or a device; put the file there"):
            source.member(name)


def test_a_snapshot_of_the_hub_is_made_of_links_into_its_own_repository(tmp_path: Path) -> None:
    blobs, commit = tmp_path / "datasets--a--b" / "blobs", tmp_path / "datasets--a--b" / "snapshots" / "c0ffee"
    blobs.mkdir(parents=True)
    (commit / "data").mkdir(parents=True)
    (blobs / "1234").write_bytes(b"rows")
    (commit / "data" / "train.jsonl").symlink_to(Path("../../../blobs/1234"))
    (tmp_path / "other").write_bytes(b"other")
    (commit / "other").symlink_to(tmp_path / "other")
    assert Source(commit).names("*") == ["data/train.jsonl"]
    assert is_own_file(commit / "data" / "train.jsonl", commit / "data")


@pytest.mark.parametrize("name", ["pipe.png", "zero.png", "deep"])
def test_a_picture_is_a_regular_file(folder: Path, name: str) -> None:
    for read in (load_image, image_size):
        with pytest.raises(
            DataError, match=f"row 'r7': .*{name} cannot be read .no file but a folder, a pipe or a device"
        ):
            read(ImageRef(path=name), "r7", folder)


def test_a_file_above_the_limit_is_refused_unread(folder: Path) -> None:
    assert read_regular(folder / "a.png") == b"own"
    with open_regular(folder / "a.png") as file:
        assert file.read() == b"own"
    with pytest.raises(DataError, match="is too large .0 MiB.; at most 0 MiB"):
        read_regular(folder / "a.png", limit=2)
    with pytest.raises(FileNotFoundError):
        read_regular(folder / "nowhere")
