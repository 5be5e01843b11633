# SPDX-License-Identifier: Apache-2.0
"""Checks of the installation as verl sees it: plugin, platform, recipes.

verl is imported once, in a child process with a time limit (medix_verl.recipe.checks.probe); the functions here read
the report of that process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from medix_verl.recipe.check import Check
from medix_verl.recipe.checks.chosen import check_chosen
from medix_verl.recipe.checks.probe import MARKER, no_report
from medix_verl.recipe.code import Trust

__all__ = ["check_platform", "check_plugin", "check_recipes", "run_probe", "verl_checks"]


PROBE_TIME_LIMIT_S = 240.0
ROOT = Path(__file__).parents[3]
IS_CHECKOUT = (ROOT / "setup.py").is_file()
REINSTALL = f"pip install --no-deps -e {ROOT}" if IS_CHECKOUT else "pip install --no-deps --force-reinstall medix-verl"
Report = dict[str, Any]


def verl_checks(report: Report) -> list[Check]:
    """Every check of this module, from what run_probe returned."""
    if report["verl_error"] is not None:
        ours = "medix_verl" in report["verl_error"]
        todo = REINSTALL if ours else "medix-verl doctor --fix, then python -c 'import verl'"
        return [Check("verl import", "FAIL", report["verl_error"], todo)]
    checks = [check_plugin(report["plugin"]), check_platform(report["platform"])]
    if not report["chosen"].get("typed", True):
        checks.append(check_recipes(report["recipes"]))
    return [*checks, *check_chosen(report["chosen"], report["known"])]


def run_probe(
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    command: Sequence[str] | None = None,
    trust: Trust = False,
    time_limit_s: float = PROBE_TIME_LIMIT_S,
) -> Report:
    """Run the probe in a fresh process that imports verl.

    Args:
        recipe: The recipe to check; see medix_verl.recipe.checks.probe.probe.
        overrides: Further words of the command line.
        command: What to run; None is `python -m medix_verl.recipe.checks.probe` with this interpreter.
        trust: Code named by the recipe that may be loaded.
        time_limit_s: Time limit of the process.
    """
    asked = {
        "recipe": recipe or "",
        "overrides": list(overrides),
        "trust": trust if isinstance(trust, bool) else list(trust),
        "folder": str(Path.cwd()),
    }
    program = [sys.executable, "-m", "medix_verl.recipe.checks.probe", json.dumps(asked)]
    words = program if command is None else list(command)
    try:
        # Not in the current folder: a checkout there would be importable even if medix_verl is not installed, and Ray's
        # workers would fail.
        done = subprocess.run(words, capture_output=True, text=True, timeout=time_limit_s, check=False, cwd=sys.prefix)
    except subprocess.TimeoutExpired:
        return no_report(f"`import verl` did not end within {time_limit_s:.0f} s")
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARKER)]
    if not lines:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return no_report(f"`import verl` ended its process with status {done.returncode}: {last[:300]}")
    return dict(json.loads(lines[-1][len(MARKER) :]))


def check_plugin(plugin: Mapping[str, Any]) -> Check:
    """verl must find the entry point, and the plugin must have registered itself."""
    if plugin["error"]:
        return Check("plugin", "FAIL", plugin["error"], f"{REINSTALL}, or fix the cause named here")
    if not any(entry.name == "medix" for entry in metadata.entry_points(group="verl.plugins")):
        return Check("plugin", "FAIL", "no entry point `medix` in the group verl.plugins", REINSTALL)
    if not plugin["loaded"]:
        policy = os.environ.get("VERL_USE_EXTERNAL_PLUGINS", "auto")
        found = f"verl passed it over: VERL_USE_EXTERNAL_PLUGINS={policy}"
        return Check("plugin", "FAIL", found, "unset VERL_USE_EXTERNAL_PLUGINS")
    if not plugin["registered"] or not plugin["searchpath"]:
        return Check("plugin", "FAIL", "loaded, but the recipes are not on Hydra's search path", REINSTALL)
    return Check("plugin", "ok", "loaded by verl, recipes on Hydra's search path")


def check_platform(platform: Mapping[str, Any]) -> Check:
    """What verl's get_platform() resolves to, and whether it has a device."""
    if platform["error"]:
        return Check("platform", "FAIL", platform["error"], "VERL_PLATFORM=cpu medix-verl doctor, or fix the driver")
    if not platform["available"]:
        return Check(
            "platform",
            "FAIL",
            f"verl takes {platform['vendor']} ({platform['device']}), and sees no device of it",
            "export VERL_PLATFORM=cpu, or start this where the accelerator is visible (nvidia-smi)",
        )
    if platform["device"] == "cpu":
        return Check("platform", "ok", "cpu: no accelerator; use +recipe=medix_cpu")
    return Check("platform", "ok", f"{platform['vendor']} ({platform['device']}), {platform['count']} visible")


def check_recipes(recipes: Mapping[str, Mapping[str, Any]]) -> Check:
    """Every recipe must compose with verl's ppo_trainer."""
    broken = [f"{name or 'the folder'}: {found['error']}" for name, found in recipes.items() if found["error"]]
    if not recipes:
        return Check("recipes", "FAIL", "none found in medix_verl.recipes", REINSTALL)
    if broken:
        name = next(name for name, found in recipes.items() if found["error"])
        command = f"python -m verl.trainer.main_ppo +recipe={name} --cfg job" if name else REINSTALL
        return Check("recipes", "FAIL", "; ".join(broken), command)
    return Check("recipes", "ok", f"{', '.join(sorted(recipes))}: all compose with verl's ppo_trainer")
