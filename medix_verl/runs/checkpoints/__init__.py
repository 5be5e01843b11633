# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a run: found, checked for code, merged into a model's folder, and described."""

__all__: list[str] = []
