# SPDX-License-Identifier: Apache-2.0
"""Stops a run with a recipe on its command line if verl has not loaded the plugin.

Hydra imports every module of the namespace package `hydra_plugins`. verl loads plugins since 0.9.0, but not with
VERL_USE_EXTERNAL_PLUGINS=none. Without the plugin, `+recipe=medix` is a plain new key, and verl would silently train on
its own defaults.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

__all__ = ["MedixGuard", "why_inactive"]

_ASKED = re.compile(r"^\+{1,2}recipes?(?:@[^=]*)?=")
PLUGIN = "medix_verl.plugin"
POLICY = "VERL_USE_EXTERNAL_PLUGINS"


class MedixGuard(SearchPathPlugin):
    """Checks that the plugin is loaded; does not change the search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Exit with an error if the command line of verl names a recipe and medix_verl.plugin is not loaded."""
        if "verl" not in sys.modules or PLUGIN in sys.modules:
            return
        if reason := why_inactive(sys.argv[1:]):
            raise SystemExit(f"medix-verl: error: {reason}")


def why_inactive(words: Sequence[str]) -> str:
    """Why this command line's recipe would be a plain key, and what to type; empty if it names no recipe."""
    from medix_verl.recipe.checks.machine import REQUIREMENTS, check_version

    asked = next((word for word in words if _ASKED.match(word)), None)
    if asked is None:
        return ""
    verl = check_version(next(requirement for requirement in REQUIREMENTS if requirement.name == "verl"))
    policy = os.environ.get(POLICY, "auto")
    if verl.status == "FAIL":
        why, todo = f"verl is {verl.found}", verl.todo
    elif policy != "auto":
        why, todo = f"{POLICY}={policy} keeps verl from loading the plugin", f"unset {POLICY}"
    else:
        why, todo = "verl did not load the plugin", "medix-verl doctor"
    return f"'{asked}' would be a plain key and verl would train on its own defaults: {why}; type {todo}"
