# SPDX-License-Identifier: Apache-2.0
"""What is done after a save: its outcome is written whatever happens, and neither verl's trainer nor the end waits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from medix_verl.runs.saves import after_save, save_work
from medix_verl.runs.saves.after_save import AfterSave, end_of_earlier, work_on
from medix_verl.runs.saves.on_save import AnnounceCheckpoint
from medix_verl.runs.saves.outcomes import Outcome, State, Work, place_of, read_outcomes, write_outcome

WANTED = OmegaConf.create({"medix": {"on_save": ["export"], "on_save_options": {"limit_s": 30.0}}})


def states(run: Path) -> dict[int, State]:
    return {outcome.step: outcome.state for outcome in read_outcomes(run)}


def test_a_checkpoint_is_announced_only_where_something_is_wanted(tmp_path: Path) -> None:
    for config in (None, OmegaConf.create({}), OmegaConf.create({"medix": {"on_save": []}})):
        AnnounceCheckpoint(config).on_save(None, 4, str(tmp_path / "global_step_4"), async_save=False, more=1)
    assert read_outcomes(tmp_path) == []
    AnnounceCheckpoint(WANTED).on_save(trainer=None, global_step=4, checkpoint_dir=str(tmp_path / "global_step_4"))
    assert states(tmp_path) == {4: State.WAITING}


def test_the_trainer_never_sees_an_exception(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "on_save").write_text("a file in the place of the folder")
    AnnounceCheckpoint(WANTED).on_save(None, 4, str(tmp_path / "global_step_4"))
    assert "nothing will be done with the checkpoint of step 4" in caplog.text


def finished(callback: AfterSave, failed: bool = False) -> None:
    from hydra.core.utils import JobStatus

    callback.on_job_end(job_return=SimpleNamespace(status=JobStatus.FAILED if failed else JobStatus.COMPLETED))


def begun(run: Path) -> AfterSave:
    callback = AfterSave()
    callback.on_job_start(OmegaConf.merge(WANTED, {"trainer": {"default_local_dir": str(run)}}))
    return callback


def test_the_last_of_those_that_wait_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[int, float]] = []

    def note(run: Path, outcome: Outcome, words: str, limit_s: float) -> None:
        lines.append((outcome.step, limit_s))
        assert json.loads(words) == {"actions": ["export"], "limit_s": 30.0}
        write_outcome(run, Outcome(outcome.step, State.DONE))

    monkeypatch.setattr(after_save, "work_on", note)
    monkeypatch.setattr(after_save, "POLL_S", 0.01)
    for step in (9, 10, 100):
        write_outcome(tmp_path, Outcome(step))
    write_outcome(tmp_path, Outcome(3, State.RUNNING))
    finished(begun(tmp_path))
    overtaken = {9: State.OVERTAKEN, 10: State.OVERTAKEN}
    assert lines == [(100, 30.0)]
    assert states(tmp_path) == {3: State.ENDED, **overtaken, 100: State.DONE}
    assert read_outcomes(tmp_path)[1].cause == "step 100 was saved before its turn came"


def test_a_fault_of_ours_is_a_warning_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no such thing")

    monkeypatch.setattr(after_save, "work_on", fail)
    monkeypatch.setattr(after_save, "POLL_S", 0.01)
    write_outcome(tmp_path, Outcome(1))
    finished(begun(tmp_path))
    assert caplog.text.count("was not worked on: no such thing") == 1


def test_nothing_is_watched_where_nothing_is_wanted_and_a_failed_training_waits_for_nothing(tmp_path: Path) -> None:
    callback = AfterSave()
    callback.on_job_start(OmegaConf.create({"medix": {"on_save": []}, "trainer": {"default_local_dir": str(tmp_path)}}))
    assert callback.thread is None
    callback = begun(tmp_path)
    write_outcome(tmp_path, Outcome(1))
    before = time.monotonic()
    finished(callback, failed=True)
    assert time.monotonic() - before < 0.5


def stand_in(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Another process in the place of save_work's."""
    real = after_save.run_bounded
    monkeypatch.setattr(
        after_save, "run_bounded", lambda what, _, *rest: real(what, [sys.executable, "-c", program], *rest)
    )


@pytest.mark.parametrize(
    ("program", "limit_s", "cause"),
    [
        ("import time; time.sleep(60)", 0.5, "took longer than 0.5 s and was ended; see .*limit_s=SECONDS"),
        ("import os; os.kill(os.getpid(), 9)", 30.0, "was killed, most likely for want of memory"),
    ],
)
def test_what_is_ended_from_outside_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, limit_s: float, cause: str
) -> None:
    stand_in(monkeypatch, program)
    work_on(tmp_path, Outcome(5), "{}", limit_s)
    (outcome,) = read_outcomes(tmp_path)
    assert outcome.state is State.ENDED
    with pytest.raises(AssertionError, match=cause):
        raise AssertionError(outcome.cause)
    assert place_of(tmp_path, 5, ".log").is_file()


def test_what_an_earlier_run_was_at_ended_with_it(tmp_path: Path) -> None:
    write_outcome(tmp_path, Outcome(2, State.RUNNING, (Work("export", State.RUNNING),)))
    (tmp_path / "on_save" / "global_step_7.json").write_text("{}")
    end_of_earlier(tmp_path)
    assert states(tmp_path) == {2: State.ENDED}


def test_a_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    """The command line may be killed; what it was having done to a checkpoint must not go on."""
    note = f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))"
    child = f"import os, time, pathlib; {note}; time.sleep(60)"
    program = (
        "import sys; from pathlib import Path; from medix_verl.runs.bounded import run_bounded; "
        f"run_bounded('it', [sys.executable, '-c', {child!r}], Path({str(tmp_path / 'log')!r}), 60)"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as driver:
        deadline = time.monotonic() + 60
        while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        driver.kill()
    pid = int((tmp_path / "pid").read_text())
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError("it goes on")


def test_each_part_is_noted_and_a_failure_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = save_work.OnSaveSpec(actions=("evaluate",), tasks=("medqa",))
    monkeypatch.setattr(save_work, "export", lambda *_: {"place": "exported/global_step_4"})

    def fail(*_: object) -> None:
        raise RuntimeError("no server, for key sk-" + "a" * 20)

    monkeypatch.setattr(save_work, "evaluate", fail)
    (tmp_path / "exported" / "global_step_4").mkdir(parents=True)
    outcome = save_work.work(tmp_path, 4, spec)
    assert [(work.action, work.state) for work in outcome.work] == [("export", State.DONE), ("evaluate", State.FAILED)]
    assert outcome.work[1].cause == "RuntimeError: no server, for key <secret>" and outcome.state is State.FAILED
    # The model's folder was only for the evaluation.
    assert not (tmp_path / "exported" / "global_step_4").exists()
    assert read_outcomes(tmp_path) == [outcome]


def test_memory_is_given_back_before_the_training_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter([2.1, 2.1, 1.9])
    ended: list[int] = []
    monkeypatch.setattr(save_work, "memory_limit_gib", lambda: 20.0)
    monkeypatch.setattr(save_work, "free_memory_gib", lambda: next(left))
    monkeypatch.setattr(save_work, "LOOK_S", 0.0)
    monkeypatch.setattr(os, "_exit", ended.append)
    work = (Work("export", State.DONE), Work("evaluate", State.RUNNING))
    write_outcome(tmp_path, Outcome(3, State.RUNNING, work))
    save_work.give_memory_back(tmp_path, 3)
    (outcome,) = read_outcomes(tmp_path)
    assert [one.state for one in outcome.work] == [State.DONE, State.ENDED] and ended == [save_work.SHORT]
    assert outcome.cause.startswith("1.9 GiB of memory were left") and outcome.state is State.ENDED
