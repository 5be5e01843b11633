# SPDX-License-Identifier: Apache-2.0
"""Keeps secrets out of what is written: a value is secret by its key, by its look, or because the environment has it.

A key is secret when its last word is one (`WANDB_API_KEY`, `hf_token`, `password`), but not when it names a variable
(`api_key_env`). A secret found anywhere is removed everywhere, in command lines too. Of `${oc.env:NAME}` the name stays
and the value never comes in. Better one word too many withheld than one too few.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["SECRET", "find_secrets", "hide_variables", "is_secret_key", "scrub"]

SECRET = "<secret>"
MIN_CHARS = 6
"""A shorter value would be removed from within words that have nothing to do with it."""

_KEY = re.compile(
    r"(?:^|[_.\-])(?:api_?key|access_?key|secret(?:_?key)?|token|passw(?:or)?d|pwd|credentials?|private_?key|auth"
    r"(?:orization)?|bearer)s?$|(?-i:[A-Z0-9]_KEY)$",
    re.IGNORECASE,
)
_NOT_A_KEY = re.compile(
    r"(?:pad|eos|bos|unk|mask|sep|cls|image|video|stop|special|think)_tokens?$|(?:^|_)tokens$", re.IGNORECASE
)
_LOOKS = re.compile(
    # A token of three parts, with what stands directly before it: only the beginning of a word is tried.
    r"(?<![A-Za-z0-9_-])(?:(?!eyJ)[A-Za-z0-9_-])*eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
    r"|sk-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|xox[abp]-[A-Za-z0-9-]{10,}"
    r"|glpat-[A-Za-z0-9_-]{16,}|(?<=Bearer )[^\s'\"]{6,}"
)
_IN_URL = re.compile(r"(?<=://)[^/@\s'\"]+(?=@)")
_ASSIGNED = re.compile(
    # A key is tried from its beginning only: from within, it would fail or match as it does from there.
    r"(?<![\w.\-])(?P<key>[\w.\-]+)['\"]?\s*[=:]\s*(?P<value>'[^']*'|\"[^\"]*\"|[^\s,{}\[\]&?'\"]+)"
)
_INTERPOLATION = re.compile(r"^\$\{.*\}$")


def is_secret_key(key: str) -> bool:
    """Whether a key's value must not be written."""
    last = key.rsplit(".", 1)[-1].lstrip("+~")
    return _KEY.search(last) is not None and _NOT_A_KEY.search(last) is None


def is_secret_variable(name: str, value: str) -> bool:
    """Whether an environment variable holds a secret; PWD does not, nor one that names a file with a secret in it."""
    if name in ("PWD", "OLDPWD") or not is_secret_key(name) or len(value) < MIN_CHARS:
        return False
    try:
        return not Path(value).exists()
    except (OSError, ValueError):  # too long for a path, or with a null character
        return True


def find_secrets(values: Any, environment: Mapping[str, str], words: Iterable[str] = ()) -> tuple[set[str], list[str]]:
    """Every secret in a configuration, an environment and a command line.

    Returns:
        The secrets, and the keys of the configuration that have one.
    """
    secrets = {value for key, value in environment.items() if is_secret_variable(key, value)}
    keys = []
    for key, value in _leaves(values):
        if is_secret_key(key) and isinstance(value, str) and value and not _INTERPOLATION.match(value):
            keys.append(key)
            secrets.add(value)
        if isinstance(value, str):
            secrets.update(_LOOKS.findall(value))
    for word in words:
        for match in _ASSIGNED.finditer(word):
            value = match["value"].strip("'\"")
            if is_secret_key(match["key"]) and not value.startswith("$") and value not in ("null", "None", ""):
                secrets.add(value)
    return secrets, keys


def scrub(values: Any, secrets: Iterable[str]) -> Any:
    """The same mapping, list or text without secrets, wherever in a text they stand; longest first."""
    ordered = sorted((secret for secret in secrets if secret and secret != SECRET), key=len, reverse=True)
    return _scrub(values, ordered, "")


def hide_variables(values: Any) -> Any:
    """A configuration that is not resolved yet, with each `${oc.env:NAME}` escaped, so that only its name stays."""
    if isinstance(values, dict):
        return {key: hide_variables(value) for key, value in values.items()}
    if isinstance(values, list):
        return [hide_variables(value) for value in values]
    if isinstance(values, str) and "${oc.env:" in values:
        return values.replace("${", r"\${")
    return values


def _leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _leaves(value, prefix)
    else:
        yield prefix, values


def _scrub(values: Any, secrets: list[str], key: str) -> Any:
    if isinstance(values, Mapping):
        return {name: _scrub(value, secrets, str(name)) for name, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_scrub(value, secrets, key) for value in values]
    if not isinstance(values, str):
        return values
    if key and is_secret_key(key) and values and not _INTERPOLATION.match(values):
        return SECRET
    text = _IN_URL.sub(SECRET, _LOOKS.sub(SECRET, values))
    text = _ASSIGNED.sub(_withhold, text)
    for secret in secrets:
        if len(secret) >= MIN_CHARS:
            text = text.replace(secret, SECRET)
    return text


def _withhold(match: re.Match[str]) -> str:
    value = match["value"].strip("'\"")
    if not is_secret_key(match["key"]) or value.startswith("$") or value in ("null", "None", ""):
        return match[0]
    return match[0][: match.start("value") - match.start()] + SECRET
