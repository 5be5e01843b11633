# SPDX-License-Identifier: Apache-2.0
"""A run's record: whole on disk, the same when read back, kept when the next run comes, and refused when damaged."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.run_record import RECORD
from medix_verl.errors import DataError
from medix_verl.runs.record import (
    FILE_NAME,
    keep_earlier,
    read_record,
    repeat_command,
    write_record,
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write_record(RECORD, tmp_path / "run")
    assert read_record(tmp_path / "run") == RECORD
    assert read_record(path) == RECORD
    assert read_record(tmp_path / "run" / "global_step_5") == RECORD
    assert [item.name for item in path.parent.iterdir()] == [FILE_NAME]


def test_a_record_of_format_1_has_no_terms(tmp_path: Path) -> None:
    path = write_record(replace(RECORD, terms={"judge": 0.5, "brevity": 0.1}), tmp_path)
    assert read_record(tmp_path).terms == {"judge": 0.5, "brevity": 0.1}
    older = {key: value for key, value in json.loads(path.read_text()).items() if key != "terms"}
    path.write_text(json.dumps({**older, "format": 1}))
    assert read_record(tmp_path) == replace(RECORD, format=1) and read_record(tmp_path).terms == {}


def test_the_command_is_one_that_a_shell_reads_back() -> None:
    words = shlex.split(repeat_command(RECORD))
    assert words[:3] == ["python", "-m", "verl.trainer.main_ppo"]
    assert tuple(words[3:]) == RECORD.overrides
    assert RECORD.command == repeat_command(RECORD)


def test_the_next_run_keeps_the_earlier_record(tmp_path: Path) -> None:
    keep_earlier(tmp_path)
    for seed in (1, 2, 3):
        keep_earlier(tmp_path)
        write_record(replace(RECORD, seed=seed), tmp_path)
    assert read_record(tmp_path).seed == 3
    assert [read_record(tmp_path / f"medix_run.{number}.json").seed for number in (1, 2)] == [1, 2]


def test_a_failed_writing_leaves_the_record_that_was_there(tmp_path: Path) -> None:
    write_record(RECORD, tmp_path)
    with pytest.raises(TypeError):
        write_record(replace(RECORD, config={"x": object()}), tmp_path)
    assert read_record(tmp_path) == RECORD
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no medix_run.json in"),
        ('{"form', "is not JSON"),
        ("[]", "is not a record of a run; give"),
        ("{}", "is not a record of a run; give"),
        ('{"format": 1}', "is not a record of a run .*changed by hand"),
        ('{"format": 99}', "has format 99, this medix_verl reads up to 3; update"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(DataError, match=message):
        read_record(tmp_path)


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    path = write_record(RECORD, tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "extra": 1}))
    with pytest.raises(DataError, match="changed by hand"):
        read_record(tmp_path)


def test_an_identity_in_one_line() -> None:
    assert RECORD.judge.describe() == "openai, judge, at http://h/v1"
    assert RECORD.encoder.describe() == "off"
