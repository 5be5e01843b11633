# SPDX-License-Identifier: Apache-2.0
"""Evaluate a model on two sets and write its page: `python evaluate_a_model.py MODEL OUT [SET=FOLDER...]`.

MODEL is a hub's id, a checkpoint's folder or a server's URL. The judge here is fixed rules, which take free answers in
other words for wrong: give `--judge openai --judge-url URL --judge-model NAME` for figures that are to be compared.
"""

import sys

from medix_verl.cli.main import main

TASKS = ["medqa", "rad_vqa"]


def evaluate(model: str, out: str, sources: list[str]) -> int:
    """0 when both commands succeeded, as for any command."""
    tasks = [source.split("=")[0] for source in sources] or TASKS
    local = ["--sources", *sources] if sources else []
    asked = main(["evaluate", model, "--tasks", *tasks, *local, "--judge", "rule", "--out", out])
    return asked or main(["report", out, "--out", f"{out}/report.html"])


if __name__ == "__main__":
    sys.exit(evaluate(sys.argv[1], sys.argv[2], sys.argv[3:]))
