# SPDX-License-Identifier: Apache-2.0
"""The folder of an evaluation: a picture task under three conditions, a text task, and a credentialed one."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from medix_verl.evaluation.store.records import Record, record_path, write_records

MANIFEST = {
    "model": "MODEL-X",
    "judge": {"kind": "openai", "model": ["JUDGE-Y"]},
    "protocol": {"name": "published"},
    "seed": 0,
    "settings": {"limit": None, "template": "medix"},
    "versions": {"medix-verl": "0.1.0"},
    "finished": True,
    "failed": {},
}
PICTURE = "ab" * 16


def record(task: str, number: int, value: float | None, **more: object) -> Record:
    given = {
        "cluster": f"image:{number // 2}",
        "question": f"Question {number} of {task}?",
        "reference": "left lung",
        "response": f"<answer>answer {number}</answer>",
        "answer": f"answer {number} " + "x" * (number % 17),
        "status": "unscored" if value is None else "scored",
        "votes": (value, value, value),
        "answer_type": "closed" if number % 2 else "open",
        "modality": "CT_SCAN" if number % 3 else "X_RAY",
    }
    return Record(**{**given, "task": task, "id": f"{task}-{number:03d}", "value": value, **more})  # type: ignore[arg-type]


def made(folder: Path, seed: int = 0, **manifest: object) -> Path:
    """An evaluation of three tasks: a picture task under three conditions, a text task, and a credentialed one."""
    rng = np.random.default_rng(seed)
    shares = {"real": 0.7, "blank": 0.8, "shuffled": 0.3}
    for condition, share in shares.items():
        values = [None if n == 7 else float(rng.random() < share) for n in range(80)]
        rows = [record("rad_vqa", n, v, images=(PICTURE,), condition=condition) for n, v in enumerate(values)]
        write_records(record_path(folder, "rad_vqa", condition), rows)
    write_records(record_path(folder, "medqa"), [record("medqa", n, float(n % 3 > 0)) for n in range(90)])
    secret = {"question": "SECRET-QUESTION", "reference": "SECRET-REPORT", "answer_type": "report"}
    rows = [record("mimic_cxr_report_generation", n, 0.6, **secret, images=(PICTURE,)) for n in range(40)]
    write_records(record_path(folder, "mimic_cxr_report_generation"), rows)
    (folder / "eval.json").write_text(json.dumps({**MANIFEST, **manifest}), encoding="utf-8")
    (folder / "images").mkdir(exist_ok=True)
    Image.new("RGB", (900, 600), (10, 90, 160)).save(folder / "images" / f"{PICTURE}.png")
    return folder
