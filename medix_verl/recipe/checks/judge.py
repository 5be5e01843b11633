# SPDX-License-Identifier: Apache-2.0
"""Checks the recipe's judge.

The server must list the model and reply to one closed question with a verdict. Keys are never printed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from medix_verl.errors import ConfigError, MedixError
from medix_verl.judge.judge import Question, build_judge
from medix_verl.judge.pictures import probe_picture
from medix_verl.judge.pool import JudgePool
from medix_verl.judge.spec import KINDS, JudgeSpec, installed_kinds
from medix_verl.openai_client import RequestError, check_url, list_models, read_key
from medix_verl.recipe.check import Check
from medix_verl.types import Failure, Reference, Verdict

__all__ = ["ask_once", "check_judge"]


PICTURE_TIME_LIMIT_S = 30.0
REPLY_TIME_LIMIT_S = 60.0
QUESTION = Question("kidney stones", Reference("nephrolithiasis", question="What is the diagnosis?"))
TO_READ = "reward.medix.judge.structured=choice (vLLM) or json_schema (OpenAI), or reward.medix.judge.max_tokens=2048"
"""What to type if a judge's reply is not a verdict."""


def check_judge(
    judge: Mapping[str, Any],
    recipe: str,
    models_of: Callable[[str, str | None], list[str]] | None = None,
    reply_of: Callable[[JudgeSpec], Verdict] | None = None,
) -> Check:
    """Check the recipe's judge.

    Args:
        judge: The recipe's `judge` section.
        recipe: Recipe name.
        models_of: Lists the models of one server; None is list_models.
        reply_of: Asks the judge of one server a question; None asks none. With it, a server that judges but does not
            list its models is accepted.
    """
    if judge.get("panel"):
        return _check_panel(judge, recipe, models_of, reply_of)
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
    ask = models_of or partial(list_models, use_proxies=bool(judge.get("use_proxies")))
    faults = [fault for url in urls if (fault := _fault_of(url, judge, ask))]
    if reply_of is not None and all(fault.is_of_list for fault in faults):
        check = _check_reply(judge, recipe, reply_of, faults)
    elif faults:
        check = Check("judge", "FAIL", "; ".join(fault.found for fault in faults), faults[0].todo)
    else:
        check = Check("judge", "ok", f"{model} at {', '.join(urls)}")
    if check.status == "FAIL" or not judge.get("images"):
        return check
    if refusal := _fault_of_pictures(judge):
        return Check("judge", "FAIL", *refusal)
    return replace(check, found=f"{check.found}, sees pictures")


def _check_panel(
    judge: Mapping[str, Any],
    recipe: str,
    models_of: Callable[[str, str | None], list[str]] | None,
    reply_of: Callable[[JudgeSpec], Verdict] | None,
) -> Check:
    """Check every judge of a panel; the first failure determines what to type."""
    try:
        members = JudgeSpec.from_mapping(judge).members
    except MedixError as error:
        return Check("judge", "FAIL", f"{error} ({recipe})", "fix what is named here, or reward.medix.judge.panel=[]")
    entries = [{**judge, "panel": None, **entry} for entry in judge["panel"]]
    found = [
        check_judge({**entry, "images": member.images}, recipe, models_of, reply_of)
        for entry, member in zip(entries, members, strict=True)
    ]
    summary = "; ".join(check.found for check in found)
    failed = next((check for check in found if check.status == "FAIL"), None)
    if failed is not None:
        return Check("judge", "FAIL", f"panel: {summary}", f"{failed.todo} (in its entry of reward.medix.judge.panel)")
    return Check("judge", "ok", f"panel of {len(found)}: {summary}")


def _fault_of_pictures(judge: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why a server refuses a question with an image, and what to type; None if all accept. Asks each server once."""
    quick = {"timeout_s": PICTURE_TIME_LIMIT_S, "max_retries": 0, "cache": "none", "breaker": "off"}
    spec = JudgeSpec.from_mapping({**judge, **quick})
    for url in spec.urls:
        verdict = asyncio.run(_show_once(replace(spec, url=url)))
        if verdict.failure is Failure.REFUSED:
            todo = "reward.medix.judge.model=A_MULTIMODAL_MODEL, or reward.medix.judge.images=false"
            return f"{url} refuses a question with a picture: {verdict.reason}", todo
        if verdict.failure not in (None, Failure.UNREADABLE, Failure.TRUNCATED):
            return f"{url} gives no answer to a question with a picture: {verdict.reason}", "fix the server named here"
    return None


async def _show_once(spec: JudgeSpec) -> Verdict:
    """The verdict on a question with a small synthetic image."""
    judge = build_judge(spec)
    shown = Reference("a grey gradient", question="What is shown?", images=(probe_picture(),))
    try:
        return await judge.ask("a picture that goes from black to white", shown)
    finally:
        await judge.close()


@dataclass(frozen=True)
class _Fault:
    """An error of one server."""

    found: str
    todo: str
    is_of_list: bool = False
    """Whether only its list of models is missing; it may still judge."""


def _check_reply(
    judge: Mapping[str, Any], recipe: str, reply_of: Callable[[JudgeSpec], Verdict], faults: Sequence[_Fault]
) -> Check:
    """Each server must reply YES or NO to a question asked as in a run."""
    try:
        spec = JudgeSpec.from_mapping(judge)
        # Long enough for a reasoning model; no retries for a server that is down.
        limits: dict[str, Any] = {
            "timeout_s": min(spec.timeout_s, REPLY_TIME_LIMIT_S),
            "max_retries": 0,
            "breaker": "off",
        }
        verdicts = {url: reply_of(replace(spec, url=url, cache="none", **limits)) for url in spec.urls}
    except MedixError as error:
        return Check("judge", "FAIL", f"{error} ({recipe})", "fix what is named here")
    for url, verdict in verdicts.items():
        if verdict.correct is None:
            todo = TO_READ if verdict.failure in (Failure.UNREADABLE, Failure.TRUNCATED) else "fix what is named here"
            todo = faults[0].todo if faults else todo
            return Check("judge", "FAIL", f"{spec.model} at {url} gives no verdict: {verdict.reason}", todo)
    note = "; it lists no models, and judges" if faults else ""
    return Check("judge", "ok", f"{spec.model} at {', '.join(spec.urls)}{note}")


def ask_once(spec: JudgeSpec) -> Verdict:
    """A judge's verdict on QUESTION, which is not in any data set and which equality does not decide."""

    async def ask() -> Verdict:
        judge = JudgePool(spec)
        try:
            return await judge.ask(QUESTION)
        finally:
            await judge.close()

    return asyncio.run(ask())


def _check_installed(judge: Mapping[str, Any], recipe: str) -> Check:
    """A judge of another package must be installed and accept the recipe's settings."""
    try:
        spec = JudgeSpec.from_mapping(judge)
        endpoints = build_judge(spec).endpoints
    except MedixError as error:
        near = get_close_matches(str(judge.get("kind")), [*KINDS, *installed_kinds()], n=1)
        todo = f"reward.medix.judge.kind={near[0]}" if near else "fix what is named here"
        return Check("judge", "FAIL", f"{error} ({recipe})", todo)
    asks = f"asks {', '.join(endpoints)}" if endpoints else "asks no server outside its process"
    return Check("judge", "ok", f"{spec.kind}, which is {installed_kinds()[spec.kind].value}; {asks} ({recipe})")


def _fault_of(url: str, judge: Mapping[str, Any], models_of: Callable[[str, str | None], list[str]]) -> _Fault | None:
    """The error of one server, and what to type; None if it lists the judge's model."""
    key_name, model = judge.get("api_key_env"), judge.get("model")
    try:
        key = read_key(key_name)
    except ConfigError as error:
        return _Fault(str(error), f"export {key_name}=...")
    try:
        served = models_of(check_url(url, "judge.url", azure=True), key)
    except ConfigError as error:
        return _Fault(str(error), "reward.medix.judge.url=http://HOST:PORT/v1")
    except RequestError as error:
        found = f"{url} answers with {error}"
        if error.status in (401, 403):
            return _Fault(found, "reward.medix.judge.api_key_env=NAME_OF_THE_VARIABLE", error.status == 403)
        if error.status not in (None, 200):
            return _Fault(found, "check that the url ends in /v1", error.status in (404, 405, 501))
        port = urlsplit(url).port or 8000
        todo = f"vllm serve {model} --port {port}, or give its address: reward.medix.judge.url=http://HOST:{port}/v1"
        return _Fault(f"{url} gives no list of models: {error}", todo, error.failure is Failure.MALFORMED)
    if model and model not in served:
        todo = f"reward.medix.judge.model={served[0] if served else 'NAME'}"
        # A paid service may list hundreds of models.
        listed = ", ".join(served[:10]) + (f" and {len(served) - 10} more" if len(served) > 10 else "")
        return _Fault(f"{url} serves {listed or 'nothing'}, not {model}", todo)
    return None
