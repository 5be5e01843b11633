# SPDX-License-Identifier: Apache-2.0
"""Gives a process of a run its encoder: the run's shared one under Ray, one of its own elsewhere."""

from __future__ import annotations

from medix_verl.embedding.base import Encoder
from medix_verl.embedding.build import build_encoder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.embedding.worker import RemoteEncoder, inside_ray

__all__ = ["connect_encoder"]


def connect_encoder(spec: SemanticSpec) -> Encoder:
    """The shared worker's stand-in inside a Ray run, unless the spec says `worker: false`; else the encoder itself.

    Raises:
        ConfigError: The spec switches the semantic term off.
        EncoderError: The model cannot be loaded.
    """
    # Counting trigrams is cheaper than asking another process to do it.
    if spec.enable and spec.worker and spec.kind != "hashing" and inside_ray():
        return RemoteEncoder(spec)
    return build_encoder(spec)
