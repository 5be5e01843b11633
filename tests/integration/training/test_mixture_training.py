# SPDX-License-Identifier: Apache-2.0
"""The main job on a mixture: three sets in their own published layouts, prepared by the command, and two real steps.

Text-only rows (medical-o1-verifiable-problem), rows with one picture (VQA-RAD) and with three (medix-rl-data) share
every batch.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from medix_verl.cli.main import main
from medix_verl.data.io.parquet import read_samples

pytestmark = pytest.mark.timeout(1000)
ROWS = 12


def picture(seed: int) -> dict[str, Any]:
    """A picture unlike any other: coarse noise, so that no two look alike to the duplicate search."""
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize((120, 90)).save(stream, "JPEG", quality=90)
    return {"bytes": stream.getvalue(), "path": None}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_sets(folder: Path) -> None:
    texts = [
        {"Open-ended Verifiable Question": f"Which vitamin is number {n}?", "Ground-True Answer": f"B{n}"}
        for n in range(ROWS)
    ]
    (folder / "o1").mkdir()
    (folder / "o1" / "medical_o1_verifiable_problem.json").write_text(json.dumps(texts))
    single = [{"image": picture(n), "question": f"Is organ {n} seen?", "answer": "yes"} for n in range(ROWS)]
    write_rows(folder / "rad" / "data" / "train-00000-of-00001-eb8844602202be60.parquet", single)
    triple = [
        {
            "id": f"m{n}",
            "image": [picture(100 + 3 * n + k) for k in range(3)],
            "source": "made_up",
            "problem": f"<image><image><image>Which of three, {n}?",
            "solution": "<X_RAY>the second",
        }
        for n in range(ROWS)
    ]
    write_rows(folder / "medix" / "data" / "train-00000-of-00001.parquet", triple)


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture file over the three sets, prepared as a user would."""
    folder = tmp_path_factory.mktemp("mixture")
    write_sets(folder)
    for name, place in (("medical-o1-verifiable-problem", "o1"), ("vqa-rad", "rad"), ("medix-rl-data", "medix")):
        command = ["prepare", name, "--source", str(folder / place), "--split", "train"]
        assert main([*command, "--out", str(folder / f"{place}.parquet"), "--workers", "1"]) == 0
    path = folder / "mixture.yaml"
    path.write_text(
        "seed: 3\nsources:\n  - path: o1.parquet\n  - path: rad.parquet\n  - {path: medix.parquet, weight: 2}\n"
    )
    return path


def test_the_sets_are_what_they_should_be(mixture: Path) -> None:
    counts = {
        place: Counter(len(sample.images) for sample in read_samples(mixture.parent / f"{place}.parquet"))
        for place in ("o1", "rad", "medix")
    }
    assert counts == {"o1": {0: ROWS}, "rad": {1: ROWS}, "medix": {3: ROWS}}


@pytest.mark.long
def test_two_steps_on_the_mixture(train: Callable[..., Any], mixture: Path) -> None:
    run = train(
        f"data.train_files={mixture}",
        "data.max_prompt_length=192",
        "data.train_max_samples=-1",
        "data.train_batch_size=8",
        "actor_rollout_ref.actor.ppo_mini_batch_size=8",
        "trainer.total_training_steps=2",
    )
    assert run.end.returncode == 0, run.log[-3000:]
    training = [step for step in run.steps if step.is_training]
    assert [step.number for step in training] == [1, 2]
    for step in training:
        assert step.data["medix/unscored"] == 0
        assert 0 < step.data["medix/modality/valid"] < 1, "rows with and without a modality share the batch"
        assert 0 <= step.data["medix/score/mean"] <= 1
    assert "were left out" not in run.log, "no prompt of the mixture is too long"
