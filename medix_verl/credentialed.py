# SPDX-License-Identifier: Apache-2.0
"""Credentialed data (MIMIC-CXR and the like): which rows are, and which addresses may see them.

PhysioNet's agreements forbid to hand the data to third parties, and an address is one unless it is known not to be.
Local are: this machine's loopback addresses, and those private networks that the user lists as CIDR
(`10.1.0.0/16`); a private range is not local by itself, because in a cloud or a clinic it may be somebody else's. A
name is resolved, and each of its addresses must be local. Whether a local server hands on what it gets cannot be seen
from here. Nothing is refused here: the judge room does it for training and scoring, the evaluation room for its tasks.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from medix_verl.errors import ConfigError

__all__ = ["Network", "Resolver", "foreign_endpoint", "foreign_part", "is_credentialed", "parse_networks", "resolve"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str], list[str]]

KNOWN = "mimic"
"""In the name of a data source: a row of MIMIC is credentialed, whether it says so or not."""


def is_credentialed(data_source: str | None, meta: Mapping[str, Any]) -> bool:
    """Whether a row must not be shown to third parties.

    Args:
        data_source: Its column `data_source`, None where it has none.
        meta: What it says of itself; our converters and `prepare --set credentialed=yes` write `credentialed: true`.
    """
    return bool(meta.get("credentialed")) or KNOWN in (data_source or "").lower()


def parse_networks(texts: Sequence[str], name: str = "--local-network") -> tuple[Network, ...]:
    """Read the user's list of private networks.

    Args:
        texts: CIDR texts, as `10.1.0.0/16`.
        name: The flag or the key that holds them, for the message.

    Raises:
        ConfigError: A text is no network, or one that anybody on the internet may have.
    """
    networks: list[Network] = []
    for text in texts:
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            raise ConfigError(f"{name} is {text!r} ({error}); write it as 10.1.0.0/16") from error
        if not network.is_private:
            raise ConfigError(f"{name} {text} is not a private range; private are 10/8, 172.16/12, 192.168/16")
        networks.append(network)
    return tuple(networks)


def resolve(host: str) -> list[str]:
    """The addresses of a host name, in the order in which they are to be tried; none where it has none."""
    try:
        return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None)))
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


def foreign_endpoint(
    endpoints: Sequence[str], local_networks: Sequence[str] = (), resolver: Resolver = resolve
) -> tuple[str, str] | None:
    """The first of some addresses that is not known to be local, and why; None where all are.

    Args:
        endpoints: The addresses that a judge or an encoder asks; none is this machine.
        local_networks: The user's private networks, as CIDR texts.
        resolver: Host name -> addresses.
    """
    networks = parse_networks(local_networks, "judge.local_networks")
    causes = ((url, foreign_part(url, networks, resolver)) for url in endpoints)
    return next(((url, cause) for url, cause in causes if cause), None)


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
