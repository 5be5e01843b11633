# SPDX-License-Identifier: Apache-2.0
"""Makes the files of a run of 200 steps with 10,000 answers, as verl writes them, and measures its report.

    python tests/benchmarks/report.py --out FOLDER [--browser chromium]

Wanted: built in under 20 s, below 30 MB, and open in a browser in under 3 s. The answers are of some 1,500 characters,
each fifth is of a validation, and each has a picture of 512 x 512 pixels in the data file.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
from PIL import Image

from medix_verl.data.io.parquet import write_samples
from medix_verl.report.run.files import find_run
from medix_verl.report.run.page import write_run_page
from medix_verl.types import MODALITIES, ImageRef, Sample

STEPS, A_STEP, GROUP = 200, 40, 5
CHECKS, A_CHECK = 10, 200
ROWS = 400
WORDS = ("left", "right", "lung", "heart", "opacity", "seen", "small", "large", "effusion", "upper", "lower", "lobe")


def picture(rng: np.random.Generator) -> bytes:
    """A picture like a radiograph: smooth, with some noise."""
    small = Image.fromarray(rng.integers(0, 255, (12, 12), dtype=np.uint8)).resize((512, 512), Image.Resampling.BICUBIC)
    noisy = np.clip(np.asarray(small, dtype=np.int16) + rng.integers(-9, 9, (512, 512)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def make_rows(rng: np.random.Generator) -> list[Sample]:
    """Questions, each with a picture of its own."""
    return [
        Sample(f"row-{n}", f"set_{n % 3}", f"Question {n}: what is seen here?", f"finding {n % 90}",
               MODALITIES[n % 6], (ImageRef(bytes=picture(rng)),))
        for n in range(ROWS)
    ]  # fmt: skip


def entry(rng: np.random.Generator, row: Sample, step: int, uid: str, terms: bool) -> dict[str, object]:
    """One line of a dump."""
    right = bool(rng.random() < 0.2 + 0.002 * step)
    thinking = " ".join(rng.choice(WORDS, 260))
    answer = row.answer if right else f"finding {rng.integers(90)}"
    scores = {"acc": float(right), "judge": float(right), "semantic": float(right), "format": 1.0, "modality": 1.0}
    flags = {"judge_ok": 1.0, "semantic_ok": 1.0, "modality_applies": 1.0, "semantic_applies": 1.0}
    return {
        "input": f"user\n{row.question}\nThink first, then answer.\nassistant\n",
        "output": f"<{row.modality}><think>{thinking}</think><answer>{answer}</answer>",
        "gts": row.answer, "score": 1.0 if right else 0.145, "step": step,
        **({**scores, **flags} if terms else {}), "uid": uid,
    }  # fmt: skip


def write_dump(rng: np.random.Generator, path: Path, rows: list[Sample], step: int, count: int, terms: bool) -> None:
    """One file of answers: groups of GROUP in training, single ones in validation."""
    group = 1 if terms else GROUP
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for n in range(count):
            row = rows[n // group % len(rows)] if terms else rows[(step * count + n) // group % len(rows)]
            uid = f"{step:08x}-{n // group:04x}_{n % group}_0"
            file.write(json.dumps(entry(rng, row, step, uid, terms)) + "\n")


def make_run(folder: Path) -> Path:
    """A run's folder, and beside it the data file; gives back the latter."""
    rng = np.random.default_rng(0)
    rows = make_rows(rng)
    data = folder.with_name("data.parquet")
    write_samples(rows, data)
    shutil.rmtree(folder, ignore_errors=True)
    for step in range(1, STEPS + 1):
        write_dump(rng, folder / "rollouts" / f"{step}.jsonl", rows, step, A_STEP, False)
    for step in range(0, STEPS, STEPS // CHECKS):
        write_dump(rng, folder / "validation" / f"{step}.jsonl", rows, step, A_CHECK, True)
    with (folder / "metrics.jsonl").open("w", encoding="utf-8") as file:
        for step in range(STEPS + 1):
            file.write(json.dumps({"step": step, "data": numbers(rng, step)}) + "\n")
    return data


def numbers(rng: np.random.Generator, step: int) -> dict[str, float]:
    """The metrics of one step."""
    acc = 0.2 + 0.002 * step
    checks = {f"val-core/set_{n}/acc/mean@1": acc + 0.03 * n for n in range(3)} if step % 20 == 0 else {}
    if step == 0:
        return checks
    levels = {
        "medix/score/mean": 0.1 + 0.9 * acc, "medix/acc/mean": acc, "medix/judge/mean": acc,
        "medix/semantic/mean": acc + 0.1, "medix/format/mean": 0.97, "medix/modality/mean": 0.9,
        "medix/judge/valid": 0.99, "medix/semantic/valid": 1.0, "medix/score/valid": 1.0,
        "actor/entropy": 0.6 - 0.001 * step, "actor/ppo_kl": 0.001, "rollout_corr/kl": 0.0008, "actor/grad_norm": 0.3,
        "response_length/mean": 300.0 + step, "response_length/max": 900.0, "response_length/clip_ratio": 0.01,
        "medix/judge/p50_s": 0.4, "medix/judge/p95_s": 1.1, "timing_s/step": 60.0, "timing_s/gen": 31.0,
    }  # fmt: skip
    noisy = {key: value * float(rng.normal(1.0, 0.06)) for key, value in levels.items()}
    noisy |= {key: min(1.0, value) for key, value in noisy.items() if key.startswith("medix/") and "_s" not in key}
    counts = {"medix/judge/asked": 40.0, "medix/judge/cache_hits": 6.0, "medix/judge/equality": 9.0,
              "medix/judge/calls": 26.0, "medix/judge/failures_timeout": float(step % 50 == 0),
              "training/filter_groups/evicted_samples": float(rng.integers(0, 4)), "medix/unscored": 0.0}  # fmt: skip
    return {**noisy, **counts, **checks}


def main() -> None:
    """Make, build, open, and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--browser", help="a chromium, to measure how long the page takes to open")
    args = parser.parse_args()
    folder = args.out / "run"
    data = make_run(folder)
    dumped = sum(path.stat().st_size for path in folder.rglob("*.jsonl")) / 1e6
    start = time.perf_counter()
    run = write_run_page(find_run(folder), args.out / "report.html", [data])
    built = time.perf_counter() - start
    size = (args.out / "report.html").stat().st_size / 1e6
    answers = run.training.answers + run.validation.answers
    print(f"{len(run.metrics.training)} steps, {answers:,} answers, {dumped:.0f} MB of records")
    print(f"built in {built:.1f} s (wanted: 20), {size:.1f} MB (wanted: 30)")
    if args.browser:
        print(f"open in {opened(args.browser, args.out / 'report.html'):.2f} s (wanted: 3)")


def opened(browser: str, page: Path) -> float:
    """Seconds from the page's address to its load event, in a frame of a page that has a clock."""
    clock = page.with_name("clock.html")
    clock.write_text(
        "<script>const start = performance.now(); function told() { document.title = performance.now() - start; }"
        f"</script><title></title><iframe src='{page.name}' width=1280 height=5000 onload='told()'></iframe>"
    )
    words = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    done = subprocess.run(
        [*words, f"file://{clock.resolve()}"], capture_output=True, timeout=120, check=True, text=True
    )
    return float(done.stdout.split("<title>")[1].split("<")[0]) / 1000


if __name__ == "__main__":
    main()
