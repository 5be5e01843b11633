# SPDX-License-Identifier: Apache-2.0
"""The guard of credentialed data (MIMIC-CXR and the like): what may see it, and where its texts may be written.

PhysioNet's agreements forbid to hand the data to third parties, and an address is one unless it is known not to be.
Local are: this machine's loopback addresses, and those private networks that the user lists as CIDR
(`--local-network 10.1.0.0/16`); a private range is not local by itself, because in a cloud or a clinic it may be
somebody else's. A name is resolved, and each of its addresses must be local. Whether a local server hands on what it
gets cannot be seen from here. The only way round is to say `allow_remote_credentialed` by its full name.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from medix_verl.errors import ConfigError

__all__ = ["LIBRARY_FOLDERS", "check_address", "direct_connections", "foreign_part", "inside", "parse_networks"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str], list[str]]

OVERRIDE = "--allow-remote-credentialed"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
LIBRARY_FOLDERS = {"XDG_DATA_HOME": "data", "XDG_CACHE_HOME": "cache", "INSPECT_CACHE_DIR": "cache/inspect_ai"}
"""Where inspect_ai keeps its sample buffer, traces and cache -> our folder for it, not the user's home."""
CACHES = {"HF_HOME": "huggingface", "VLLM_CACHE_ROOT": "vllm", "TORCH_HOME": "torch"}
"""Variables of libraries that look below XDG_CACHE_HOME as well, and where: their models and logins must not move."""


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Read the user's list of private networks.

    Raises:
        ConfigError: A text is no network, or one that anybody on the internet may have.
    """
    networks: list[Network] = []
    for text in texts:
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            raise ConfigError(f"--local-network is {text!r} ({error}); write it as 10.1.0.0/16") from error
        if not network.is_private:
            raise ConfigError(f"--local-network {text} is not a private range; private are 10/8, 172.16/12, 192.168/16")
        networks.append(network)
    return tuple(networks)


def resolve(host: str) -> list[str]:
    """The addresses of a host name, none where it has none."""
    try:
        return sorted({str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None)})
    except (OSError, UnicodeError):
        return []


def foreign_part(url: str, networks: Sequence[Network] = (), resolver: Resolver = resolve) -> str:
    """What makes a URL not local, in words; empty where each address is this machine's own or in a listed network."""
    host = host_of(url)
    if not host:
        return "it names no host"
    addresses = [host] if is_number(host) else resolver(host)
    if not addresses:
        return f"{host} has no address"
    for text in addresses:
        address = ipaddress.ip_address(text)
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        listed = any(address.version == network.version and address in network for network in networks)
        if not (address.is_loopback or listed):
            return f"{host} is {address}" if text != host else f"{address} is not this machine"
    return ""


def host_of(url: str) -> str:
    """The host in a URL; empty where there is none that could be read."""
    try:
        return urlsplit(url if "://" in url else f"//{url}").hostname or ""
    except ValueError:
        return ""


def is_number(host: str) -> bool:
    """Whether a host is an IP address already."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


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
