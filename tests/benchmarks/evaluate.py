# SPDX-License-Identifier: Apache-2.0
"""Throughput and memory of an evaluation whose model and judge cost nothing: what the harness itself takes.

    python tests/benchmarks/evaluate.py --text 2000 --images 600 --judge openai

Model and judge are one mock server in a process of its own (medix_verl.evaluation.models.mock), so that every answer
and every verdict goes over HTTP. One line a stage: questions a second, and the process's memory at its peak; memory is
flat when ten times the questions take hardly more of it.
"""

from __future__ import annotations

import argparse
import io
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medix_verl.evaluation.assemble import TaskChoices
from medix_verl.evaluation.grading.spec import ProtocolSpec
from medix_verl.evaluation.models.source import read_model
from medix_verl.evaluation.suite import SuiteSpec, run_suite
from medix_verl.evaluation.tasks.table import TaskSpec, find
from medix_verl.types import ImageRef, Sample

SIDE = 224


def picture(number: int) -> bytes:
    """A PNG of some 100 KB."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(number)
    noise = rng.integers(0, 255, size=(SIDE, SIDE, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def loader(count: int) -> Any:
    """Samples that are made when they are read."""

    def load(spec: TaskSpec, source: Path | None, limit: int | None, seed: int) -> Iterator[Sample]:
        for number in range(count):
            images = (ImageRef(bytes=picture(number)),) if spec.pictures else ()
            options = tuple(f"finding {place} of case {number}" for place in range(4))
            question = f"A patient of {20 + number % 60} years, case {number}. What is the most likely finding?"
            meta = {"licence": "none", "answer_type": "closed", "image_id": [f"p{number}"] if images else []}
            yield Sample(
                f"q{number:06d}", spec.name, question, options[number % 4], None, images, options, "test", meta
            )

    return load


def measure(task: str, count: int, url: str, args: argparse.Namespace, out: Path) -> None:
    """Evaluate one task and print its line."""
    judge = {"kind": "rule"} if args.judge == "rule" else {"kind": "openai", "url": url, "model": "mock-judge"}
    spec = SuiteSpec(
        model=read_model(url, "mock-judge"),
        tasks=(find(task),),
        out=out,
        judge=judge,
        protocol=ProtocolSpec(args.protocol, rounds=args.rounds),
        choices=TaskChoices(),
    )
    began, cpu = time.monotonic(), time.process_time()
    manifest = run_suite(spec, lambda line: None, loader(count))
    seconds, used = time.monotonic() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = sum(path.stat().st_size for path in (out / "logs").rglob("*") if path.is_file()) / 2**20
    print(
        f"{task:12} {count:6d} questions {seconds:7.1f} s {count / seconds:6.1f}/s  cpu {used:6.1f} s "
        f"({1000 * used / count:.1f} ms each)  peak {peak:5.0f} MiB  log {size:.1f} MiB  {manifest['done']}",
        flush=True,
    )


def main() -> None:
    """Run the stages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--text", type=int, default=2000)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--judge", choices=("rule", "openai"), default="openai")
    parser.add_argument("--protocol", default="robust")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--warm", type=int, default=50, help="questions of a first run, which pays the imports")
    args = parser.parse_args()
    words = [sys.executable, "-m", "medix_verl.evaluation.models.mock"]
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        try:
            stages = (("medqa", args.warm), ("medqa", args.text), ("slake_vqa", args.images))
            for place, (task, count) in enumerate(stages):
                if count:
                    measure(task, count, url, args, Path(folder) / str(place))
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
