# SPDX-License-Identifier: Apache-2.0
"""Judges answers without a model: normalised texts, quantities, equality, guards, the rule judge."""

__all__: list[str] = []
