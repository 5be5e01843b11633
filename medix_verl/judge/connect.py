# SPDX-License-Identifier: Apache-2.0
"""The judge for a process that may be one of many: the run's shared worker under Ray, a pool of its own elsewhere."""

from __future__ import annotations

from medix_verl.judge.build import build_judge
from medix_verl.judge.judge import Judge
from medix_verl.judge.spec import JudgeSpec

__all__ = ["connect_judge"]


def connect_judge(spec: JudgeSpec, served_url: str | None = None, served_model: str | None = None) -> Judge:
    """Connect to the run's judge, and start it where it is not there yet.

    Args:
        spec: The recipe's `judge` section; `worker` false gives each process a judge, and limits, of its own.
        served_url: `ip:port` of verl's reward router, for kind `verl`.
        served_model: Name of the model behind that router; the spec's own name wins.

    Raises:
        ConfigError: The kind needs something that was not given.
    """
    if spec.kind != "rule" and spec.worker:
        from medix_verl.judge.worker import connect_worker, in_ray

        if in_ray():
            return connect_worker(spec, served_url, served_model)
    return build_judge(spec, served_url, served_model)
