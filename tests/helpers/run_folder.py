# SPDX-License-Identifier: Apache-2.0
"""The folder of a training run, with answers, validations and metrics, and its data next to it."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from medix_verl.data.io.parquet import write_samples
from medix_verl.types import ImageRef, Sample

STEPS = 12


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((400, 300), value, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def rows(source: str = "rad") -> list[Sample]:
    """Ten questions; the last two have one text and one reference, so that only an id tells them apart."""
    asked = [(f"Question {n}?", f"answer {n}") for n in range(8)] + [("Same?", "same")] * 2
    return [
        Sample(f"row-{n}", source, question, answer, "X_RAY" if n % 2 else "CT_SCAN", (ImageRef(bytes=png(20 * n)),))
        for n, (question, answer) in enumerate(asked)
    ]


def answer_line(row: Sample, uid: str, right: bool, **more: object) -> dict[str, object]:
    said = row.answer if right else "else"
    return {
        "input": f"user\n{row.question}\nassistant",
        "output": f"<{row.modality}><think>t</think><answer>{said}</answer>",
        "gts": row.answer, "score": 0.9 * right + 0.1, "step": 1, "uid": uid, **more,
    }  # fmt: skip


def write(path: Path, entries: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")


def made(folder: Path, source: str = "rad") -> Path:
    """A run of 12 steps with two validations; its data beside it."""
    samples = rows(source)
    write_samples(samples, folder.with_name("data.parquet"))
    flags = {"judge_ok": 1.0, "semantic_ok": 1.0, "modality_applies": 1.0}
    for step in range(1, STEPS + 1):
        row = samples[step % 10]
        lines = [answer_line(row, f"{step}-a_{n}_0", n == 0) for n in range(4)]
        write(folder / "rollouts" / f"{step}.jsonl", lines)
    for step, share in ((0, 2), (STEPS, 5)):
        terms = [{"acc": float(n < share), "judge": float(n < share), "semantic": 0.5, "format": 1.0, "modality": 1.0}
                 for n in range(10)]  # fmt: skip
        lines = [answer_line(row, f"v{step}-{n}_0_0", n < share, **terms[n], **flags) for n, row in enumerate(samples)]
        write(folder / "validation" / f"{step}.jsonl", lines)
    metrics: list[dict[str, object]] = [
        {"step": step, "data": {"timing_s/step": 2.0, "medix/score/mean": 0.3, "medix/acc/mean": 0.2,
         "actor/entropy": 0.5, "medix/judge/asked": 8.0, "medix/judge/cache_hits": 2.0,
         "medix/unscored": float(step == 4)}}
        for step in range(1, STEPS + 1)
    ]  # fmt: skip
    write(folder / "metrics.jsonl", [{"step": 0, "data": {f"val-core/{source}/acc/mean@1": 0.2}}, *metrics])
    return folder
