# SPDX-License-Identifier: Apache-2.0
"""Checks tokenizer and chat template: a perfect response must score 1.0 with them.

A thinking mark unknown to the parser, or a tag that is a special token of the tokenizer, would appear in training only
as a format reward of 0. This check reports it, with the response that was tried.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from medix_verl.chat_template import contradiction, load_tokenizer, own_marks
from medix_verl.data.prompts import render_prompt
from medix_verl.errors import ConfigError, MedixError
from medix_verl.recipe.check import Check
from medix_verl.rewards.example import Example, try_template
from medix_verl.rewards.spec import RewardSpec
from medix_verl.thinking import NATIVE, Thinking
from medix_verl.types import Sample

__all__ = ["check_template"]

SAYS = {
    Thinking.NONE: "says nothing of the thinking",
    Thinking.OPEN: "opens the thinking",
    Thinking.CLOSED: "holds a closed thinking block",
}


def check_template(
    policy: Mapping[str, Any],
    reward: Mapping[str, Any],
    recipe: str,
    load: Callable[[str, bool, str | None], Any] = load_tokenizer,
    trust: bool = True,
) -> list[Check]:
    """Check the tokenizer and template of the recipe's model, and the text of its prompt.

    Args:
        policy: From medix_verl.recipe.checks.probe.
        reward: The recipe's `reward.medix`.
        recipe: Recipe name.
        load: Loads a tokenizer.
        trust: Whether the model's own code may run if the recipe sets `trust_remote_code`.
    """
    path = policy["path"]
    try:
        tokenizer = load(policy["tokenizer"], trust and policy["trust_remote_code"], policy["template"])
    except ConfigError as error:
        todo = f"medix-verl doctor --recipe {recipe} --model FOLDER, or hf download {path}"
        return [Check("template", "warn", f"{path}: not looked at: {error}", todo)]
    try:
        spec = RewardSpec.from_mapping(reward)
        examples = try_template(spec, tokenizer, policy["settings"])
    except MedixError as error:
        found, _, todo = str(error).rpartition("; ")
        return [Check("template", "FAIL", f"{path}: {found}", todo)]
    checks = [judged(path, example) for example in examples]
    worst = next((check for check in checks if check.status == "FAIL"), checks[0])
    found, _, todo = contradiction(spec.thinking, examples[0].end).rpartition("; ")
    said = [Check("thinking", "warn", found, todo)] if found and spec.rule == "medix" else []
    return [worst, *said, *prompt_checks(policy["prompt"], examples[0], tokenizer, spec.rule)]


def judged(path: str, example: Example) -> Check:
    """The check of one example."""
    shown, start = json.dumps(example.response, ensure_ascii=False), json.dumps(example.start, ensure_ascii=False)
    mark = example.end.mark
    whose = "" if mark in (None, NATIVE) else f" with {mark.name} ({mark.who})"
    said = (
        f"{path}: the prompt ends with {start}, which {SAYS[example.end.thinking]}{whose}; a perfect response {shown}"
    )
    if example.score == 1.0:
        return Check("template", "ok", f"{said} scores 1.0")
    found = f"{said} scores {example.score:.4g}: {', '.join(example.below) or 'it has no score'}"
    return Check("template", "FAIL", found, "reward.medix.thinking=auto, or fix the term that is named")


def prompt_checks(name: str, example: Example, tokenizer: Any, rule: str) -> list[Check]:
    """Whether the prompt asks for the part of the format that the template does not write itself."""
    try:
        text = render_prompt(Sample("q", "doctor", "What?", "x"), name)
    except MedixError as error:
        return [Check("prompt", "FAIL", str(error), "data.medix.prompt=medix")]
    asks = "<think" in text
    if rule == "published" or example.end.thinking is Thinking.CLOSED:
        return []
    if example.end.thinking is Thinking.OPEN and asks:
        found = f"data.medix.prompt={name} asks for <think>, and the template has opened the thinking already"
        return [Check("prompt", "warn", found, "data.medix.prompt=medix_thinking")]
    native = next(iter(own_marks(tokenizer)), None)
    if example.end.thinking is Thinking.NONE and not asks and native is None:
        found = f"data.medix.prompt={name} asks for no <think>, and nothing else opens the thinking"
        return [Check("prompt", "warn", found, "data.medix.prompt=medix")]
    if asks and native is not None:
        found = f"the model marks its thinking with {native.name} ({native.who}), and the prompt asks for <think>"
        return [Check("prompt", "warn", found, "data.medix.prompt=medix_thinking")]
    return []
