# SPDX-License-Identifier: Apache-2.0
"""What can be said of an answer without a model: normalised texts, quantities, equality, guards, the rule judge."""

__all__: list[str] = []
