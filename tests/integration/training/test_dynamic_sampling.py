# SPDX-License-Identifier: Apache-2.0
"""DAPO's dynamic sampling in a real training run: groups of one verdict go, however much their composite varies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(500)]


def test_all_wrong_groups_are_replaced(train: Callable[..., Any]) -> None:
    """The demo's policy is well-formed and mostly wrong: its composite never falls to 0, so only `acc` finds these."""
    run = train(
        "trainer.total_training_steps=2",
        "algorithm.filter_groups={enable: true, metric: acc, max_inflight_gen_batches: 2}",
    )
    assert run.end.returncode == 0, run.log[-3000:]
    steps = [step.data for step in run.steps if step.is_training]
    assert len(steps) == 2
    evicted = sum(step.get("training/filter_groups/evicted_samples", 0.0) for step in steps)
    assert evicted > 0, sorted(steps[0])
    for step in steps:
        # Four groups of four, none of them all right or all wrong.
        assert 0.25 <= step["medix/acc/mean"] <= 0.75
        assert step["medix/format/mean"] > 0.9
        assert step["medix/acc/valid"] == 1.0
