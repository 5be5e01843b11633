# SPDX-License-Identifier: Apache-2.0
"""verl's `verl.plugins` entry point: the only module of medix_verl whose import has side effects.

Every process that imports verl imports this. It adds the recipes to Hydra's search path and, on a machine without an
accelerator, verl's missing CPU platform. It registers nothing else: reward manager, dataset and sampler are named in
the recipes by their `pkg://` path, which fails loudly where a registry would be silently empty.

verl logs an exception of a plugin at DEBUG and carries on (verl/__init__.py). So a failure here is logged at ERROR
before it is raised again, and `status()` keeps it for `medix-verl doctor`.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from medix_verl.after_import import after_import

__all__ = ["register", "status"]

_logger = logging.getLogger("medix_verl")
_state: dict[str, Any] = {"registered": False, "searchpath": False, "platform": "verl's own", "error": None}


def register() -> None:
    """Register the search path and, where it applies, the CPU platform. Safe to call any number of times."""
    if _state["registered"]:
        return
    try:
        # Only the process with the command line needs Hydra, whose import takes longer than all the rest here.
        after_import("hydra.core.plugins", _register_search_path)
        _state["searchpath"] = True
        from medix_verl.cpu.activate import activate_if_needed

        if activate_if_needed():
            _state["platform"] = "cpu"
    except Exception as error:
        _state["error"] = f"{type(error).__name__}: {error}"
        _logger.error("medix_verl is not active, verl would train without it: %s; run `medix-verl doctor`", error)
        raise
    _state["registered"] = True


def status() -> dict[str, Any]:
    """What was registered in this process: keys `registered`, `searchpath`, `platform`, `error` (the first cause)."""
    return dict(_state)


def _register_search_path(hydra_plugins: Any) -> None:
    """Register with `hydra.core.plugins` once it is imported; the recipes are then found by their names."""
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    from medix_verl.errors import ConfigError
    from medix_verl.recipes_index import SEARCH_PATH, check_overrides, search_paths

    class MedixSearchPath(SearchPathPlugin):
        """Adds the recipes to Hydra applications that stand on verl's configuration, and to no other."""

        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            entries = search_path.get_path()
            if not any("verl" in (entry.path or "") for entry in entries if entry.provider == "main"):
                return
            if any(entry.path == SEARCH_PATH for entry in entries):  # this module was loaded twice
                return
            try:
                for path in search_paths():
                    search_path.append(provider="medix-verl", path=path)
                check_overrides(sys.argv[1:])
            except ConfigError as error:
                # Not a traceback: nothing is wrong with the program, one word of the command line is.
                raise SystemExit(f"medix-verl: error: {error}") from None

    hydra_plugins.Plugins.instance().register(MedixSearchPath)


register()
