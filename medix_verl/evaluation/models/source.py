# SPDX-License-Identifier: Apache-2.0
"""Resolves MODEL on the command line: a hub id, a local checkpoint, or the URL of an OpenAI-compatible server.

For the first two, a vLLM server is started and stopped (see `server`). A running server is asked for its list of
models; if it lists more or fewer than one, the user has to name the model.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

from medix_verl.errors import ConfigError, SetupError
from medix_verl.evaluation.inspect.run import Served
from medix_verl.evaluation.models.generation import BUDGET, GenerationSpec
from medix_verl.evaluation.models.server import LOAD_LIMIT_S, ServerSpec, serving
from medix_verl.evaluation.settings import setting
from medix_verl.openai_client import OpenAIClient, RequestError, check_url, list_models, read_key

__all__ = ["Model", "check_served", "connected", "read_model", "served_names"]

ASK_S = 10.0
KEY_SETTING = "model.api_key_env"
REASONING = '{"reasoning_start_str": "<think>", "reasoning_end_str": "</think>"}'
"""vLLM's configuration of the thinking tags, for the thinking budget; other tags are set with --serve-args."""
KNOWN_FILES = ("config.json", "params.json")


@dataclass(frozen=True, slots=True)
class Model:
    """The model to evaluate."""

    name: str
    """The name in the results: the whole hub id, the folder, or the name at the server."""
    url: str | None = None
    """URL of a running server; None starts one."""
    api_key_env: str | None = None
    load_limit_s: float = LOAD_LIMIT_S
    extra: tuple[str, ...] = ()
    """Further arguments of `vllm serve`."""
    command: tuple[str, ...] | None = None
    """Another server's command line, containing `{port}`."""


def read_model(
    text: str,
    name: str | None = None,
    api_key_env: str | None = None,
    load_limit_s: float = LOAD_LIMIT_S,
    extra: Sequence[str] = (),
) -> Model:
    """Read MODEL.

    Raises:
        ConfigError: It is not one of the three, or the server's model has to be named.
        SetupError: The server does not answer.
    """
    if "://" in text:
        url = check_url(text, "MODEL")
        return Model(name or only_name(url, api_key_env), url, api_key_env)
    if name is not None:
        raise ConfigError(f"{setting('model.name')} is for a URL, and MODEL is {text!r}; leave it out")
    place = Path(text).expanduser()
    if place.is_dir():
        if not any((place / known).is_file() for known in KNOWN_FILES):
            raise ConfigError(f"MODEL {place} is a folder without {KNOWN_FILES[0]}; give a Hugging Face checkpoint")
        return Model(str(place.resolve()), None, None, load_limit_s, tuple(extra))
    if text.count("/") != 1 or text.startswith((".", "/", "~")) or text.endswith("/"):
        raise ConfigError(
            f"MODEL is {text!r}, and no such folder is there; give a folder, a hub id owner/name, or a URL"
        )
    return Model(text, None, None, load_limit_s, tuple(extra))


def only_name(url: str, api_key_env: str | None) -> str:
    """The name of the one model that a server serves.

    Raises:
        ConfigError: It serves no model, or several.
        SetupError: It does not answer.
    """
    names = served_names(url, read_key(api_key_env, setting(KEY_SETTING)))
    if len(names) != 1:
        listed = ", ".join(names[:8]) or "none"
        raise ConfigError(
            f"the server at {url} lists {len(names)} models ({listed}); choose one with {setting('model.name', 'NAME')}"
        )
    return names[0]


def served_names(url: str, api_key: str | None) -> list[str]:
    """The models that a server lists.

    Raises:
        SetupError: It does not answer, or not with a list of models.
    """
    try:
        return list_models(url, api_key, ASK_S, setting="MODEL")
    except RequestError as error:
        raise _no_list(url, api_key, error) from error


def _no_list(url: str, api_key: str | None, error: RequestError) -> SetupError:
    """The error of a server that does not list its models."""
    if error.status in (401, 403):
        key = (
            f"the key in {setting(KEY_SETTING)} is not accepted"
            if api_key
            else f"name its key's variable with {setting(KEY_SETTING)}"
        )
        return SetupError(f"the server at {url} answers HTTP {error.status} where it lists its models; {key}")
    return SetupError(
        f"no model server answers at {url} ({error}); give its base address with /v1, or {setting('model.name')}"
    )


def check_served(model: Model, generation: GenerationSpec | None = None) -> None:
    """Reject a name that a running server does not list; a server without a list is accepted.

    Raises:
        ConfigError: The server lists other names, or does not support a thinking budget.
        SetupError: It does not answer.
    """
    if model.url is None:
        return
    key = read_key(model.api_key_env, setting(KEY_SETTING))
    if generation is not None and generation.thinking_budget is not None and not asyncio.run(takes_budget(model, key)):
        raise ConfigError(
            f"the server at {model.url} does not say that it takes {BUDGET}, as vLLM does; leave "
            f"{setting('generation.thinking_budget')} out, and give what this server takes with "
            f"{setting('generation.extra_body')}"
        )
    try:
        names = list_models(model.url, key, ASK_S, setting="MODEL")
    except RequestError as error:
        # A server that answers with an error status is used anyway, unless it redirects.
        if error.status is None or 300 <= error.status < 400:
            raise _no_list(model.url, key, error) from error
        return
    # Some servers list NAME:TAG and accept NAME, others list a pattern.
    if names and not any(fnmatchcase(model.name, name) or name.startswith(f"{model.name}:") for name in names):
        shown = ", ".join(names[:8])
        near = get_close_matches(model.name, names, n=1)
        hint = (
            f"did you mean {setting('model.name', near[0])}?"
            if near
            else f"choose one with {setting('model.name', 'NAME')}"
        )
        raise ConfigError(f"the server at {model.url} does not list {model.name!r}; it lists {shown}; {hint}")


async def takes_budget(model: Model, key: str | None) -> bool:
    """Whether the server's OpenAPI schema contains the thinking budget; vLLM ignores unknown request keys."""
    base = str(model.url).removesuffix("/v1")
    async with OpenAIClient(base, key, timeout_s=ASK_S, max_reply_bytes=16 << 20, setting="MODEL") as client:
        try:
            return f'"{BUDGET}"'.encode() in await client.get("/openapi.json")
        except RequestError:
            return False


@contextlib.contextmanager
def connected(
    model: Model,
    log: Path,
    on_death: Callable[[str], None],
    say: Callable[[str], None],
    generation: GenerationSpec | None = None,
) -> Iterator[Served]:
    """Context manager that yields where the model is served; starts and stops a server if there is no URL.

    Raises:
        SetupError: The server could not be started.
    """
    if model.url is not None:
        yield Served(model.url, model.name, read_key(model.api_key_env, setting(KEY_SETTING)))
        return
    say(f"starting a server for {model.name}; its log is {log}")
    budgeted = generation is not None and generation.thinking_budget is not None
    configured = any(word.startswith("--reasoning-") for word in model.extra)
    extra = (*model.extra, "--reasoning-config", REASONING) if budgeted and not configured else model.extra
    spec = ServerSpec(model.name, model.load_limit_s, extra)
    with serving(spec, log, on_death, model.command) as url:
        say(f"the server is ready at {url}")
        yield Served(url, model.name)
