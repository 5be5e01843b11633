# SPDX-License-Identifier: Apache-2.0
"""Lists the addresses to which a configuration would send rows, and the environment variables that it would read.

A recipe can leak a key without code, by naming the key's variable and its own server. So addresses of other machines
and variables are listed together with the code, and must be accepted by name too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from medix_verl.recipe.compose import leaves, stock_of
from medix_verl.recipe.share.sources import LOCAL_HOSTS
from medix_verl.secrets import reads_environment

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["reach_of"]

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,19}://[^\s'\"]*")
VARIABLE = re.compile(r"(?:^|\.)(?:api_key_env|\w+_env)$")


def reach_of(config: DictConfig) -> list[str]:
    """`KEY=VALUE` for each non-local address and each variable that is not in verl's own configuration.

    Args:
        config: A composed configuration.
    """
    from omegaconf import OmegaConf

    written: Any = OmegaConf.to_container(config, resolve=False)
    followed: Any = OmegaConf.to_container(config, resolve=True)
    stock: Any = OmegaConf.to_container(stock_of(config), resolve=False)
    return list(dict.fromkeys(_lines(leaves(written), leaves(followed), leaves(stock))))


def _lines(written: Mapping[str, Any], followed: Mapping[str, Any], stock: Mapping[str, Any]) -> Iterator[str]:
    for key, value in written.items():
        if key in stock and stock[key] == value:
            continue
        if any(reads_environment(text) for text in _texts(value)):
            yield f"{key}={value}"
    for key, value in followed.items():
        if key in stock and stock[key] == value:
            continue
        if any(_is_elsewhere(text) for text in _texts(value)) or (VARIABLE.search(key) and value):
            yield f"{key}={value}"


def _texts(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [value] if isinstance(value, str) else []


def _is_elsewhere(text: str) -> bool:
    for url in URL.findall(text):
        if url.startswith(("pkg://", "file://")):
            continue  # code, listed by foreign_code
        try:
            host = urlsplit(url).hostname
        except ValueError:
            return True
        if host not in LOCAL_HOSTS:
            return True
    return False
