# SPDX-License-Identifier: Apache-2.0
"""Train a tiny model on the CPU and write a report: `python train_on_the_cpu.py [FOLDER [STEPS]]`.

Data and models are created in FOLDER once. Training is `python -m verl.trainer.main_ppo +recipe=medix_cpu` in its own
process, with real vLLM rollouts, rewards and updates. The report has curves, validation, and answers with images.
"""

import sys
from pathlib import Path

from medix_verl.demo.run import DemoSpec, run_demo
from medix_verl.report.run.files import find_run
from medix_verl.report.run.page import write_run_page


def main(folder: Path, steps: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    figures = run_demo(DemoSpec(folder, steps=steps), say=print)
    page = folder / "report.html"
    run = write_run_page(find_run(folder), page, sorted((folder / "data").glob("*.parquet")))
    print(f"validation acc {figures['val_acc/first']:.3f} -> {figures['val_acc/last']:.3f}, {len(run.signs)} warnings")
    print(f"open {page}")


if __name__ == "__main__":
    folder, steps = [*sys.argv[1:3], *("outputs/demo", "24")[len(sys.argv) - 1 :]]
    main(Path(folder), int(steps))
