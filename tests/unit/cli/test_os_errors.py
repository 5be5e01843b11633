# SPDX-License-Identifier: Apache-2.0
"""Errors of the operating system: the user's own path, what is wrong, and what to type, never a `.part` file."""

import errno
import os
from pathlib import Path

import pytest

from medix_verl.cli.os_errors import describe_os_error, own_path
from medix_verl.runtime.files import atomic_write


def described(kind: int, *names: Path | str | None) -> str:
    first, second = [*map(lambda name: None if name is None else str(name), names), None, None][:2]
    return describe_os_error(OSError(kind, os.strerror(kind), first, None, second))


@pytest.mark.parametrize(
    ("internal", "own"),
    [
        ("out/.a.jsonl.k3_x9abz.part", "out/a.jsonl"),
        ("out/.manifest.json.partial", "out/manifest.json"),
        ("out/.model.4242.part", "out/model"),
        ("out/.train.parquet.parts/rows-3.tmp", "out/train.parquet"),
        ("out/.train.parquet.parts", "out/train.parquet"),
        ("out/.train.parquet.lock", "out/train.parquet"),
        ("out/.hidden", "out/.hidden"),
        ("out/a.part", "out/a.part"),
    ],
)
def test_a_file_that_was_not_finished_has_the_name_that_it_would_get(internal: str, own: str) -> None:
    assert own_path(internal) == Path(own)


@pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(tmp_path: Path, kind: int) -> None:
    said = described(kind, tmp_path / ".a.jsonl.k3_x9abz.part")
    assert said.startswith(f"{tmp_path / 'a.jsonl'}: ") and said.endswith(f"df -h {tmp_path}")
    assert described(kind).endswith("df -h shows what is full")


@pytest.mark.parametrize("kind", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_no_permission(tmp_path: Path, kind: int) -> None:
    assert described(kind, tmp_path / "no" / "a").endswith(f"give another place, or see whose it is: ls -ld {tmp_path}")


@pytest.mark.parametrize("kind", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(tmp_path: Path, kind: int) -> None:
    said = described(kind, tmp_path / ".train.parquet.lock")
    found = "this file system cannot lock files; give a place on a local disk: df -T"
    assert said == f"{tmp_path / 'train.parquet'}: {found} {tmp_path}"


def test_a_link_is_named_with_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "a").symlink_to(tmp_path / "disk" / "real")
    said = described(errno.ENOSPC, tmp_path / "a")
    assert said.startswith(f"{tmp_path / 'a'} (a link to {tmp_path / 'disk' / 'real'}): the disk is full; ")
    assert said.endswith(f"df -h {tmp_path / 'disk'}")
    (tmp_path / "b").symlink_to(tmp_path / "gone" / "real")
    assert described(errno.ENOENT, tmp_path / "b").endswith(f"fix the link, or type: mkdir -p {tmp_path / 'gone'}")


def test_a_missing_folder_and_a_missing_file(tmp_path: Path) -> None:
    said = described(errno.ENOENT, tmp_path / "no" / ".a.k3_x9abz.part")
    folder = tmp_path / "no"
    assert said == f"{folder / 'a'}: the folder {folder} does not exist; fix the path, or type: mkdir -p {folder}"
    said = described(errno.ENOENT, tmp_path / "a")
    assert said == f"{tmp_path / 'a'}: no such file or folder; see what there is: ls {tmp_path}"
    assert described(errno.ENOENT, "a.jsonl") == "a.jsonl: no such file or folder; see what there is: ls ."


def test_a_folder_where_a_file_is_needed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError) as caught, atomic_write(tmp_path / "out"):
        pass
    assert describe_os_error(caught.value).startswith(f"{tmp_path / 'out'}: a folder, where the name of a file")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OSError) as caught, atomic_write(file / "a"):
        pass
    assert describe_os_error(caught.value) == (
        f"{file / 'a'}: {file} is a file, where a folder is needed; give another path, or move that file away"
    )
    assert described(errno.EEXIST, file).startswith(f"{file}: a file, where a folder is needed; ")
    assert described(errno.EEXIST, tmp_path / "b").endswith("it exists already; give another name, or move it away")


def test_the_second_name_of_a_rename_is_the_users(tmp_path: Path) -> None:
    assert described(errno.EACCES, tmp_path / "x.tmp", tmp_path / "a").startswith(f"{tmp_path / 'a'}: ")


def test_too_many_open_files_and_what_has_no_number() -> None:
    assert "ulimit -n" in described(errno.EMFILE)
    assert describe_os_error(ConnectionError("no\nroute")) == ("ConnectionError: no route; --debug shows the traceback")
    assert described(errno.EIO, "a") == "a: Input/output error; --debug shows the traceback"


def test_a_disk_that_fills_up_while_a_file_is_written_names_that_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with pytest.raises(OSError) as caught, atomic_write(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert describe_os_error(caught.value).startswith(f"{path}: the disk is full; ")
    with pytest.raises(FileNotFoundError) as missing, atomic_write(path):
        (tmp_path / "other").read_text()
    assert missing.value.filename == str(tmp_path / "other")
    assert list(tmp_path.iterdir()) == []
