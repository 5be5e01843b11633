# SPDX-License-Identifier: Apache-2.0
"""Connects to the services that a RewardSpec asks for: the run's shared workers under Ray, else ones of our own."""

from __future__ import annotations

from medix_verl.embedding.encoder import Encoder, connect_encoder
from medix_verl.judge.connect import connect_judge
from medix_verl.judge.judge import Judge
from medix_verl.rewards.spec import RewardSpec

__all__ = ["build_services"]


def build_services(
    spec: RewardSpec, served_url: str | None = None, served_model: str | None = None
) -> tuple[Judge, Encoder | None]:
    """Connect to the judge and the encoder of a recipe; no encoder where the semantic term is switched off.

    Args:
        spec: The recipe's reward section.
        served_url: `ip:port` of verl's reward router, for the judge kind `verl`.
        served_model: Name of the model behind it.

    Raises:
        ConfigError: The judge's settings are incomplete.
        EncoderError: The embedding model is not on this machine.
    """
    judge = connect_judge(spec.judge, served_url=served_url, served_model=served_model)
    return judge, connect_encoder(spec.semantic) if spec.semantic.enable else None
