# SPDX-License-Identifier: Apache-2.0
"""Turns a SemanticSpec into an encoder; the one place that knows which kinds there are."""

from __future__ import annotations

from medix_verl.embedding.base import Encoder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError

__all__ = ["build_encoder"]


def build_encoder(spec: SemanticSpec) -> Encoder:
    """Build the encoder that a spec describes; a model is loaded into this process.

    Raises:
        ConfigError: The spec switches the semantic term off.
        EncoderError: The model cannot be loaded.
    """
    if not spec.enable:
        raise ConfigError("semantic.enable is false, so there is no encoder; set it to true to compare texts")
    if spec.kind == "hashing":
        from medix_verl.embedding.hashing import HashingEncoder

        return HashingEncoder()
    from medix_verl.embedding.encoder import SentenceEncoder

    return SentenceEncoder(spec)
