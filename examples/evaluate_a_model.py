# SPDX-License-Identifier: Apache-2.0
"""Evaluate a model on two data sets and write a report: `python evaluate_a_model.py MODEL OUT [SET=FOLDER...]`.

MODEL is a hub id, a checkpoint folder or a server's URL. SET is a task, a data set of `medix-verl prepare`, or a file
of your own tasks (mine.yaml). The rule judge used here marks paraphrased free answers wrong; for comparable figures use
`judge=JudgeSpec(kind="openai", url=URL, model=NAME)`.
"""

import sys
from pathlib import Path

from medix_verl import JudgeSpec, evaluate
from medix_verl.cli.main import main

TASKS = ["medqa", "rad_vqa"]


def evaluate_and_report(model: str, out: str, words: list[str]) -> int:
    """Return 0 when the report is written; errors raise the package's exceptions."""
    named = [word.split("=") for word in words] or [[task] for task in TASKS]
    sources = {pair[0]: pair[1] for pair in named if len(pair) == 2}
    found = evaluate(model, [pair[0] for pair in named], out, judge=JudgeSpec(kind="rule"), sources=sources, say=print)
    print(found.table())
    return main(["report", out, "--out", str(Path(out) / "report.html")])


if __name__ == "__main__":
    sys.exit(evaluate_and_report(sys.argv[1], sys.argv[2], sys.argv[3:]))
