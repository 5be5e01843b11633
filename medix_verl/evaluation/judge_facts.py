# SPDX-License-Identifier: Apache-2.0
"""What an evaluation takes of a judge's settings, what it says of them in its manifest, and what it refuses.

The published protocol has its own prompts, shows every candidate to the judge and takes the majority, so most settings
of the training judge would do nothing there; a setting that does nothing is refused, because whoever gave it would
read the numbers as if it had been used. A rubric needs a judge that reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medix_verl.errors import ConfigError
from medix_verl.evaluation.protocol_spec import ProtocolSpec
from medix_verl.evaluation.tasks import TaskSpec
from medix_verl.judge.prompt import load_prompt
from medix_verl.judge.spec import JudgeSpec

__all__ = ["check_judging", "facts_of_judging", "judgeable"]

OF_A_SERVER = ("api_key_env", "structured", "prompt", "soft", "swap", "guard")
IDLE = {"published": ("prompt", "soft", "swap", "guard"), "robust": ("soft", "swap")}
"""Protocol -> settings of a served judge that it does not use; robust has a swap of its own, in ProtocolSpec."""
WHY = {
    "published": "protocol published has its own prompts and neither guard nor swap; type --protocol robust",
    "robust": "protocol robust takes a verdict's word, not its P(YES), and its own swap; leave it out",
}


def check_judging(settings: Mapping[str, Any], protocol: ProtocolSpec) -> None:
    """Refuse a judge's settings that would do nothing.

    Args:
        settings: Those of medix_verl.evaluation.assemble.judge_specs.
        protocol: How the judge is asked.

    Raises:
        ConfigError: There is one.
    """
    given = [name for name, value in settings.items() if value is not None]
    if settings.get("kind", "rule") == "rule":
        idle: tuple[str, ...] = OF_A_SERVER
        why = "the rule judge asks no server; type --judge openai --judge-url URL --judge-model NAME"
        if protocol.rounds is not None:
            raise ConfigError(
                f"--rounds {protocol.rounds} was given with --judge rule, which always says the same; leave it out"
            )
    else:
        idle, why = IDLE[protocol.name], WHY[protocol.name]
    for name in idle:
        if name in given:
            raise ConfigError(f"--judge-{name.replace('_', '-')} was given and would do nothing: {why}")


def judgeable(tasks: Sequence[TaskSpec], settings: Mapping[str, Any], say: Callable[[str], None]) -> list[TaskSpec]:
    """The tasks that a judge can grade; the others are told.

    Raises:
        ConfigError: There is none.
    """
    if settings.get("kind", "rule") != "rule":
        return list(tasks)
    left = [task for task in tasks if task.metric != "rubric"]
    out = ", ".join(task.name for task in tasks if task.metric == "rubric")
    if not left:
        raise ConfigError(
            f"{out} is graded by rubric, which the rule judge cannot read; "
            "type --judge openai --judge-url URL --judge-model NAME"
        )
    if out:
        say(f"{out}: left out, the rule judge cannot read a rubric (--judge openai can)")
    return left


def facts_of_judging(judges: Sequence[JudgeSpec], protocol: ProtocolSpec) -> dict[str, Any]:
    """What the manifest says of the judging; no key is in it."""
    return {
        "judge": {
            "kind": judges[0].kind,
            "model": [judge.model for judge in judges if judge.model],
            **used_of(judges[0], protocol),
        },
        "judge_url": [url for judge in judges for url in judge.urls],
        "protocol": {"name": protocol.name, "rounds": protocol.rounds, "extract": protocol.extract},
    }


def used_of(judge: JudgeSpec, protocol: ProtocolSpec) -> dict[str, Any]:
    """The settings that change what a served judge says under a protocol; a panel shares them."""
    if judge.kind == "rule":
        return {}
    if protocol.name == "published":
        return {"structured": judge.structured}
    text = load_prompt(judge.prompt, judge.show_question)
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
    return {
        "structured": judge.structured,
        "prompt": judge.prompt,
        "prompt_sha256": digest,
        "swap": protocol.swap,
        "guard": judge.guard,
    }
