# SPDX-License-Identifier: Apache-2.0
"""Builds the page of a training run: finds and reads logs and dumps, computes curves, warnings and shown answers."""

__all__: list[str] = []
