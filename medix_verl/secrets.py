# SPDX-License-Identifier: Apache-2.0
"""Removes secrets from output: values that are secret by key, by pattern, or because an environment variable has them.

Used for records, manifests, reports, cards and printed output. A key is secret if its last word is one of a list
(`WANDB_API_KEY`, `hf_token`, `password`, `secretAccessKey`), unless it names a variable (`api_key_env`); everything
below a secret key is secret. A secret found once is removed everywhere, in command lines too. `${oc.env:NAME}` is kept
as written and never resolved. When in doubt, a word is withheld.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["SECRET", "find_secrets", "is_secret_key", "reads_environment", "scrub", "scrub_text", "without_secrets"]

SECRET = "<secret>"
NOTHING = ("$", "null", "None", "", SECRET)
"""Texts that are not values; a `$` alone begins a `${...}`."""
MIN_CHARS = 6
"""Minimum length; a shorter value would be removed from inside unrelated words."""

_KEY = re.compile(
    r"(?:^|[_.\-])(?:api[_\-]?key|access[_\-]?key|secret(?:[_\-]?key)?|token|passw(?:or)?d|passphrase|pwd|credentials?"
    r"|private[_\-]?key|auth(?:orization)?|bearer|cookie)s?$|(?-i:[A-Z0-9]_KEY)$",
    re.IGNORECASE,
)
_NOT_A_KEY = re.compile(
    r"(?:pad|eos|bos|unk|mask|sep|cls|image|video|stop|special|think)_tokens?$|(?:^|_)tokens$", re.IGNORECASE
)
_LOOKS = re.compile(
    # A JSON Web Token, with the characters directly before it: matched only from the beginning of a word.
    r"(?<![A-Za-z0-9_-])(?:(?!eyJ)[A-Za-z0-9_-])*eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
    r"|sk-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|xox[abp]-[A-Za-z0-9-]{10,}"
    r"|glpat-[A-Za-z0-9_-]{16,}|(?<=[Bb]earer )[^\s'\"]{6,}|(?<=[Bb]asic )[A-Za-z0-9+/]{12,}={0,2}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
_IN_URL = re.compile(r"(?<=://)[^/@\s'\"]+(?=@)")
_ASSIGNED = re.compile(
    # A key is matched from its beginning only, for linear time: from within, the result would be the same.
    r"(?<![\w.\-])(?P<key>[\w.\-]+)['\"]?\s*[=:]\s*(?P<value>'[^']*'|\"[^\"]*\"|[^\s,{}\[\]&?'\"]+)"
)
_REFERENCE = re.compile(r"^\$\{[^{}]*(?:\$\{[^{}]*\}[^{}]*)*\}$")
"""A single interpolation, with optional nested ones."""
_LINE = re.compile(r"^(?P<indent>[ \t]*)(?:- )?['\"]?(?P<key>[\w.\-]+)['\"]?[ \t]*[:=][ \t]*(?P<value>.*)$")
_PLAIN = re.compile(r"(?:null|none|true|false|~|[\d.]+)?[,\s]*", re.IGNORECASE)
"""Values that are not secrets under any key."""
_NAMES_ONLY = frozenset(
    {"medix.beside", "oc.select", "oc.decode", "oc.deprecated", "oc.create", "oc.dict.keys", "oc.dict.values"}
)
"""Resolvers that read only the configuration or a file name."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def is_secret_key(key: str) -> bool:
    """Whether a key's value must not be written."""
    last = _CAMEL.sub("_", key.rsplit(".", 1)[-1].lstrip("+~"))
    return _KEY.search(last) is not None and _NOT_A_KEY.search(last) is None


def is_secret_variable(name: str, value: str) -> bool:
    """Whether an environment variable contains a secret; not PWD, and not the path of a file with a secret in it."""
    if name in ("PWD", "OLDPWD") or not is_secret_key(name) or len(value) < MIN_CHARS:
        return False
    try:
        return not Path(value).exists()
    except (OSError, ValueError):  # too long for a path, or with a null character
        return True


def find_secrets(values: Any, environment: Mapping[str, str], words: Iterable[str] = ()) -> tuple[set[str], list[str]]:
    """All secrets in a configuration, an environment and a command line.

    Returns:
        The secrets, and the configuration keys that have one.
    """
    secrets = {value for key, value in environment.items() if is_secret_variable(key, value)}
    keys = []
    for key, value in _leaves(values):
        if any(map(is_secret_key, key.split("."))) and isinstance(value, str) and value and not _REFERENCE.match(value):
            keys.append(key)
            secrets.add(value)
        if isinstance(value, str):
            secrets.update(_LOOKS.findall(value))
    for word in words:
        for match in _ASSIGNED.finditer(word):
            value = match["value"].strip("'\"")
            if is_secret_key(match["key"]) and value not in NOTHING:
                secrets.add(value)
    return secrets, keys


def scrub(values: Any, secrets: Iterable[str]) -> Any:
    """The same mapping, list or text with the secrets replaced, longest first."""
    ordered = sorted((secret for secret in secrets if secret and secret != SECRET), key=len, reverse=True)
    return _scrub(values, ordered, "")


def without_secrets(values: Any, environment: Mapping[str, str] | None = None) -> Any:
    """A mapping, list or text without its own secrets and those of the environment.

    Args:
        values: JSON-like values.
        environment: The environment with secrets; None means this process's.
    """
    return scrub(values, find_secrets(values, os.environ if environment is None else environment)[0])


def scrub_text(text: str, environment: Mapping[str, str] | None = None) -> str:
    """A text, such as a settings file or a message, without secrets; read line by line, as YAML.

    Args:
        text: The text.
        environment: The environment with secrets; None means this process's.
    """
    lines, hidden_below = [], -1
    for whole in _LOOKS.sub(SECRET, text).splitlines(keepends=True):
        line = whole.splitlines()[0]
        end = whole[len(line) :]
        indent = len(line) - len(line.lstrip())
        if hidden_below >= 0 and (indent > hidden_below or (line.lstrip().startswith("- ") and indent == hidden_below)):
            lines.append(f"{line[:indent]}{SECRET}{end}" if line.strip() else whole)
            continue
        hidden_below = -1
        match = _LINE.match(line)
        if match is not None and is_secret_key(match["key"]):
            value = match["value"].strip()
            hidden_below = len(match["indent"]) if value.strip("|>-+ ") == "" else -1
            if (
                value
                and not _PLAIN.fullmatch(value)
                and not _REFERENCE.match(value.strip("'\","))
                and value[0] not in "|>"
            ):
                line = f"{line[: match.start('value')]}{SECRET}"
        lines.append(line + end)
    secrets, _ = find_secrets({}, os.environ if environment is None else environment)
    return str(scrub("".join(lines), secrets))


def reads_environment(text: str) -> bool:
    """Whether an unresolved text takes, or may take, a value from outside the configuration.

    The text is parsed with OmegaConf's parser, so that spaces and escapes have the same meaning.
    """
    from omegaconf.errors import OmegaConfBaseException
    from omegaconf.grammar_parser import OmegaConfGrammarParser, parse

    if "${" not in text:
        return False
    try:
        left: list[Any] = [parse(text)]
    except OmegaConfBaseException:
        return True
    while left:
        node = left.pop()
        if isinstance(node, OmegaConfGrammarParser.InterpolationResolverContext):
            name = node.resolverName().getText().strip()
            if name not in _NAMES_ONLY:
                return True
        left += list(node.getChildren()) if node.getChildCount() else []
    return False


def _leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _leaves(value, prefix)
    else:
        yield prefix, values


def _scrub(values: Any, secrets: list[str], key: str, below: bool = False) -> Any:
    below = below or (bool(key) and is_secret_key(key))
    if isinstance(values, Mapping):
        return {name: _scrub(value, secrets, str(name), below) for name, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_scrub(value, secrets, key, below) for value in values]
    if not isinstance(values, str):
        return values
    if below and values and not _REFERENCE.match(values):
        return SECRET
    text = _IN_URL.sub(SECRET, _LOOKS.sub(SECRET, values))
    text = _ASSIGNED.sub(_withhold, text)
    for secret in secrets:
        if len(secret) >= MIN_CHARS:
            text = text.replace(secret, SECRET)
    return text


def _withhold(match: re.Match[str]) -> str:
    value = match["value"].strip("'\"")
    if not is_secret_key(match["key"]) or value in NOTHING:
        return match[0]
    return match[0][: match.start("value") - match.start()] + SECRET
