# SPDX-License-Identifier: Apache-2.0
"""Archives of strangers: a file that says another length than it has is its own row's refusal, and nothing hangs."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from medix_verl.data.io import archives
from medix_verl.data.source import Source
from medix_verl.errors import DataError

pytestmark = pytest.mark.timeout(20)
GOOD = b"the good one"


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE, extra: dict[int, bytes] | None = None) -> bytes:
    """A header of a tar file with any length, also one that no program would write."""
    made = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    digits = (
        b"%011o\0" % size
        if 0 <= size < 1 << 33
        else bytes([0x80 if size > 0 else 0xFF]) + size.to_bytes(11, "big", signed=True)
    )
    made[124:136], made[156:157] = digits, kind
    for place, value in (extra or {}).items():
        made[place : place + len(value)] = value
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


def whole(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax(*words: bytes) -> bytes:
    body = b"".join(b"%d %s\n" % (len(word) + 2 + len(str(len(word) + 4)), word) for word in words)
    return header("pax", len(body), tarfile.XHDTYPE) + whole(body)


FIRST = header("good.png", len(GOOD)) + whole(GOOD)
SPARSE = {386: b"00000000000\x00" + b"00000001000\x00", 483: b"\x80" + (1 << 50).to_bytes(11, "big")}
HOSTILE_TARS: dict[str, bytes] = {
    "a length below 0": header("a.png", -512) + whole(b"x"),
    "a length below 0 that leads to the beginning": header("a.png", -2048) + whole(b"x"),
    "a length of many gigabytes": header("a.png", 1 << 40) + whole(b"x"),
    "a length by a further header": pax(b"size=999999999999999999") + header("a.png", 1) + whole(b"x"),
    "a length that no integer holds": pax(b"size=" + b"9" * 40) + header("a.png", 1) + whole(b"x"),
    "a file with holes": header("a.png", 512, b"S", SPARSE) + whole(b"x"),
    "a name of many gigabytes": header("long", 1 << 44, tarfile.GNUTYPE_LONGNAME) + whole(b"x"),
}


@pytest.mark.parametrize("why", HOSTILE_TARS)
def test_a_hostile_tar_costs_its_own_files_only(tmp_path: Path, why: str) -> None:
    (tmp_path / "p.tar").write_bytes(FIRST + HOSTILE_TARS[why] + bytes(1024))
    source = Source(tmp_path)
    assert source.member("good.png") == GOOD
    with pytest.raises(DataError, match=r"p\.tar (has a length that is not the archive's|is damaged)|no file a\.png"):
        source.member("a.png")
    assert source.member("good.png") == GOOD


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_what_is_no_file_in_a_tar_is_not_found(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "p.tar").write_bytes(FIRST + header("a.png", 0, kind, {157: b"/dev/zero"}) + bytes(1024))
    with pytest.raises(DataError, match=r"there is no file a\.png beside the rows"):
        Source(tmp_path).member("a.png")


def test_names_that_leave_the_folder_are_not_found(tmp_path: Path) -> None:
    outside = b"".join(header(name, 1) + whole(b"x") for name in ("../../a.png", "/etc/b.png", "c/../../d.png"))
    (tmp_path / "p.tar").write_bytes(FIRST + outside + bytes(1024))
    source = Source(tmp_path)
    for name in ("a.png", "b.png", "d.png"):
        with pytest.raises(DataError, match="there is no file"):
            source.member(name)


def packed(way: int, data: bytes = bytes(range(256)) * 40) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", way) as archive:
        archive.writestr("a.png", data)
    return buffer.getvalue()


def damaged(data: bytes) -> bytes:
    """The packed bytes of the first file, spoilt."""
    start = 30 + len("a.png")
    return data[: start + 8] + bytes(byte ^ 0x5A for byte in data[start + 8 : start + 60]) + data[start + 60 :]


def newer(data: bytes) -> bytes:
    """A file that needs version 25.5 of the format."""
    at = data.index(b"PK\x01\x02") + 6
    return data[:at] + struct.pack("<H", 255) + data[at + 2 :]


@pytest.mark.parametrize("way", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("spoil", [damaged, newer])
def test_a_damaged_zip_is_named(tmp_path: Path, way: int, spoil: Callable[[bytes], bytes]) -> None:
    (tmp_path / "good.png").write_bytes(GOOD)
    (tmp_path / "p.zip").write_bytes(spoil(packed(way)))
    source = Source(tmp_path)
    with pytest.raises(DataError, match=r"a\.png in .*p\.zip cannot be read|p\.zip is not a readable archive"):
        source.member("a.png")
    assert source.member("good.png") == GOOD


def test_a_file_above_the_limit_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 1000)
    (tmp_path / "p.zip").write_bytes(packed(zipfile.ZIP_DEFLATED, bytes(1 << 20)))
    (tmp_path / "q.tar").write_bytes(header("b.png", 2000) + whole(bytes(2000)) + bytes(1024))
    for name in ("a.png", "b.png"):
        with pytest.raises(DataError, match=f"{name} in .* has more than 0 MiB; take it out"):
            Source(tmp_path).member(name)
