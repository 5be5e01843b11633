# SPDX-License-Identifier: Apache-2.0
"""The manifest: read strictly, and a resumed run must be the same run."""

import json
from pathlib import Path
from typing import Any

import pytest

from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.manifest import FILE, begin, entry_name, read_manifest, write_manifest


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
    with pytest.raises(DataError, match="is no evaluation"):
        read_manifest(tmp_path)


def test_a_second_run_needs_resume(tmp_path: Path) -> None:
    begin(tmp_path, manifest(), False)
    with pytest.raises(ConfigError, match="--resume"):
        begin(tmp_path, manifest(), False)


def test_resuming_adds_tasks_and_conditions_and_keeps_what_is_done(tmp_path: Path) -> None:
    begin(tmp_path, manifest(done={"medqa": {"questions": 2}}), False)
    more = begin(tmp_path, manifest(tasks=["slake_vqa"], condition="blank", conditions=["blank"]), True)
    assert more["tasks"] == ["medqa", "slake_vqa"] and more["conditions"] == ["real", "blank"]
    assert more["done"] == {"medqa": {"questions": 2}} and not more["finished"]
    assert json.loads((tmp_path / FILE).read_text()) == more


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": "other/name"}, "model 'owner/name'"),
        ({"seed": 1}, "seed 0"),
        ({"judge": {"kind": "openai", "model": ["q"]}}, "judge.kind 'rule'"),
        ({"settings": {"template": "medix", "limit": 5}}, "settings.limit None"),
        ({"protocol": {"name": "robust", "rounds": None, "extract": "text"}}, "protocol.name"),
    ],
)
def test_resuming_another_run_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    begin(tmp_path, manifest(), False)
    with pytest.raises(ConfigError, match=told):
        begin(tmp_path, manifest(**changes), True)


def test_another_address_of_the_same_judge_is_accepted(tmp_path: Path) -> None:
    begin(tmp_path, manifest(), False)
    assert begin(tmp_path, manifest(judge_url=["http://127.0.0.1:9/v1"]), True)["judge_url"]


def test_entry_names_are_those_of_the_record_files() -> None:
    assert entry_name("medqa", "real") == "medqa" and entry_name("slake_vqa", "blank") == "slake_vqa.blank"
