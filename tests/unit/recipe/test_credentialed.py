# SPDX-License-Identifier: Apache-2.0
"""The doctor tells of credentialed rows that the recipe's judge must not see, before a run stops at one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from medix_verl.data.io.parquet import write_samples
from medix_verl.recipe.checks.credentialed import check_credentialed
from medix_verl.types import Sample

OFF = {"enable": False}
ELSEWHERE = {"kind": "openai", "url": "http://93.184.216.34/v1", "model": "m"}
HERE = {**ELSEWHERE, "url": "http://127.0.0.1:8085/v1"}
NETWORK = {**ELSEWHERE, "url": "http://10.1.2.3/v1", "local_networks": ["10.1.0.0/16"]}


def written(path: Path, *rows: tuple[str, Mapping[str, Any]]) -> str:
    samples = [
        Sample(f"q{number}", source, "What is shown?", "lung", None, (), None, "train", meta)
        for number, (source, meta) in enumerate(rows)
    ]
    write_samples(samples, path)
    return str(path)


@pytest.fixture
def closed(tmp_path: Path) -> str:
    return written(tmp_path / "closed.parquet", ("slake", {}), ("own/ward", {"credentialed": True}))


@pytest.fixture
def public(tmp_path: Path) -> str:
    return written(tmp_path / "public.parquet", ("slake", {}), ("own/ward", {"credentialed": False}))


def test_a_row_that_the_judge_must_not_see_fails(public: str, closed: str) -> None:
    check = check_credentialed(ELSEWHERE, OFF, [public, closed], "medix")
    assert check.status == "FAIL"
    assert f"row 'q1' of own/ward in {closed} is credentialed" in check.found
    assert "http://93.184.216.34/v1 is not local (93.184.216.34 is not this machine)" in check.found
    assert "reward.medix.judge.allow_credentialed=true" in check.todo


def test_the_source_name_of_mimic_is_enough(tmp_path: Path) -> None:
    path = written(tmp_path / "m.parquet", ("mimic-cxr", {}))
    assert check_credentialed(ELSEWHERE, OFF, [path], "medix").status == "FAIL"


@pytest.mark.parametrize("judge", [{"kind": "rule"}, {"kind": "verl"}, HERE, NETWORK])
def test_a_judge_that_may_see_them(judge: dict[str, Any], closed: str) -> None:
    assert check_credentialed(judge, OFF, [closed], "medix").status == "ok"


def test_what_is_allowed_by_name_is_a_warning(closed: str) -> None:
    check = check_credentialed({**ELSEWHERE, "allow_credentialed": True}, OFF, [closed], "medix")
    assert check.status == "warn" and "row 'q1'" in check.found


def test_public_rows_go_anywhere_and_files_that_were_not_seen_are_named(public: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "none.parquet")
    check = check_credentialed(ELSEWHERE, OFF, [public, missing, "s3://bucket/a.parquet"], "medix")
    assert check.status == "ok"
    assert check.found.endswith(f"not looked into: {missing}, s3://bucket/a.parquet")


@pytest.mark.parametrize(("sources", "status"), [("null", "FAIL"), ("[slake]", "ok")])
def test_a_mixture_is_looked_into_as_it_is_drawn_from(tmp_path: Path, closed: str, sources: str, status: str) -> None:
    mixture = tmp_path / "mix.yaml"
    mixture.write_text(f"sources: [{{path: {Path(closed).name}, data_sources: {sources}}}]\n", encoding="utf-8")
    assert check_credentialed(ELSEWHERE, OFF, [str(mixture)], "medix").status == status


def test_what_is_no_file_of_samples_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    check = check_credentialed(ELSEWHERE, OFF, [str(tmp_path / "bad.parquet")], "medix")
    assert check.status == "FAIL" and "bad.parquet: this is not a readable parquet file" in check.found


def test_a_judge_without_an_address_is_not_called_local(closed: str) -> None:
    check = check_credentialed({**ELSEWHERE, "url": None}, OFF, [closed], "medix")
    assert check.status == "FAIL" and "no address" in check.found


def test_an_encoder_elsewhere_is_told_too(closed: str) -> None:
    encoder = {"kind": "openai", "url": "http://93.184.216.34/v1", "model": "m"}
    check = check_credentialed({"kind": "rule"}, encoder, [closed], "medix")
    assert check.status == "FAIL" and "the encoder at http://93.184.216.34/v1 is not local" in check.found
    assert "reward.medix.semantic.kind=sentence_transformers" in check.todo
    assert check_credentialed({"kind": "rule"}, {**encoder, "url": HERE["url"]}, [closed], "medix").status == "ok"


def test_every_judge_of_a_panel_must_be_local(closed: str) -> None:
    panel = [{}, {"model": "b", "url": ELSEWHERE["url"]}]
    check = check_credentialed({**HERE, "panel": panel}, OFF, [closed], "medix")
    assert check.status == "FAIL" and "http://93.184.216.34/v1 is not local" in check.found
    for other in ({"model": "b"}, {"kind": "rule"}, {"kind": "verl"}):
        assert check_credentialed({**HERE, "panel": [{}, other]}, OFF, [closed], "medix").status == "ok"
    check = check_credentialed({"kind": "openai", "panel": [{"model": "a"}, {"model": "b"}]}, OFF, [closed], "medix")
    assert check.status == "FAIL" and "has no address" in check.found
