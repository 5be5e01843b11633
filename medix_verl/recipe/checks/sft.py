# SPDX-License-Identifier: Apache-2.0
"""Checks of supervised fine-tuning: GPUs, SFT files, and texts that match the model's chat template."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from medix_verl.chat_template import load_tokenizer, read_template, refuse_unknown
from medix_verl.data.sft.file import check_sft_file, misfit, read_stamp
from medix_verl.errors import ConfigError, MedixError
from medix_verl.recipe.check import Check
from medix_verl.recipe.checks.data import check_files

__all__ = ["check_sft"]


def check_sft(
    facts: Mapping[str, Any], load: Callable[[str, bool, str | None], Any] = load_tokenizer
) -> Iterator[Check]:
    """Everything that would stop a run of the SFT trainer with these facts on this machine.

    Args:
        facts: From medix_verl.recipe.sft, plus `name` (of the recipe) and `devices`.
        load: Loads a tokenizer.
    """
    recipe, asked = facts["name"], facts["sft"]
    yield _gpus(asked, facts["devices"], recipe)
    data = check_files(facts["files"], recipe, facts["prepare"], of_schema=facts["of_schema"])
    yield data
    if data.status == "FAIL" or not facts["of_schema"]:
        return
    try:
        yield from _rows(facts, recipe)
        yield _form(facts, recipe, load)
    except MedixError as error:
        found, _, todo = str(error).rpartition("; ")
        yield Check("SFT files", "FAIL", f"{found or todo} ({recipe})", todo or facts["prepare"])


def _gpus(asked: Mapping[str, Any], devices: int, recipe: str) -> Check:
    if asked["device"] == "cpu":
        return Check("GPUs", "ok", f"none asked ({recipe})")
    found = f"{asked['gpus']} of {devices} here, {asked['nodes']} nodes ({recipe})"
    if asked["gpus"] <= devices:
        return Check("GPUs", "ok", found)
    todo = f"trainer.n_gpus_per_node={devices}" if devices else "+recipe=[medix_sft,medix_sft_on_cpu]"
    return Check("GPUs", "FAIL", found, f"{todo}, or start this where the GPUs are")


def _rows(facts: Mapping[str, Any], recipe: str) -> Iterator[Check]:
    """Whether train and val each have at least one full batch."""
    batch = facts["sft"]["batch"]
    for key in ("train", "val"):
        here = [name for name in facts[key] if "://" not in name]
        rows = sum(check_sft_file(Path(name).expanduser()) for name in here)
        if here == facts[key] and here and rows < batch:
            found = f"{rows} rows of data.{key}_files are less than data.train_batch_size={batch}: no batch ({recipe})"
            yield Check("steps", "FAIL", found, f"data.train_batch_size={max(1, rows)} or fewer, or more rows")


def _form(facts: Mapping[str, Any], recipe: str, load: Callable[[str, bool, str | None], Any]) -> Check:
    """Whether the files' texts are well formed after the model's chat template.

    Raises:
        MedixError: A file is not an SFT file.
    """
    policy = facts["policy"]
    files = [Path(name).expanduser() for name in facts["files"] if "://" not in name]
    prompts = {read_stamp(path).prompt for path in files}
    if prompts - {policy["prompt"]}:
        other = sorted(prompts - {policy["prompt"]})[0]
        found = f"a file was written with the prompt {other}, and data.medix.prompt={policy['prompt']} ({recipe})"
        return Check("SFT files", "FAIL", found, f"data.medix.prompt={other}, or prepare with --sft-prompt")
    try:
        tokenizer = load(policy["tokenizer"], facts["trust"] and policy["trust_remote_code"], policy["template"])
    except ConfigError as error:
        return Check("template", "warn", f"{policy['path']}: not looked at: {error}", f"hf download {policy['path']}")
    start, end = read_template(tokenizer, policy["settings"])
    thinking = refuse_unknown(end)
    if why := next(filter(None, (misfit(path, thinking) for path in files)), ""):
        found, _, todo = why.partition("; ")
        return Check("template", "FAIL", f"{found} ({recipe})", todo)
    return Check("template", "ok", f"the texts continue {start!r}, as the template begins a reply ({recipe})")
