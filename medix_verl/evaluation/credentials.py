# SPDX-License-Identifier: Apache-2.0
"""Guards credentialed data (MIMIC-CXR and similar): which servers may receive it, and where its texts may be written.

medix_verl.credentialed decides which addresses are local. The guard is disabled only by the setting `allow_remote`
(`--allow-remote-credentialed`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medix_verl.credentialed import Network, Resolver, foreign_part, parse_networks, resolve
from medix_verl.errors import ConfigError
from medix_verl.evaluation.grading.judge_settings import judge_specs
from medix_verl.evaluation.settings import setting
from medix_verl.judge.judge import endpoints_of
from medix_verl.judge.spec import JudgeSpec

__all__ = [
    "LIBRARY_FOLDERS",
    "check_address",
    "check_judges",
    "direct_connections",
    "foreign_part",
    "guarded_judges",
    "inside",
    "parse_networks",
]

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
LIBRARY_FOLDERS = {"XDG_DATA_HOME": "data", "XDG_CACHE_HOME": "cache", "INSPECT_CACHE_DIR": "cache/inspect_ai"}
"""Variables for inspect_ai's sample buffer, traces and cache -> folder inside the evaluation's, not the user's home."""
CACHES = {"HF_HOME": "huggingface", "VLLM_CACHE_ROOT": "vllm", "TORCH_HOME": "torch"}
"""Variables of other libraries that use XDG_CACHE_HOME -> their folder in it. Their models and logins must not move."""


def check_address(
    what: str, url: str | None, tasks: Sequence[str], networks: Sequence[Network] = (), resolver: Resolver = resolve
) -> None:
    """Refuse an address that credentialed data must not reach.

    Args:
        what: What is at the address, for the message: `the judge`.
        url: The address; None if it is unknown, which counts as not local.
        tasks: Names of the credentialed tasks; without any, every address is accepted.
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
            f"third party may see; serve it on 127.0.0.1, list your own network with {setting('networks', 'CIDR')}, "
            f"or leave out the task ({setting('allow_remote', True)} overrides this, at your own responsibility)"
        )


def guarded_judges(settings: Mapping[str, Any], networks: Sequence[str], allow_remote: bool) -> list[JudgeSpec]:
    """The judges of the settings, with the limits for credentialed rows.

    Raises:
        ConfigError: The settings are inconsistent.
    """
    return judge_specs({**settings, "local_networks": list(networks), "allow_credentialed": allow_remote})


def check_judges(judges: Sequence[JudgeSpec], tasks: Sequence[str], networks: Sequence[Network]) -> None:
    """Refuse judges that credentialed data must not reach; see check_address."""
    for judge in judges:
        for url in endpoints_of(judge):
            check_address("the judge", url, tasks, networks)


@contextmanager
def direct_connections() -> Iterator[None]:
    """Hide the environment's proxies: requests to a local address might otherwise go through a remote proxy."""
    hidden = {name: os.environ.pop(name) for name in PROXIES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Keep inspect_ai's internal files (buffers, traces, caches) under `folder`, next to the data.

    Its only setting for this is the XDG folders, which other libraries use too. They are therefore changed only while
    inspect_ai runs, and the caches of CACHES are set to their former places.
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
