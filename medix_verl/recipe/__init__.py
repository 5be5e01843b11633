# SPDX-License-Identifier: Apache-2.0
"""Recipes: finds, composes, validates and plans them."""

__all__: list[str] = []
