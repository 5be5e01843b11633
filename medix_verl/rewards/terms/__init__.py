# SPDX-License-Identifier: Apache-2.0
"""The terms of the package, one class each; medix_verl.rewards.term defines the interface."""

from __future__ import annotations

from medix_verl.rewards.term import Term
from medix_verl.rewards.terms.form import FormatTerm, ModalityTerm
from medix_verl.rewards.terms.judge import JudgeTerm
from medix_verl.rewards.terms.semantic import SemanticTerm

__all__ = ["BUILT_IN"]

BUILT_IN: dict[str, type[Term]] = {
    "judge": JudgeTerm,
    "semantic": SemanticTerm,
    "format": FormatTerm,
    "modality": ModalityTerm,
}
"""In the order used in rows and reports."""
