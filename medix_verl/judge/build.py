# SPDX-License-Identifier: Apache-2.0
"""Turns a JudgeSpec into a judge of this process; the one place that knows which kinds there are."""

from __future__ import annotations

from medix_verl.errors import ConfigError
from medix_verl.judge.judge import Judge
from medix_verl.judge.spec import JudgeSpec

__all__ = ["build_judge", "served_as"]


def build_judge(spec: JudgeSpec, served_url: str | None = None, served_model: str | None = None) -> Judge:
    """Build the judge that a spec describes; nothing is asked yet.

    Args:
        spec: The recipe's `judge` section.
        served_url: `ip:port` of verl's reward router, for kind `verl`.
        served_model: Name of the model behind that router; the spec's own name wins.

    Raises:
        ConfigError: The kind needs something that was not given.
    """
    if spec.kind == "rule":
        from medix_verl.judge.rule.judge import RuleJudge

        return RuleJudge(spec)
    from medix_verl.judge.pool import JudgePool

    return JudgePool(spec, *served_as(spec, served_url, served_model))


def served_as(
    spec: JudgeSpec, served_url: str | None = None, served_model: str | None = None
) -> tuple[tuple[str, ...], str | None]:
    """Where the model of a spec is served, and under which name; see build_judge.

    Raises:
        ConfigError: The kind is `verl` and verl serves nothing, or nothing with a name.
    """
    if spec.kind != "verl":
        return spec.urls, spec.model
    if served_url is None:
        raise ConfigError(
            "judge.kind is 'verl' but verl serves no reward model; type reward.reward_model.enable=True "
            "reward.reward_model.model_path=..., or choose judge.kind=openai or rule"
        )
    address = served_url if "://" in served_url else f"http://{served_url}"
    model = spec.model or served_model
    if model is None:
        raise ConfigError("judge.kind is 'verl' but the served model has no name; set judge.model to its model_path")
    return (f"{address.rstrip('/')}/v1",), model
