# SPDX-License-Identifier: Apache-2.0
"""`medix.on_save` in a real training: checkpoints are exported and evaluated, and nothing of it stops it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from medix_verl.cli.main import main
from medix_verl.runs.saves.outcomes import State, place_of, read_outcomes

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]
STEPS = ("trainer.total_training_steps=1", "trainer.save_freq=1")
SERVE = "[--max-model-len,'1024',--dtype,float32,--enforce-eager]"
WORDS = ("medix.on_save=[export,evaluate]", "medix.on_save_options.tasks=[medqa]")


def medqa(folder: Path) -> Path:
    folder.mkdir()
    rows = [
        {"id": f"test-{n:05d}", "sent1": f"Which drug helps patient {n}?", "sent2": "", "label": n % 4}
        | {f"ending{place}": f"drug {place} of {n}" for place in range(4)}
        for n in range(6)
    ]
    (folder / "test.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def at_work(run: Path) -> list[int]:
    """Processes that still work on a run's checkpoints."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(run) in " ".join(process.cmdline()):
                found.append(process.pid)
    return found


def test_a_checkpoint_is_exported_and_evaluated(train: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    run = tmp_path / "run"
    done = train(
        *STEPS,
        *WORDS,
        f"trainer.default_local_dir={run}",
        f"medix.on_save_options.sources={{medqa: {medqa(tmp_path / 'medqa')}}}",
        "medix.on_save_options.limit=3",
        "medix.on_save_options.generation={max_tokens: 40}",
        f"medix.on_save_options.serve_args={SERVE}",
        limit_s=1200.0,
    )
    assert done.end.returncode == 0, done.log[-3000:]
    (outcome,) = read_outcomes(run)
    log = place_of(run, 1, ".log").read_text()
    assert (outcome.step, outcome.state) == (1, State.DONE), log[-3000:]
    assert [(work.action, work.state) for work in outcome.work] == [("export", State.DONE), ("evaluate", State.DONE)]
    assert 0.0 <= outcome.work[1].figures["medqa"] <= 1.0
    assert (run / outcome.work[0].place / "config.json").is_file()
    assert json.loads((run / outcome.work[1].place / "eval.json").read_text())["finished"]
    assert at_work(run) == []
    assert (
        main(["report", str(run), "--metrics", str(done.folder / "metrics.jsonl"), "--out", str(tmp_path / "r.html")])
        == 0
    )
    page = (tmp_path / "r.html").read_text()
    assert 'id="saves"' in page and f"medqa {outcome.work[1].figures['medqa']:.3f}" in page


def test_what_takes_too_long_or_fails_stops_no_training(train: Callable[..., Any], tmp_path: Path) -> None:
    late, failed = tmp_path / "late", tmp_path / "failed"
    done = train(
        *STEPS, f"trainer.default_local_dir={late}", "medix.on_save=[export]", "medix.on_save_options.limit_s=1"
    )
    assert done.end.returncode == 0 and at_work(late) == []
    (outcome,) = read_outcomes(late)
    assert outcome.state is State.ENDED and "took longer than 1 s and was ended" in outcome.cause
    assert (
        "type medix.on_save_options.limit_s=SECONDS" in outcome.cause and "ended: what medix.on_save does" in done.log
    )
    failed.mkdir()
    (failed / "exported").write_text("a file in the place of a folder")
    done = train(*STEPS, f"trainer.default_local_dir={failed}", "medix.on_save=[export]")
    assert done.end.returncode == 0
    (outcome,) = read_outcomes(failed)
    assert outcome.state is State.FAILED and outcome.work[0].cause
    assert (
        main(
            ["report", str(failed), "--metrics", str(done.folder / "metrics.jsonl"), "--out", str(tmp_path / "r.html")]
        )
        == 0
    )
    assert ">failed</td>" in (tmp_path / "r.html").read_text()
