# SPDX-License-Identifier: Apache-2.0
"""Checks the judge settings of an evaluation, builds judge specs from them, and writes them to the manifest.

The published protocol has its own prompts, sends every candidate to the judge and takes the majority, so most settings
of the training judge have no effect there. A setting without effect is an error, because the user would interpret the
scores as if it had been applied. Grading by rubrics needs a judge model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from medix_verl.errors import ConfigError
from medix_verl.evaluation.grading.spec import ProtocolSpec
from medix_verl.evaluation.settings import setting
from medix_verl.evaluation.task_run import Limits
from medix_verl.evaluation.tasks.table import TaskSpec
from medix_verl.judge.judge import build_judge, endpoints_of
from medix_verl.judge.prompt import load_prompt
from medix_verl.judge.spec import JudgeSpec, check_kind

__all__ = ["LOWER_BOUND", "check_judging", "facts_of_judging", "is_lower_bound", "judge_specs", "judgeable"]

JUDGE_TIMEOUT_S = 120.0

OF_A_SERVER = (
    *("api_key_env", "structured", "prompt", "soft", "swap", "guard", "images"),
    *("max_tokens", "extra_body", "use_proxies"),
)
IDLE = {"published": ("prompt", "soft", "swap", "guard", "images"), "robust": ("soft", "swap")}
"""Protocol -> settings of a served judge that it ignores; `robust` has its own `swap`, in ProtocolSpec."""
WHY = {
    "published": "protocol published has its own prompts of text and neither guard nor swap; choose {robust}",
    "robust": "protocol robust takes a verdict's word, not its P(YES), and its own swap; leave it out",
}


def asked_server() -> str:
    """The settings that name a served judge, for messages."""
    return f"{setting('judge.url', 'URL')} {setting('judge.model', 'NAME')}"


def judge_specs(settings: Mapping[str, Any]) -> list[JudgeSpec]:
    """The judges of the settings: `model` may list several, separated by commas, or `panel` lists them; each votes.

    Args:
        settings: Keys of JudgeSpec; None means the default.

    Raises:
        ConfigError: The settings are inconsistent.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    names = [name.strip() for name in str(given.pop("model", "")).split(",") if name.strip()]
    urls = [url.strip() for url in str(given.pop("url", "")).split(",") if url.strip()]
    # An evaluation is interactive: if a judge is down, the run ends instead of waiting minutes for the server.
    given = {"breaker": "stop", "breaker_failures": Limits().down_after, "timeout_s": JUDGE_TIMEOUT_S, **given}
    kind = given.get("kind", "rule")
    check_kind("judge.kind", kind)
    if given.get("panel"):
        shared = {"model": names[0] if names else None, "url": urls or None}
        return list(JudgeSpec.from_mapping({**given, **{key: value for key, value in shared.items() if value}}).members)
    if kind == "rule":
        if names or urls:
            raise ConfigError(
                f"{setting('judge.url')} or {setting('judge.model')} was given with {setting('judge.kind', 'rule')}; "
                f"type {setting('judge.kind', 'openai')}"
            )
        return [JudgeSpec.from_mapping(given)]
    if kind != "openai" and len(names) < 2:
        given |= {"model": names[0]} if names else {}
        return [JudgeSpec.from_mapping({**given, "url": urls or None})]
    if not names or not urls:
        lacking = "model" if urls else "url"
        raise ConfigError(f"{setting('judge.kind', kind)} got no {setting(f'judge.{lacking}')}; type {asked_server()}")
    if len(urls) not in (1, len(names)):
        raise ConfigError(
            f"{setting('judge.url')} names {len(urls)} servers for {len(names)} models; give one, or one for each"
        )
    places = urls * len(names) if len(urls) == 1 else urls
    return [
        JudgeSpec.from_mapping({**given, "model": name, "url": url}) for name, url in zip(names, places, strict=True)
    ]


def check_judging(settings: Mapping[str, Any], protocol: ProtocolSpec) -> None:
    """Reject judge settings that would have no effect.

    Args:
        settings: As for judge_specs.
        protocol: How the judge is asked.

    Raises:
        ConfigError: A setting would have no effect.
    """
    given = [name for name, value in settings.items() if value is not None]
    idle: tuple[str, ...]
    if settings.get("panel"):
        idle, why = IDLE[protocol.name], WHY[protocol.name]
    elif settings.get("kind", "rule") == "rule":
        idle = OF_A_SERVER
        why = f"the rule judge asks no server; type {setting('judge.kind', 'openai')} {asked_server()}"
        if protocol.rounds is not None:
            raise ConfigError(
                f"{setting('protocol.rounds', protocol.rounds)} was given with {setting('judge.kind', 'rule')}, "
                "which always says the same; leave it out"
            )
    elif settings["kind"] != "openai":
        return  # a judge of another package checks its settings itself
    else:
        idle, why = IDLE[protocol.name], WHY[protocol.name]
    why = why.format(robust=setting("protocol.name", "robust"))
    for name in idle:
        if name in given:
            raise ConfigError(f"{setting(f'judge.{name}')} was given and would do nothing: {why}")


def judgeable(tasks: Sequence[TaskSpec], settings: Mapping[str, Any], say: Callable[[str], None]) -> list[TaskSpec]:
    """The tasks that the judge can grade; `say` reports the others.

    Raises:
        ConfigError: There is none.
    """
    kind = settings.get("kind", "rule")
    if settings.get("panel"):
        silent = [
            spec.kind for spec in judge_specs(settings) if spec.kind != "openai" and not build_judge(spec).can_chat
        ]
        kind = silent[0] if silent else "openai"
    if kind == "openai" or (kind != "rule" and all(build_judge(spec).can_chat for spec in judge_specs(settings))):
        return list(tasks)
    # The rule judge grades reports by word overlap; a judge of another package without chat cannot grade them.
    beyond = {"rubric": "rubric"} if kind == "rule" else {"rubric": "rubric", "report05": "grade of 0 to 5"}
    left = [task for task in tasks if task.metric not in beyond]
    lost = [task for task in tasks if task.metric in beyond]
    out, what = ", ".join(task.name for task in lost), " or ".join(dict.fromkeys(beyond[task.metric] for task in lost))
    if not left:
        raise ConfigError(
            f"{out} is graded by {what}, which the {kind} judge cannot read; "
            f"type {setting('judge.kind', 'openai')} {asked_server()}"
        )
    if out:
        say(f"{out}: left out, the {kind} judge cannot read a {what} ({setting('judge.kind', 'openai')} can)")
    return left


LOWER_BOUND = (
    "≥ marks a lower bound: the rule judge takes an answer in free text only where it equals the reference in "
    "spelling, unit or option, and every other right answer counts as wrong"
)
"""Explanation of the mark ≥, for a table or a page."""


def is_lower_bound(judge: str, kinds: Iterable[str]) -> bool:
    """Whether scores by a judge are lower bounds.

    Args:
        judge: `rule`, or another judge's name.
        kinds: Kinds of answers among the questions: open, closed, report or rubric.
    """
    return judge == "rule" and "open" in kinds


def facts_of_judging(judges: Sequence[JudgeSpec], protocol: ProtocolSpec) -> dict[str, Any]:
    """The manifest's entries for judge and protocol; API keys are not included.

    For a panel whose judges differ in more than model and address, `panel` has the settings of each.
    """
    used = [{"kind": judge.kind, **used_of(judge, protocol)} for judge in judges]
    each = [{"model": judge.model, **own} for judge, own in zip(judges, used, strict=True)]
    # The default is left out, so that evaluations made before this setting existed can be resumed.
    said = {} if protocol.thinking == "none" else {"thinking": protocol.thinking}
    return {
        "judge": {
            "kind": judges[0].kind,
            "model": [judge.model for judge in judges if judge.model],
            **used_of(judges[0], protocol),
            **({} if all(own == used[0] for own in used) else {"panel": each}),
        },
        "judge_url": [url for judge in judges for url in endpoints_of(judge)],
        "protocol": {"name": protocol.name, "rounds": protocol.rounds, "extract": protocol.extract, **said},
    }


def used_of(judge: JudgeSpec, protocol: ProtocolSpec) -> dict[str, Any]:
    """The settings that affect a served judge's replies under a protocol."""
    if judge.kind == "rule":
        return {}
    if judge.kind != "openai":
        return {"options": dict(judge.options), "guard": judge.guard}
    # Unset values are left out, so that older evaluations can be resumed.
    more: dict[str, Any] = {} if judge.max_tokens is None else {"max_tokens": judge.max_tokens}
    more |= {"extra_body": dict(judge.extra_body)} if judge.extra_body else {}
    if protocol.name == "published":
        return {"structured": judge.structured, **more}
    text = load_prompt(judge.prompt, judge.show_question)
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
    pictures = {"images": True, "max_images": judge.max_images, "image_pixels": judge.image_pixels}
    return {
        "structured": judge.structured,
        "prompt": judge.prompt,
        "prompt_sha256": digest,
        "swap": protocol.swap,
        "guard": judge.guard,
        **(pictures if judge.images else {}),
        **more,
    }
