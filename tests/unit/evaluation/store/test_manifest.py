# SPDX-License-Identifier: Apache-2.0
"""The manifest: read strictly, and a resumed run must be the same run."""

import json
from pathlib import Path
from typing import Any

import pytest

from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.store.manifest import (
    FILE,
    begin,
    missing,
    read_manifest,
    write_manifest,
)
from medix_verl.evaluation.store.records import entry_name, place_of


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "model": "owner/name",
        "judge": {"kind": "rule", "model": []},
        "judge_url": [],
        "protocol": {"name": "published", "rounds": None, "extract": "text"},
        "seed": 0,
        "settings": {"template": "medix", "limit": None},
        "tasks": ["medqa"],
        "condition": "real",
        "conditions": ["real"],
        "done": {},
        "versions": {},
        "limits": {},
        "finished": True,
        "failed": {},
        **changes,
    }


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_manifest(tmp_path / "deep", manifest())
    assert read_manifest(tmp_path / "deep") == manifest()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == [FILE]


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not JSON"), ("[]", "not of format 1"), ('{"format": 1}', "not of format 1")]
)
def test_another_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(DataError, match=message):
        read_manifest(tmp_path)


def test_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not an evaluation"):
        read_manifest(tmp_path)


def test_a_second_run_needs_resume(tmp_path: Path) -> None:
    begin(tmp_path, manifest(), False)
    with pytest.raises(ConfigError, match="type resume=True to go on with it"):
        begin(tmp_path, manifest(), False)


def test_resuming_adds_tasks_and_conditions_and_keeps_what_is_done(tmp_path: Path) -> None:
    begin(tmp_path, manifest(done={"medqa": {"questions": 2}}), False)
    more = begin(tmp_path, manifest(tasks=["slake_vqa"], condition="blank", conditions=["blank"]), True)
    assert more["tasks"] == ["medqa", "slake_vqa"] and more["conditions"] == ["real", "blank"]
    assert more["done"] == {"medqa": {"questions": 2}} and not more["finished"]
    assert json.loads((tmp_path / FILE).read_text()) == more


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model": "other/name"}, "model 'owner/name'"),
        ({"seed": 1}, "seed 0"),
        ({"judge": {"kind": "openai", "model": ["q"]}}, "judge.kind 'rule'"),
        ({"settings": {"template": "medix", "limit": 5}}, "settings.limit None"),
        ({"protocol": {"name": "robust", "rounds": None, "extract": "text"}}, "protocol.name"),
    ],
)
def test_resuming_another_run_is_refused(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    begin(tmp_path, manifest(), False)
    with pytest.raises(ConfigError, match=expected):
        begin(tmp_path, manifest(**changes), True)


def test_another_address_of_the_same_judge_is_accepted(tmp_path: Path) -> None:
    begin(tmp_path, manifest(), False)
    assert begin(tmp_path, manifest(judge_url=["http://127.0.0.1:9/v1"]), True)["judge_url"]


def test_entry_names_are_those_of_the_record_files() -> None:
    assert entry_name("medqa", "real") == "medqa" and entry_name("slake_vqa", "blank") == "slake_vqa.blank"


def test_the_task_of_an_entry_is_told() -> None:
    assert [place_of(name)[0] for name in ("medqa", "slake_vqa.blank", "own.set")] == ["medqa", "slake_vqa", "own.set"]
    assert place_of("slake_vqa.blank") == ("slake_vqa", "blank") and place_of("own.set") == ("own.set", "real")


def test_a_subset_that_is_resumed_finishes_nothing_but_itself(tmp_path: Path) -> None:
    """A run of two tasks is killed in the first one; the second one, asked for alone, is not the whole evaluation."""
    begin(tmp_path, manifest(tasks=["medqa", "pubmedqa"], asked=["medqa", "pubmedqa"], finished=False), False)
    more = begin(tmp_path, manifest(tasks=["pubmedqa"], asked=["pubmedqa"]), True)
    more["done"]["pubmedqa"] = {"questions": 2}
    assert missing(more) == {"medqa": "not run yet"}
    more["done"]["medqa"] = {"questions": 2}
    assert missing(more) == {}


def test_a_failure_stays_until_its_task_is_run_again(tmp_path: Path) -> None:
    failed = {"medqa": "no such file"}
    begin(tmp_path, manifest(failed=failed, asked=["medqa"], finished=False), False)
    more = begin(tmp_path, manifest(tasks=["pubmedqa"], asked=["pubmedqa"], done={}), True)
    assert more["failed"] == failed
    assert missing({**more, "done": {"medqa": {}, "pubmedqa": {}}}) == failed


def test_a_manifest_of_before_says_by_its_tasks_what_was_asked(tmp_path: Path) -> None:
    old = manifest(
        tasks=["medqa", "slake_vqa"], done={"medqa": {}, "slake_vqa.blank": {}}, conditions=["real", "blank"]
    )
    assert list(missing(old)) == ["slake_vqa"]
    write_manifest(tmp_path, old)
    assert begin(tmp_path, manifest(asked=["medqa"]), True)["asked"] == ["medqa", "slake_vqa", "slake_vqa.blank"]
