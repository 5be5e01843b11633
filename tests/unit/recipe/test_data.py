# SPDX-License-Identifier: Apache-2.0
"""A run without a step, a validation that measures nothing, and files that cannot be read are said before the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medix_verl.data.io.parquet import write_samples
from medix_verl.recipe.checks.data import check_files, check_overlap, check_prompt, check_validation
from medix_verl.types import Sample

SCHEDULE = {
    **{"batch": 4, "max_samples": -1, "epochs": 2, "steps": None, "test_freq": 2},
    **{"val_before_train": True, "val_only": False, "rate": 1e-6},
}


def rows(path: Path, count: int, word: str = "What") -> str:
    write_samples([Sample(f"{word}{n}", "own", f"{word} is {n}?", "this") for n in range(count)], path)
    return str(path)


@pytest.mark.parametrize(
    ("changes", "name", "status", "found"),
    [
        ({}, None, None, ""),
        ({"batch": 9}, "steps", "FAIL", "8 training rows are less than data.train_batch_size=9"),
        ({"max_samples": 3}, "steps", "FAIL", "3 training rows"),
        ({"test_freq": -1}, "validation", "warn", "validated before the first step only"),
        ({"test_freq": -1, "val_before_train": False}, "validation", "warn", "validated never"),
        (
            {"test_freq": 5, "val_before_train": False},
            "validation",
            "warn",
            "validated once, after the last of 4 steps",
        ),
        ({"test_freq": 5}, None, None, ""),
        ({"test_freq": 5, "steps": 6, "val_before_train": False}, None, None, ""),
        ({"rate": 0}, "validation", "warn", "no step changes the model"),
        ({"rate": 0, "val_only": True}, None, None, ""),
    ],
)
def test_steps_and_validations(
    tmp_path: Path, changes: dict[str, Any], name: str | None, status: str | None, found: str
) -> None:
    train, val = rows(tmp_path / "t.parquet", 8), rows(tmp_path / "v.parquet", 2, "Which")
    checks = list(check_validation({**SCHEDULE, **changes}, [train], [val], "medix"))
    assert [(check.name, check.status) for check in checks] == ([(name, status)] if name else [])
    assert all(found in check.found and check.todo for check in checks)


def test_files(tmp_path: Path) -> None:
    train, val = rows(tmp_path / "t.parquet", 8), rows(tmp_path / "v.parquet", 2, "Which")
    (tmp_path / "mix.yaml").write_text("sources: [{path: t.parquet}, {path: v.parquet}]\n")
    mixture = str(tmp_path / "mix.yaml")
    ok = check_files([mixture, val, "s3://b/x.parquet"], "medix", "prepare")
    assert ok.status == "ok" and ok.found.endswith("; not looked into: s3://b/x.parquet")
    gone = check_files([train, str(tmp_path / "gone.parquet")], "medix", "medix-verl prepare demo")
    assert gone.status == "FAIL" and gone.todo.startswith("medix-verl prepare demo")
    (tmp_path / "own.jsonl").write_text("{}\n")
    assert check_files([str(tmp_path / "own.jsonl")], "medix", "prepare").status == "FAIL"
    assert check_files([str(tmp_path / "own.jsonl")], "medix", "prepare", of_schema=False).status == "ok"
    same = check_overlap([train], [f"{tmp_path}/./t.parquet"], "medix")
    assert same.status == "warn" and "is both" in same.found


def test_prompts() -> None:
    assert check_prompt("medix", "medix") is None
    for name, status in (("medix_short", "warn"), ("nope", "FAIL")):
        check = check_prompt(name, "medix")
        assert check is not None and check.status == status and check.todo
