# SPDX-License-Identifier: Apache-2.0
"""Checks server addresses and API keys before anything is sent."""

from __future__ import annotations

import os
import re
import sys
from typing import Any
from urllib.parse import SplitResult, urlsplit

from medix_verl.errors import ConfigError

__all__ = ["PATHS", "QUERY", "VERSION", "check_url", "check_urls", "is_key", "read_key"]

PATHS = ("/chat/completions", "/completions", "/embeddings", "/models", "/responses")
"""Paths that are appended to a base address, and that users often copy with it."""
QUERY = re.compile(r"api-version=[0-9A-Za-z.-]{1,40}", re.ASCII)
"""The only query that an address may have: Azure's, for deployments that are not under /openai/v1."""
VERSION = re.compile(r"/v\d[0-9a-z]{0,8}(?:/|$)", re.ASCII)
"""A version in the path of an address."""


def read_key(variable: str | None, setting: str = "judge.api_key_env") -> str | None:
    """The API key in an environment variable; None if no variable is named.

    Raises:
        ConfigError: The variable is not set, or its value cannot be a key; the message never contains the value.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"{setting} names {variable}, which is not set; type: export {variable}=...{_where_to_set()}")
    if not is_key(key):
        raise ConfigError(f"the environment variable {variable} holds characters that no API key has; set it again")
    return key


def is_key(text: str) -> bool:
    """Whether a text can be a key, that is, be sent in a header."""
    return text.isascii() and text.isprintable()


def _where_to_set() -> str:
    """Where to set the variable: a worker has the environment of its node, not of the shell that started the run."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return ""
    return (
        " before `ray start` on every node, or give it to the job: ray job submit --runtime-env FILE, as "
        "examples/cluster/ray.sh does (not as an override: verl prints its configuration)"
    )


def check_url(url: str, setting: str, azure: bool = False) -> str:
    """The base address of a server, without a trailing slash.

    Args:
        url: The address, such as http://host:port/v1.
        setting: The flag or the key that sets it, for the message.
        azure: Whether it may end in `?api-version=DATE`, as Azure's deployments need it.

    Raises:
        ConfigError: It is not an http or https address, has no host, contains credentials, another query or a fragment
            (none of the three is shown), or is the address of one call, such as .../chat/completions.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = SplitResult("", "", "", "", ""), None
    if "@" in parts.netloc:
        raise ConfigError(
            f"{setting} holds credentials (USER:PASSWORD@); write it as http://host:port/v1, and name the variable "
            "that holds the server's key with its key setting"
        )
    query_is_fine = azure and QUERY.fullmatch(parts.query) is not None
    if url.startswith(("http://", "https://")) and ((parts.query and not query_is_fine) or parts.fragment):
        also = "; the only query that is taken is Azure's ?api-version=DATE" if azure else ""
        raise ConfigError(f"{setting} has a part behind '?' or '#'; write it as http://host:port/v1{also}")
    plain = url.isascii() and url.isprintable() and not re.search(r"[\s\\]", url)
    if parts.scheme not in ("http", "https") or not host or not plain or _yarl_host(url) != host.rstrip("."):
        shown = "an address with an '@' in it" if "@" in url else repr(re.split(r"[?#]", url)[0])
        raise ConfigError(f"{setting} is {shown}; write it as http://host:port/v1")
    base = re.split(r"[?#]", url)[0].rstrip("/")
    for path in PATHS:
        # Azure's model inference API is at .../models.
        if base.endswith(path) and (path != "/models" or VERSION.search(base.removesuffix(path))):
            rest = base.removesuffix(path).rstrip("/") + (f"?{parts.query}" if parts.query else "")
            raise ConfigError(f"{setting} ends in {path}, which is put behind it; type {setting}={rest}")
    return f"{base}?{parts.query}" if parts.query else base


def check_urls(value: Any, setting: str) -> Any:
    """Check the addresses of a spec: one, or a tuple of several; returns them unchanged.

    Raises:
        ConfigError: One is not a text or is refused by `check_url`, the tuple is empty, or one is given twice.
    """
    addresses = value if isinstance(value, tuple) else (value,)
    if not addresses:
        raise ConfigError(f"{setting} is an empty list; name a server as http://host:port/v1, or set it to null")
    for address in addresses:
        if not isinstance(address, str):
            raise ConfigError(f"{setting} is {address!r}; write it as http://host:port/v1")
        check_url(address, setting, azure=True)
    if len(set(addresses)) < len(addresses):
        raise ConfigError(f"{setting} names {max(addresses, key=addresses.count)!r} twice; name each server once")
    return value


def _yarl_host(url: str) -> str:
    """The host that aiohttp parses from an address; if it differs from Python's, the checks would not cover it."""
    from yarl import URL

    try:
        return (URL(url).host or "").rstrip(".")
    except ValueError:
        return ""
