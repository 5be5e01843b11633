# SPDX-License-Identifier: Apache-2.0
"""Checks of a recipe on this machine before a run, one module for each subject."""

__all__: list[str] = []
