# SPDX-License-Identifier: Apache-2.0
"""A file is there whole or not at all, readable as any other, and nothing stays beside it, even of a killed writer."""

import errno
import fcntl
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medix_verl.errors import ConfigError
from medix_verl.runtime.files import append_lines, atomic_write, locked, read_json_lines, write_json, write_text


def test_it_takes_the_place_of_the_old_one_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with atomic_write(path) as part:
        part.write_text("new")
        assert path.read_text() == "old" and part.parent == tmp_path and part.name.startswith(".a.json.")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_raises_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_half(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def write_half(path: Path) -> None:
    with atomic_write(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_it_is_as_readable_as_a_plain_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with atomic_write(tmp_path / "a") as part:
            part.write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "no" / "a"):
        pass


WRITER = """
import os, sys, time
from pathlib import Path
from medix_verl.errors import ConfigError
from medix_verl.runtime.files import append_lines, atomic_write, locked, read_json_lines, write_json, write_text
with atomic_write(Path(sys.argv[1])) as part:
    part.write_text(sys.argv[2])
    print(part, flush=True)
    sys.stdin.readline()
"""


def writer(path: Path, text: str) -> tuple[subprocess.Popen[str], Path]:
    """Another process that has written its part file and waits for a line."""
    command = [sys.executable, "-c", WRITER, str(path), text]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def end(process: subprocess.Popen[str], killed: bool = False) -> None:
    if killed:
        process.kill()
    process.communicate("\n", timeout=30)


def test_what_a_killed_writer_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    killed = [writer(path, "half")[0] for _ in range(3)]
    for process in killed:
        end(process, killed=True)
    other = tmp_path / ".b.json.0.part"
    other.write_text("of another file")
    assert len(list(tmp_path.iterdir())) == 4 and not path.exists()
    with atomic_write(path) as part:
        part.write_text("whole")
    assert path.read_text() == "whole"
    assert sorted(tmp_path.iterdir()) == [other, path]


def test_what_a_living_writer_writes_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    process, part = writer(path, "theirs")
    with atomic_write(path) as ours:
        assert part.read_text() == "theirs" and ours != part
        ours.write_text("ours")
    assert path.read_text() == "ours" and part.read_text() == "theirs"
    end(process)
    assert process.returncode == 0 and path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_many_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a"

    def write(number: int) -> None:
        for _ in range(20):
            with atomic_write(path) as part:
                part.write_text(str(number) * 1000)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(10, 26)))
    assert len(set(path.read_text()[i : i + 2] for i in range(0, 2000, 2))) == 1 and len(path.read_text()) == 2000
    assert list(tmp_path.iterdir()) == [path]


def test_a_part_file_that_is_not_ours_to_open_is_passed_by(tmp_path: Path) -> None:
    (tmp_path / ".a.0.part").symlink_to(tmp_path / "elsewhere")
    (tmp_path / ".a.1.part").mkdir()
    with atomic_write(tmp_path / "a") as part:
        assert part.name == ".a.2.part"
        part.write_text("x")
    assert not (tmp_path / "elsewhere").exists() and (tmp_path / "a").read_text() == "x"


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "real").write_text("old")
    (tmp_path / "a").symlink_to(tmp_path / "disk" / "real")
    (tmp_path / "b").symlink_to("a")
    for name in ("a", "b"):
        with atomic_write(tmp_path / name) as part:
            assert part.parent == tmp_path / "disk"
            part.write_text(name)
        assert (tmp_path / name).is_symlink() and (tmp_path / "disk" / "real").read_text() == name
    (tmp_path / "c").symlink_to(tmp_path / "gone" / "real")
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "c"):
        pass
    assert caught.value.filename == str(tmp_path / "c") and (tmp_path / "c").is_symlink()


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with atomic_write(tmp_path / "a") as first, atomic_write(tmp_path / "a") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OSError, match="No locks available") as caught, locked(tmp_path / "l", "busy"):
        pass
    assert caught.value.filename == str(tmp_path / "l")


def test_json_and_text(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": "\udcff", "a": 1}, sort_keys=True, ensure_ascii=False)
    assert (tmp_path / "a.json").read_text() == '{\n "a": 1,\n "b": "?"\n}\n'
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", float("nan"), allow_nan=False)
    write_text(tmp_path / "b.txt", (line for line in ("1\r\n", "2\n")))
    assert (tmp_path / "b.txt").read_bytes() == b"1\r\n2\n"
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "b.txt", "\udcff")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.txt"]


def test_lines_are_added_behind_what_a_killed_process_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "1.jsonl"
    append_lines(path, ['{"a": 1}\n', '{"a": 2}\n'])
    with path.open("a") as file:
        file.write('{"a": 3')
    append_lines(path, ['{"a": 4}\n'])
    append_lines(path, ["7\n", "\n", '{"a": "\udcff"}\n'])
    assert list(read_json_lines(path)) == [{"a": 1}, {"a": 2}, None, {"a": 4}, None, {"a": "?"}]


HOLDER = """
import sys
from pathlib import Path
from medix_verl.runtime.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return process


def test_one_process_holds_a_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    process = holder(path)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    with pytest.raises(ConfigError, match="it is busy, wait"), locked(path, "it is busy, wait"):
        pass
    waiting = holder(path)
    end(process)
    assert waiting.stdout is not None and waiting.stdout.readline() == "held\n"
    end(waiting, killed=True)
    assert path.exists()
    with locked(path, "busy"):
        with pytest.raises(ConfigError, match="busy"), locked(path, "busy"):
            pass
        with locked(tmp_path / "other", "busy"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_held_by_one_at_a_time_though_its_file_comes_and_goes(tmp_path: Path) -> None:
    inside: list[int] = []

    def hold(number: int) -> None:
        for _ in range(50):
            with locked(tmp_path / "l"):
                inside.append(number)
                assert inside == [number]
                inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hold, range(8)))
    assert list(tmp_path.iterdir()) == []
