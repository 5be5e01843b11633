# SPDX-License-Identifier: Apache-2.0
"""Recipes that are composed once for all tests of a process; composing one takes a second."""

from __future__ import annotations

import functools

from omegaconf import DictConfig

from medix_verl.recipe.compose import compose_recipes


@functools.cache
def composed(names: str) -> DictConfig:
    """The configuration of `+recipe=[names]`. It is shared: copy it before changing it."""
    return compose_recipes(names.split(","))
