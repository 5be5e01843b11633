# SPDX-License-Identifier: Apache-2.0
"""The guard of credentialed data (MIMIC-CXR and the like): what may see it, and where its texts may be written.

Which addresses are local is medix_verl.credentialed's to say. The only way round is to say `allow_remote_credentialed`
by its full name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from medix_verl.credentialed import Network, Resolver, foreign_part, parse_networks, resolve
from medix_verl.errors import ConfigError

__all__ = ["LIBRARY_FOLDERS", "check_address", "direct_connections", "foreign_part", "inside", "parse_networks"]

OVERRIDE = "--allow-remote-credentialed"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
LIBRARY_FOLDERS = {"XDG_DATA_HOME": "data", "XDG_CACHE_HOME": "cache", "INSPECT_CACHE_DIR": "cache/inspect_ai"}
"""Where inspect_ai keeps its sample buffer, traces and cache -> our folder for it, not the user's home."""
CACHES = {"HF_HOME": "huggingface", "VLLM_CACHE_ROOT": "vllm", "TORCH_HOME": "torch"}
"""Variables of libraries that look below XDG_CACHE_HOME as well, and where: their models and logins must not move."""


def check_address(
    what: str, url: str | None, tasks: Sequence[str], networks: Sequence[Network] = (), resolver: Resolver = resolve
) -> None:
    """Refuse an address that credentialed data must not reach.

    Args:
        what: Who is at the address, for the message: `the judge`.
        url: The address; None where nobody knows it, which is not local.
        tasks: Names of the credentialed tasks; where there is none, any address will do.
        networks: See parse_networks.
        resolver: Host name -> addresses.

    Raises:
        ConfigError: The address is not local.
    """
    if not tasks:
        return
    cause = "its address is not known" if url is None else foreign_part(url, networks, resolver)
    if cause:
        raise ConfigError(
            f"{what} at {url or '?'} is not local ({cause}), and {', '.join(tasks)} holds credentialed data that no "
            f"third party may see; serve it on 127.0.0.1, list your own network with --local-network CIDR, "
            f"or leave out the task ({OVERRIDE} overrides this, at your own responsibility)"
        )


@contextmanager
def direct_connections() -> Iterator[None]:
    """Hide the environment's proxies: a local address may otherwise be reached through a remote one."""
    hidden = {name: os.environ.pop(name) for name in PROXIES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Keep what inspect_ai writes for itself (buffers, traces, caches) under `folder`, beside the data.

    It knows no other way than XDG's folders, which are everybody's: so this is for as long as inspect_ai works and no
    longer, and the caches of CACHES are pinned to where they were.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    changed = {name: str(cache / place) for name, place in CACHES.items() if name not in os.environ}
    for name, place in LIBRARY_FOLDERS.items():
        path = folder.absolute() / place
        path.mkdir(parents=True, exist_ok=True)
        changed[name] = str(path)
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
