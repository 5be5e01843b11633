# SPDX-License-Identifier: Apache-2.0
"""Validates a recipe on this machine: `doctor` prints the result, and a run with a failed check does not start.

It reads the facts of a composed configuration (medix_verl.recipe.facts). Cheap checks come first; judge, encoder and
rows are checked only if the configuration can be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from medix_verl.recipe.check import Check
from medix_verl.recipe.checks.credentialed import check_credentialed
from medix_verl.recipe.checks.data import check_files, check_overlap, check_prompt, check_validation
from medix_verl.recipe.checks.encoder import check_encoder
from medix_verl.recipe.checks.judge import ask_once, check_judge
from medix_verl.recipe.checks.locked import check_locks
from medix_verl.recipe.checks.placement import check_placement
from medix_verl.recipe.checks.sft import check_sft
from medix_verl.recipe.checks.teacher import check_teacher
from medix_verl.recipe.checks.template import check_template

__all__ = ["check_chosen", "check_facts"]

CONFIGURATION = "configuration"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w.-]+)?")


def check_chosen(chosen: Mapping[str, Any], known: Sequence[str]) -> list[Check]:
    """Check that the recipe exists and composes, then run check_facts."""
    recipe = chosen["name"]
    for name in recipe.split(","):
        if name not in known:
            near = get_close_matches(name, known, n=1) or known[:1] or ["medix"]
            text = f"'{name}' is none of {', '.join(known) or '(no recipe found)'}"
            return [Check("recipe", "FAIL", text, f"medix-verl doctor --recipe {recipe.replace(name, near[0])}")]
    if chosen["error"] is not None:
        todo = f"python -m verl.trainer.main_ppo +recipe=[{recipe}] ... --cfg job"
        return [Check("recipe", "FAIL", f"{recipe}: {chosen['error']}", todo)]
    return list(check_facts(chosen))


def check_facts(facts: Mapping[str, Any]) -> Iterator[Check]:
    """Everything that would stop a run with these facts on this machine, and settings that make it pointless.

    Args:
        facts: From medix_verl.recipe.facts, plus `name` (of the recipe) and `devices` (accelerators that verl sees).
    """
    quick = list(_without_asking(facts))
    if not facts.get("typed", True):
        # The recipe is the default, not typed by the user; its data may come later.
        quick = [replace(check, status="warn") if check.status == "FAIL" else check for check in quick]
    yield from quick
    if any(check.name == CONFIGURATION for check in quick):
        return  # the judge and encoder sections cannot be read
    yield from _with_asking(facts)


def _without_asking(facts: Mapping[str, Any]) -> Iterator[Check]:
    recipe = facts["name"]
    for fault in facts.get("faults", ()):
        yield Check(CONFIGURATION, "FAIL", f"{fault} ({recipe})", "fix what is named here")
    if "placement" in facts:
        yield from check_placement(facts["placement"], facts["devices"], recipe)
    if facts.get("evaluates_on") == "" and facts["devices"]:
        found = f"medix.on_save evaluates each checkpoint, and none of this machine's GPUs is for that ({recipe})"
        yield Check("on_save", "FAIL", found, "medix.on_save_options.devices=NUMBER of a GPU that the run does not use")
    if folder := facts.get("resume"):
        found = f"verl unpickles all of {folder}, which runs whatever code somebody has put there ({recipe})"
        yield Check(
            "resume", "warn", found, "resume only from what you wrote; another's model: medix-verl export it first"
        )
    if "schedule" in facts:
        yield check_files(facts["files"], recipe, facts["prepare"], facts["of_schema"])
        if facts["of_schema"]:
            yield from check_validation(facts["schedule"], facts["train"], facts["val"], recipe)
    if "sft" in facts:
        yield from check_sft(facts)
    if "policy" in facts and (model := _check_model(facts["policy"]["path"], recipe)):
        yield model
    if "policy" in facts and (prompt := check_prompt(facts["policy"]["prompt"], recipe)):
        yield prompt


def _check_model(path: str, recipe: str) -> Check | None:
    """Fail if the model's folder does not exist; hub ids are left to verl, which downloads them."""
    if HUB_ID.fullmatch(str(path)) or Path(str(path)).expanduser().is_dir():
        return None
    found = f"there is no folder {path} ({recipe})"
    return Check("model", "FAIL", found, "actor_rollout_ref.model.path=FOLDER_OR_HUB_ID, or prepare it")


def _with_asking(facts: Mapping[str, Any]) -> Iterator[Check]:
    recipe = facts["name"]
    yield from check_locks(facts.get("locks", ()), facts.get("train", ()), facts.get("val", ()))
    if "sft" in facts:  # no judge
        yield check_overlap(facts["train"], facts["val"], recipe)
        return
    yield check_judge(facts["judge"], recipe, reply_of=ask_once)
    yield check_encoder(facts["semantic"], recipe)
    if facts.get("of_schema", True):
        yield check_credentialed(facts["judge"], facts["semantic"], facts["files"], recipe)
        yield check_overlap(facts.get("train", ()), facts.get("val", ()), recipe)
    if "policy" in facts:
        yield from check_template(facts["policy"], facts["reward"], recipe, trust=facts["trust"])
        if teacher := check_teacher(facts.get("teachers", ()), facts["policy"], recipe):
            yield teacher
