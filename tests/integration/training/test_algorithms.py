# SPDX-License-Identifier: Apache-2.0
"""Every algorithm of the recipes trains for real on the CPU, with the recipe's own keys: `+recipe=[NAME,medix_on_cpu]`.

Each run is distinguished from the others by what its loss leaves in the metrics, not by its command line.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
STEPS = 3


@dataclass(frozen=True)
class Case:
    """One training run and what must be seen in it."""

    recipe: str
    has: tuple[str, ...] = ()
    """Metrics that only this algorithm gives."""
    lacks: tuple[str, ...] = ("actor/kl_loss",)
    overrides: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    """Texts of the resolved configuration, which verl prints."""


CASES = {
    "grpo": Case("[medix_8b_grpo,medix_on_cpu]", has=("actor/kl_loss",), lacks=(), log=("'clip_ratio_high': 0.3,",)),
    "dapo": Case("[medix,medix_on_cpu]", has=("training/filter_groups/evicted_samples",)),
    "gspo": Case("[medix_8b_gspo,medix_on_cpu]", log=("'loss_mode': 'gspo'", "'clip_ratio_high': 0.0004")),
    "gdpo": Case("[medix_gdpo,medix_on_cpu]", log=("'adv_estimator': 'medix_gdpo'",)),
    "lora": Case("[medix_cpu,medix_lora]", log=("'lora_rank': 64",)),
    "colocated async": Case("[medix_cpu,medix_async]", log=("'trainer_mode': 'colocate_async'",)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_three_steps(train: Callable[..., Any], case: Case) -> None:
    run = train(f"trainer.total_training_steps={STEPS}", *case.overrides, recipe=case.recipe, limit_s=800.0)
    assert run.end.returncode == 0, run.log[-3000:]
    steps = [step for step in run.steps if step.is_training]
    assert [step.number for step in steps] == list(range(1, STEPS + 1))
    for step in steps:
        assert math.isfinite(step.data["actor/pg_loss"]) and math.isfinite(step.data["actor/grad_norm"])
        assert 0.0 <= step.data["medix/score/mean"] <= 1.0
        assert [name for name in case.lacks if name in step.data] == []
    for name in case.has:
        assert any(name in step.data for step in steps), sorted(steps[0].data)
    assert any(step.data["actor/grad_norm"] > 0 for step in steps), "no group had a spread in it: nothing was learnt"
    assert [text for text in case.log if text not in run.log] == []
