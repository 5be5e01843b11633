# SPDX-License-Identifier: Apache-2.0
"""Checks whether recipe texts may be shared: no secrets, no paths of one machine, plain YAML, stated versions.

The same checks run before publishing and before installing. Nothing is composed here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from medix_verl.errors import ConfigError
from medix_verl.recipe.compose import leaves
from medix_verl.recipe.requires import REQUIRED, read_requires
from medix_verl.recipe.share.bundle import CODE, Bundle
from medix_verl.secrets import find_secrets, scrub_text

__all__ = ["faults_of", "values_of"]

LOCAL = re.compile(r"^(?:/|~|\.{1,2}(?:/|$)|file:|[A-Za-z]:[\\/])|(?:^|/)\.\.(?:/|$)")
"""A value that is a path of one machine."""
DEEPEST = 40


def faults_of(bundle: Bundle, environment: Mapping[str, str] | None = None) -> list[str]:
    """Reasons against sharing a bundle, one line each, without secrets.

    Args:
        bundle: The collected files.
        environment: Variables whose secrets must not be in it; None is this process's environment.
    """
    found = []
    for name, text in bundle.files.items():
        if _has_secrets(name, text, os.environ if environment is None else environment):
            found.append(f"{name} holds what looks like a secret; name an environment variable in its place")
        if name.endswith(".yaml"):
            found += [f"{name}: {why}" for why in _of_recipe(text)]
    for recipe, head in bundle.heads.items():
        found += [f"{recipe}: {why}" for why in _of_head(head.requires)]
        if not head.has_place:
            found.append(f"{recipe}: it must begin with the line '# @package _global_'")
        found += [f"{recipe}: it stands on '{parent}'; write - /recipe/{parent}" for parent in head.relative]
        inside = (parent for parent in head.parents if parent.startswith(f"{bundle.namespace}/"))
        lost = [parent for parent in inside if parent not in bundle.heads]
        found += [f"{recipe}: it stands on {parent}, which is not here" for parent in lost]
    return found


def values_of(text: str) -> dict[str, Any]:
    """The keys in a recipe's text, without `defaults`: dotted key -> value.

    Raises:
        ConfigError: It is not plain YAML: aliases (unbounded expansion) and tags (object construction) are refused.
    """
    try:
        why = _not_plain(yaml.scan(text, Loader=yaml.SafeLoader))
        read = None if why else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"it is not YAML ({type(error).__name__}); fix it") from error
    if why:
        raise ConfigError(why)
    if not isinstance(read, dict):
        raise ConfigError("it is not a mapping of keys; write it as a recipe")
    kept = {key: value for key, value in read.items() if key != "defaults"}
    return leaves(kept) if kept else {}


def _not_plain(tokens: Iterator[Any]) -> str:
    """The first YAML feature that is not allowed in a recipe; empty if none."""
    depth = 0
    for token in tokens:
        if isinstance(token, (yaml.AliasToken, yaml.AnchorToken, yaml.TagToken)):
            return f"line {token.start_mark.line + 1} has an alias or a tag of YAML; write it out"
        depth += isinstance(token, OPENING) - isinstance(token, CLOSING)
        if depth > DEEPEST:
            return f"it is nested deeper than {DEEPEST} levels"
    return ""


OPENING = (
    *(yaml.BlockMappingStartToken, yaml.BlockSequenceStartToken),
    *(yaml.FlowMappingStartToken, yaml.FlowSequenceStartToken),
)
CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


def _of_recipe(text: str) -> Iterator[str]:
    try:
        values = values_of(text)
    except ConfigError as error:
        yield str(error)
        return
    for key, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str) and LOCAL.search(one):
                yield (
                    f"{key} names a place of one machine; leave it to the command line, or write "
                    "${medix.beside:NAMESPACE/FILE} for a file beside the recipe"
                )


def _of_head(line: str) -> Iterator[str]:
    try:
        requires = read_requires(line)
    except ConfigError as error:
        yield str(error)
        return
    lacking = [name for name in REQUIRED if name not in requires]
    if lacking:
        lacks = " and ".join(lacking)
        yield f"its head states no range for {lacks}; write # requires: verl>=0.9.0,<0.10; medix-verl>=0.1"


def _has_secrets(name: str, text: str, environment: Mapping[str, str]) -> bool:
    if name.endswith(CODE):
        # Only by secret formats and environment values, not by key names: `token = tokenizer.decode(...)` is not one.
        secrets, _ = find_secrets({"text": text}, environment)
        return any(secret in text for secret in secrets)
    return scrub_text(text, environment) != text
