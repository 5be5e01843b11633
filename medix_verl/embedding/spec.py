# SPDX-License-Identifier: Apache-2.0
"""The recipe's `semantic` section, frozen and checked: which embedding model, and from which cosine on it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medix_verl.specs import check_choice, check_flag, check_number, check_text, read_mapping

__all__ = ["KINDS", "SemanticSpec"]

KINDS = ("sentence_transformers", "hashing")


@dataclass(frozen=True, slots=True)
class SemanticSpec:
    """Which encoder compares answer and reference."""

    enable: bool = True
    """False takes the semantic term out of the reward and shares its weight among the others."""
    kind: str = "sentence_transformers"
    """`sentence_transformers`, or `hashing` (no model: for tests and the unit ring)."""
    model: str = "abhinand/MedEmbed-large-v0.1"
    """A Hugging Face id, a local folder, or `package:NAME` for the folder MODEL_DIR of an installed Python package."""
    revision: str | None = None
    """Commit, branch or tag of the model on the hub."""
    device: str = "cpu"
    """Where the model runs, as torch names it."""
    threshold: float = 0.8
    """Cosine from which on the two texts count as similar."""
    trust_remote_code: bool = False
    """Whether code that comes with the model may run here."""

    def __post_init__(self) -> None:
        check_flag("semantic.enable", self.enable)
        check_choice("semantic.kind", self.kind, KINDS)
        check_text("semantic.model", self.model)
        check_text("semantic.revision", self.revision, optional=True)
        check_text("semantic.device", self.device)
        check_number("semantic.threshold", self.threshold, low=-1.0, high=1.0)
        check_flag("semantic.trust_remote_code", self.trust_remote_code)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> SemanticSpec:
        """Read a recipe's `semantic` section; see medix_verl.specs.read_mapping for what is refused."""
        return read_mapping(cls, mapping, "semantic")
