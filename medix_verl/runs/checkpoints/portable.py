# SPDX-License-Identifier: Apache-2.0
"""Removes local paths and local servers from a text that is passed on.

A path keeps its last part (`/data/lab/train.parquet` becomes `PATH/train.parquet`); a server's address is replaced
completely (`http://10.0.0.3:8085/v1` becomes `http://SERVER`). Servers with a public name and relative paths are kept.
"""

from __future__ import annotations

import ipaddress
import re

__all__ = ["portable"]

# A path may contain spaces: a word of a command line is read up to the end of a value in Hydra's grammar.
_PATH = re.compile(r"(?<![\w./:<])(?:~[\w.-]*)?/(?:[^/~'\"`,;=:\[\]{}|<>\n]*/)+(?P<last>[^/'\"`,;=:\[\]{}|<>\s]*)")
_FILE_URL = re.compile(r"file://+(?P<path>[^'\"`,\[\]{}\s]*)")
_SERVER = re.compile(r"(?P<scheme>https?)://(?P<host>\[[0-9a-fA-F:.]+\]|[^/:\s'\"`,\[\]{}]+)(?::\d+)?[^\s'\"`,\[\]{}]*")


def portable(text: str) -> str:
    """A text without paths and servers of this machine or its network."""
    text = _FILE_URL.sub(lambda found: f"/{found['path'].lstrip('/')}", text)
    text = _SERVER.sub(lambda found: f"{found['scheme']}://SERVER" if is_local(found["host"]) else found[0], text)
    return _PATH.sub(lambda found: f"PATH/{found['last']}", text)


def is_local(host: str) -> bool:
    """Whether a host is not on the public internet, judged by its name or address."""
    name = host.strip("[]").rsplit("@", 1)[-1]
    try:
        return not ipaddress.ip_address(name).is_global
    except ValueError:
        return "." not in name or name.rsplit(".", 1)[-1].lower() in ("local", "internal", "lan", "localhost")
