# SPDX-License-Identifier: Apache-2.0
"""Real training runs for the tests: built data and models, a way to train, and a way to start a run and disturb it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.places import ROOT
from helpers.trainings import Run, Started, command
from medix_verl.demo.build import build_demo
from medix_verl.demo.processes import run_marked
from medix_verl.demo.summary import read_steps

DEMO = ROOT / "outputs" / "demo"


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist's own, which runs the tests of a process
def pytest_runtestloop(session: pytest.Session) -> None:
    """Build the demo before the first test that needs it: a test's time limit would count its one or two minutes."""
    needed = any("demo_folder" in getattr(item, "fixturenames", ()) for item in session.items)
    if needed and not session.config.option.collectonly:
        build_demo(DEMO)


@pytest.fixture(scope="session")
def demo_folder() -> Path:
    """The demo's data and models; a finished build of an earlier run is used as it is."""
    build_demo(DEMO)
    return DEMO


@pytest.fixture(scope="session")
def train(demo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Train through verl's own entry point at a small size, by default with medix_cpu; returns how it ended."""

    def run(*overrides: str, limit_s: float = 800.0, recipe: str = "medix_cpu") -> Run:
        folder = tmp_path_factory.mktemp("run")
        log, metrics = folder / "train.log", folder / "metrics.jsonl"
        words = command(demo_folder, folder, overrides, recipe)
        end = run_marked(words, log, {"VERL_FILE_LOGGER_PATH": str(metrics)}, limit_s)
        return Run(end, log.read_text(errors="replace"), read_steps(metrics) if metrics.exists() else [], folder)

    return run


@pytest.fixture
def start(demo_folder: Path, tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Start a training run; it is ended with the test."""
    runs: list[Started] = []

    def begin(*overrides: str) -> Started:
        runs.append(Started(command(demo_folder, tmp_path, overrides), tmp_path))
        return runs[-1]

    yield begin
    for run in runs:
        run.end()
