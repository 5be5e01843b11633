# SPDX-License-Identifier: Apache-2.0
"""The commands that evaluate a model, compare evaluations, and judge answers again."""

__all__: list[str] = []
