# SPDX-License-Identifier: Apache-2.0
"""verl's `verl.plugins` entry point: the only module of medix_verl whose import has side effects.

Every process that imports verl imports it. It adds the recipes to Hydra's search path; on a machine without an
accelerator, verl's missing CPU platform; the resolver `medix.beside` to OmegaConf; and to Gemma 4 the pass through its
vision tower that ranks with mixed rows need (medix_verl.runtime.gemma4). At the start of a run it refuses a recipe that
is not in force. It registers nothing else: the recipes name reward manager, dataset and sampler by their `pkg://` path,
which raises an error where an empty registry would not.

verl logs an exception of a plugin at DEBUG and continues (verl/__init__.py). So a failure here is logged at ERROR
before it is raised again, and `status()` keeps it for `medix-verl doctor`.
"""

from __future__ import annotations

import functools
import logging
import sys
from pathlib import Path
from typing import Any

from medix_verl.after_import import after_import
from medix_verl.recipe.beside import register as register_beside

__all__ = ["register", "status"]

_logger = logging.getLogger("medix_verl")
_state: dict[str, Any] = {"registered": False, "searchpath": False, "platform": "verl's own", "error": None}
STARTS = (
    ("verl.utils.device", "auto_set_device"),  # the first call in both SFT trainers' programs and in main_ppo
    ("verl.utils.config", "validate_config"),
    ("verl.trainer.main_ppo", "run_ppo"),
)
"""Functions called at the start of a run, however its configuration was composed."""


def register() -> None:
    """Register the search path and, if needed, the CPU platform. Can be called several times."""
    if _state["registered"]:
        return
    try:
        # Only the process with the command line needs Hydra, whose import is slow.
        if "hydra.core.plugins" in sys.modules:
            _refuse_late_import()
        after_import("hydra.core.plugins", _register_search_path)
        _state["searchpath"] = True
        after_import("omegaconf", register_beside)
        from medix_verl.runtime.gemma4 import MODELING, add_picture_pass

        after_import(MODELING, add_picture_pass)
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
    """Register with `hydra.core.plugins` once it is imported; recipes are then found by name."""
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    from medix_verl.errors import ConfigError
    from medix_verl.recipe import index

    class MedixSearchPath(SearchPathPlugin):
        """Adds the recipes to Hydra applications that are based on verl's configuration, and to no others."""

        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            entries = search_path.get_path()
            if any(entry.path == index.SEARCH_PATH for entry in entries):  # this module was loaded twice
                return
            words = sys.argv[1:]
            try:
                of_verl = any(index.stands_on_verl(entry.path or "") for entry in entries if entry.provider == "main")
                if not of_verl and not (index.asks_for_recipe(words) and index.names_of_ours(words)):
                    return
                for path in index.search_paths():
                    search_path.append(provider="medix-verl", path=path)
                index.check_trainer(Path(sys.argv[0]).stem, words)
                index.check_overrides(words)
            except ConfigError as error:
                if not index.asks_for_recipe(words):
                    _logger.warning("no recipe can be found: %s", error)
                    return
                raise _stop(error) from None

    hydra_plugins.Plugins.instance().register(MedixSearchPath)
    for module, name in STARTS:
        after_import(module, functools.partial(_refuse_plain_key, name))


def _refuse_late_import() -> None:
    """Stop if Hydra composes or has composed a recipe without this plugin: verl was imported too late."""
    from hydra.core.global_hydra import GlobalHydra

    from medix_verl.recipe import index

    words, hydra = sys.argv[1:], GlobalHydra.instance()
    if hydra.is_initialized() and index.asks_for_recipe(words) and (names := index.names_of_ours(words)):
        if any(entry.path == index.SEARCH_PATH for entry in hydra.config_loader().get_search_path().get_path()):
            return
        raise _stop(
            f"Hydra composed before verl was imported, and {', '.join(names)} is not in force: write `import verl` at "
            "the top of your program"
        )


def _refuse_plain_key(name: str, module: Any) -> None:
    """Wrap a function of verl's that starts a run: first refuse a recipe that was composed as a plain key."""
    from medix_verl.errors import ConfigError
    from medix_verl.recipe.index import check_in_force

    start = getattr(module, name)
    if hasattr(start, "__wrapped__"):  # this module was loaded twice
        return

    @functools.wraps(start)
    def checked(config: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            check_in_force(config)
        except ConfigError as error:
            raise _stop(error) from None
        return start(config, *args, **kwargs)

    setattr(module, name, checked)


def _stop(error: object) -> SystemExit:
    # Not a traceback: the error is in the command line, not in the program.
    return SystemExit(f"medix-verl: error: {error}")


register()
