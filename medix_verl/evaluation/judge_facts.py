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
from medix_verl.evaluation.task_run import Limits
from medix_verl.evaluation.tasks import TaskSpec
from medix_verl.judge.judge import build_judge, endpoints_of
from medix_verl.judge.prompt import load_prompt
from medix_verl.judge.spec import JudgeSpec, check_kind

__all__ = ["check_judging", "facts_of_judging", "judge_specs", "judgeable"]

JUDGE_TIMEOUT_S = 120.0

OF_A_SERVER = ("api_key_env", "structured", "prompt", "soft", "swap", "guard")
IDLE = {"published": ("prompt", "soft", "swap", "guard"), "robust": ("soft", "swap")}
"""Protocol -> settings of a served judge that it does not use; robust has a swap of its own, in ProtocolSpec."""
WHY = {
    "published": "protocol published has its own prompts and neither guard nor swap; type --protocol robust",
    "robust": "protocol robust takes a verdict's word, not its P(YES), and its own swap; leave it out",
}


def judge_specs(settings: Mapping[str, Any]) -> list[JudgeSpec]:
    """The judges that settings name: `model` may name several with commas, then they are a panel.

    Args:
        settings: Keys of JudgeSpec; None leaves a default.

    Raises:
        ConfigError: They do not fit together.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    names = [name.strip() for name in str(given.pop("model", "")).split(",") if name.strip()]
    urls = [url.strip() for url in str(given.pop("url", "")).split(",") if url.strip()]
    # Somebody waits: a judge that is down ends the run instead of making it wait minutes for a server to come back.
    given = {"breaker": "stop", "breaker_failures": Limits().down_after, "timeout_s": JUDGE_TIMEOUT_S, **given}
    kind = given.get("kind", "rule")
    check_kind("judge.kind", kind)
    if kind == "rule":
        if names or urls:
            raise ConfigError("--judge-url or --judge-model was given with --judge rule; type --judge openai")
        return [JudgeSpec.from_mapping(given)]
    if kind != "openai" and len(names) < 2:
        given |= {"model": names[0]} if names else {}
        return [JudgeSpec.from_mapping({**given, "url": urls or None})]
    if not names or not urls:
        lacking = "model" if urls else "url"
        raise ConfigError(f"--judge {kind} got no --judge-{lacking}; type --judge-url URL --judge-model NAME")
    if len(urls) not in (1, len(names)):
        raise ConfigError(f"--judge-url names {len(urls)} servers for {len(names)} models; give one, or one for each")
    places = urls * len(names) if len(urls) == 1 else urls
    return [
        JudgeSpec.from_mapping({**given, "model": name, "url": url}) for name, url in zip(names, places, strict=True)
    ]


def check_judging(settings: Mapping[str, Any], protocol: ProtocolSpec) -> None:
    """Refuse a judge's settings that would do nothing.

    Args:
        settings: Those of judge_specs.
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
    elif settings["kind"] != "openai":
        return  # the judge of another package reads its settings itself
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
    kind = settings.get("kind", "rule")
    if kind == "openai" or (kind != "rule" and all(build_judge(spec).can_chat for spec in judge_specs(settings))):
        return list(tasks)
    # The rule judge grades reports by their words; the judge of another package that only gives verdicts, not at all.
    beyond = {"rubric": "rubric"} if kind == "rule" else {"rubric": "rubric", "report05": "grade of 0 to 5"}
    left = [task for task in tasks if task.metric not in beyond]
    lost = [task for task in tasks if task.metric in beyond]
    out, what = ", ".join(task.name for task in lost), " or ".join(dict.fromkeys(beyond[task.metric] for task in lost))
    if not left:
        raise ConfigError(
            f"{out} is graded by {what}, which the {kind} judge cannot read; "
            "type --judge openai --judge-url URL --judge-model NAME"
        )
    if out:
        say(f"{out}: left out, the {kind} judge cannot read a {what} (--judge openai can)")
    return left


def facts_of_judging(judges: Sequence[JudgeSpec], protocol: ProtocolSpec) -> dict[str, Any]:
    """What the manifest says of the judging; no key is in it."""
    return {
        "judge": {
            "kind": judges[0].kind,
            "model": [judge.model for judge in judges if judge.model],
            **used_of(judges[0], protocol),
        },
        "judge_url": [url for judge in judges for url in endpoints_of(judge)],
        "protocol": {"name": protocol.name, "rounds": protocol.rounds, "extract": protocol.extract},
    }


def used_of(judge: JudgeSpec, protocol: ProtocolSpec) -> dict[str, Any]:
    """The settings that change what a served judge says under a protocol; a panel shares them."""
    if judge.kind == "rule":
        return {}
    if judge.kind != "openai":
        return {"options": dict(judge.options), "guard": judge.guard}
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
