# SPDX-License-Identifier: Apache-2.0
"""Estimates GPU memory and time of a run; no GPU is needed."""

__all__: list[str] = []
