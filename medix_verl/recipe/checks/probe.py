# SPDX-License-Identifier: Apache-2.0
"""The child process of `medix-verl doctor` that imports verl: `python -m medix_verl.recipe.checks.probe`.

It is a separate process because importing verl takes seconds, may hang or crash on a broken machine, and must happen as
in a training process. Its only argument is a JSON object with the arguments of `probe`. The last line of its standard
output is MARKER and one JSON object: `verl_error`, `plugin`, `platform`, `known` (names of recipes), `recipes` (name ->
`error`; only when no recipe was typed, because composing all of them takes half a minute), `chosen`. It changes nothing
on the machine.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from medix_verl.errors import MedixError
from medix_verl.recipe.check import first_cause
from medix_verl.recipe.code import Trust, foreign_hydra, not_accepted
from medix_verl.recipe.compose import compose_recipes, typed
from medix_verl.recipe.facts import describe
from medix_verl.recipe.index import GROUP, check_overrides, recipe_heads
from medix_verl.recipe.own import names_of
from medix_verl.recipe.share.installed import with_accepted
from medix_verl.recipe.validate import untrusted

__all__ = ["MARKER", "main", "no_report", "probe"]

MARKER = "MEDIX_PROBE "


def main() -> None:
    """Write the report, including exceptions."""
    asked = json.loads(sys.argv[1]) if sys.argv[1:] else {}
    sys.stdout.write(f"\n{MARKER}{json.dumps(probe(**asked))}\n")


def probe(recipe: str = "", overrides: Sequence[str] = (), trust: Trust = False, folder: str = "") -> dict[str, Any]:
    """Import verl and report the state of plugin, platform, and the chosen recipe; without one, of all recipes.

    Args:
        recipe: One name, or several separated by commas; empty is `medix_cpu` on the CPU and `medix` elsewhere.
        overrides: Further words of the command line.
        trust: Code named by the recipe that may be loaded.
        folder: Base of the recipe's relative paths; empty is the current folder.
    """
    try:
        import verl  # noqa: F401
    except Exception as error:  # noqa: BLE001 - the doctor reports any import error of verl
        return no_report(first_cause(error))
    if folder:
        os.chdir(folder)
    platform = _platform()
    name = recipe or ("medix_cpu" if platform["device"] == "cpu" else "medix")
    chosen = {
        "name": name,
        "typed": bool(recipe),
        **_chosen(name, overrides, trust),
        "devices": 0 if platform["device"] == "cpu" else platform["count"],
    }
    recipes = _recipes()
    return {
        "verl_error": None,
        "plugin": _plugin(),
        "platform": platform,
        "known": sorted(filter(None, recipes)),
        "recipes": {} if recipe else {key: _error_of(compose) for key, compose in recipes.items()},
        "chosen": chosen,
    }


def no_report(error: str) -> dict[str, Any]:
    """The report of a machine where verl cannot be imported."""
    return {"verl_error": error, "plugin": None, "platform": None, "known": [], "recipes": {}, "chosen": None}


def _plugin() -> dict[str, Any]:
    loaded = "medix_verl.plugin" in sys.modules
    try:
        from medix_verl.plugin import status

        return {"loaded": loaded, **status()}
    except Exception as error:  # noqa: BLE001 - the doctor reports any error of the plugin
        return {"loaded": False, "registered": False, "searchpath": False, "error": first_cause(error)}


def _platform() -> dict[str, Any]:
    try:
        from verl.plugin.platform.platform_manager import get_platform

        platform = get_platform()
        available = bool(platform.is_available())
        return {
            "device": str(platform.device_name),
            "vendor": str(platform.vendor_name),
            "available": available,
            "count": int(platform.device_count()) if available else 0,
            "error": None,
        }
    except Exception as error:  # noqa: BLE001 - drivers raise many kinds of errors
        return {"device": "", "vendor": "", "available": False, "count": 0, "error": first_cause(error)}


def _recipes() -> dict[str, Callable[[], Any]]:
    """Name of each recipe -> what composes it; the empty name raises why there are none."""
    try:
        return {name: partial(compose_recipes, [name]) for name in recipe_heads()}
    except Exception:  # noqa: BLE001 - a missing recipes folder is a finding, not a crash
        return {"": recipe_heads}


def _chosen(recipe: str, overrides: Sequence[str], trust: Trust) -> dict[str, Any]:
    def look() -> dict[str, Any]:
        names = names_of(recipe)
        check_overrides([f"+{GROUP}=[{','.join(names)}]"])  # as for a run's command line
        found = describe(compose_recipes(names, overrides), trust, names, overrides)
        code = not_accepted(foreign_hydra([*typed(names), *overrides]), with_accepted(trust, names))
        return {**found, "faults": [*map(untrusted, code), *found["faults"]]}

    return _error_of(look)


def _error_of(look: Callable[[], Any]) -> dict[str, Any]:
    """The facts that `look` returns, or its error."""
    try:
        found = look()
    except MedixError as error:
        return {"error": str(error)}
    except Exception as error:  # noqa: BLE001 - Hydra and OmegaConf raise many kinds; each is a finding
        return {"error": first_cause(error)}
    return found if type(found) is dict else {"error": None}


if __name__ == "__main__":
    main()
