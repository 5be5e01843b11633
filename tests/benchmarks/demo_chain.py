# SPDX-License-Identifier: Apache-2.0
"""The whole chain on a finished demo: export, serve, evaluate before and after, compare, report.

    medix-verl demo --policy smollm2 --out outputs/smollm2
    python tests/benchmarks/demo_chain.py outputs/smollm2 --out outputs/smollm2_chain

The demo's validation questions become a table and a task of one's own. Both models are served by vLLM and asked
greedily, with real, blank and shuffled pictures, and with samples at temperature 1. The commands are printed and are
what a user would type. A stage whose folder is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from medix_verl.data.io.parquet import read_samples
from medix_verl.evaluation.store.manifest import read_manifest
from medix_verl.types import Sample

SERVE = "--serve-args=--max-model-len 512 --dtype float32 --enforce-eager --gpu-memory-utilization 0.15 --block-size 32"
ASKED = ("--prompt", "medix_short", "--max-tokens", "40", "--seed", "0", "--judge", "rule")
STAGES: dict[str, tuple[str, ...]] = {
    "greedy": ("--temperature", "0"),
    "blank": ("--temperature", "0", "--images", "blank"),
    "shuffled": ("--temperature", "0", "--images", "shuffled"),
    "sampled": ("--temperature", "1", "--generations", "4"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="what medix-verl demo --out wrote")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    task = write_task(read_samples(args.run / "data" / "val.parquet"), args.out / "questions")
    models = {"before": args.run / "policy", "after": args.out / "model"}
    medix("export", args.run, "--out", models["after"], "--card", done=models["after"])
    for name, model in models.items():
        for stage, words in STAGES.items():
            out = args.out / f"{name}_{stage}"
            if not is_finished(out):
                again = ("--resume",) if out.exists() else ()
                medix("evaluate", "run", model, "--tasks", task, "--out", out, *ASKED, *words, SERVE, *again)
    for stage in ("greedy", "sampled"):  # compare is for real pictures only
        medix("evaluate", "compare", args.out / f"before_{stage}", args.out / f"after_{stage}")
    page = args.out / "sampled.html"
    medix("report", args.out / "after_sampled", "--compare", args.out / "before_sampled", "--out", page, done=page)
    medix("report", args.run, "--out", args.out / "run.html", done=args.out / "run.html")


def is_finished(evaluation: Path) -> bool:
    return (evaluation / "eval.json").is_file() and bool(read_manifest(evaluation)["finished"])


def write_task(samples: Iterable[Sample], folder: Path) -> Path:
    """A table of the rows with their pictures, and the task that reads it."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    lines = []
    for sample in samples:
        names = [f"pictures/{sample.id}-{place}.png" for place in range(len(sample.images))]
        for name, picture in zip(names, sample.images, strict=True):
            (folder / name).write_bytes(picture.bytes or b"")
        row = {"id": sample.id, "question": sample.question, "answer": sample.answer, "split": "test"}
        row |= {"synonyms": sample.meta["synonyms"], "answer_type": "open"}
        optional = {"images": names, "tolerance": sample.meta.get("tolerance")}
        lines.append(row | {key: value for key, value in optional.items() if value})
    (folder / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    task = folder / "demo_questions.yaml"
    facts: dict[str, Any] = {
        "name": "demo_questions",
        "title": "The demo's validation questions",
        "source": "questions.jsonl",
    }
    facts |= {"split": "test", "answers": ["open"], "licence": "see the pictures' packages"}
    task.write_text(yaml.safe_dump(facts))
    return task


def medix(*words: object, done: Path | None = None) -> None:
    """Run a command of the package, unless its result is there."""
    if done is not None and done.exists():
        return
    command = ["medix-verl", *map(str, words)]
    print("\n$", shlex.join(command), flush=True)
    subprocess.run([sys.executable, "-m", "medix_verl", *command[1:]], check=True)


if __name__ == "__main__":
    main()
