# SPDX-License-Identifier: Apache-2.0
"""The ablation with a made-up training: one run for each variant, none twice, and one table of them all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from medix_verl.demo import ablate
from medix_verl.demo.ablate import VARIANTS, render_table, run_ablation
from medix_verl.demo.run import DemoSpec, training_command
from medix_verl.errors import RunStoppedError
from medix_verl.rewards.spec import RewardSpec

PARTS = {name: 0.5 for name in ablate.COLUMNS}


class FakeRuns:
    """Stands for the trainings; the figures tell which run they are of."""

    def __init__(self) -> None:
        self.specs: list[DemoSpec] = []
        self.measured = True

    def __call__(self, spec: DemoSpec, say: Callable[[str], None]) -> dict[str, float]:
        self.specs.append(spec)
        spec.folder.mkdir(parents=True, exist_ok=True)
        stages = ("before", "after") if self.measured else ()
        figures = {f"{stage}/{name}": value for stage in stages for name, value in PARTS.items()}
        return {**figures, **({"after/greedy/acc": len(self.specs) / 10} if self.measured else {})}


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> FakeRuns:
    fake = FakeRuns()
    monkeypatch.setattr(ablate, "run_demo", fake)
    return fake


def quiet(line: str) -> None:
    """Takes a line of progress."""


def test_each_variant_is_trained_once_in_a_folder_of_its_own(tmp_path: Path, runs: FakeRuns) -> None:
    figures = run_ablation(DemoSpec(tmp_path, steps=3, overrides=("trainer.nnodes=1",)), quiet)
    assert list(figures) == [variant.name for variant in VARIANTS]
    assert len({spec.folder for spec in runs.specs}) == len(VARIANTS) == 5
    assert all(spec.out == tmp_path and spec.overrides[0] == "trainer.nnodes=1" for spec in runs.specs)
    run_ablation(DemoSpec(tmp_path, steps=3, overrides=("trainer.nnodes=1",)), quiet)
    assert len(runs.specs) == 5, "a finished run is used as it is"
    run_ablation(DemoSpec(tmp_path, steps=4, overrides=("trainer.nnodes=1",)), quiet)
    assert len(runs.specs) == 10, "another run is another run"


def test_the_overrides_are_what_the_reward_accepts() -> None:
    for variant in VARIANTS:
        command = training_command(DemoSpec(Path("out"), overrides=variant.overrides))
        OverridesParser.create().parse_overrides(command[3:])
        pairs = [word.partition("=") for word in variant.overrides if word.startswith("reward.medix.weights.")]
        given = {key.rpartition(".")[2]: float(value) for key, _, value in pairs}
        spec = RewardSpec.from_mapping({"weights": given} if given else {})
        assert not given or {name: getattr(spec.weights, name) for name in given} == given
        assert not given or sum(given.values()) == pytest.approx(1.0)


def test_a_run_that_cannot_be_measured_stops_the_ablation(tmp_path: Path, runs: FakeRuns) -> None:
    runs.measured = False
    with pytest.raises(RunStoppedError, match="left no checkpoint to measure: leave trainer.save_freq alone"):
        run_ablation(DemoSpec(tmp_path), quiet)
    assert len(runs.specs) == 1 and not list(tmp_path.rglob("variant.json"))


def test_a_note_of_another_release_is_not_reused(tmp_path: Path, runs: FakeRuns) -> None:
    run_ablation(DemoSpec(tmp_path), quiet)
    done = len(runs.specs)
    note = next(tmp_path.rglob("variant.json"))
    note.write_text(json.dumps({"told": {}, "figures": {}}))
    run_ablation(DemoSpec(tmp_path), quiet)
    assert len(runs.specs) == done + 1 and "settings" in json.loads(note.read_text())


def test_the_table_and_the_figure(tmp_path: Path, runs: FakeRuns) -> None:
    run_ablation(DemoSpec(tmp_path), quiet)
    text = (tmp_path / "ablation" / "ablation.md").read_text()
    assert "| the policy before | 0.500 | 0.500 | 0.500 | 0.500 | 0.500 |" in text
    assert "| judge only | 0.100 | 0.500 |" in text and "| full composite | 0.400 |" in text
    bars = {line.split("  ")[0]: line.count("#") for line in text.splitlines() if line.endswith(("0.100", "0.400"))}
    assert bars == {"judge only": 4, "full composite": 16}
    assert render_table({}).startswith("# Ablation of the reward")
