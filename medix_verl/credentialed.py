# SPDX-License-Identifier: Apache-2.0
"""Credentialed data (MIMIC-CXR and the like): which rows are credentialed, and which addresses may receive them.

PhysioNet's agreements forbid sharing the data with third parties; any address counts as one unless known to be local.
Local are this machine's loopback addresses and the private networks that the user lists as CIDR (`10.1.0.0/16`). A
private range is not local by default: in a cloud or a clinic it may belong to others. A name is resolved, and each of
its addresses must be local. Whether a local server forwards the data cannot be checked here. This module only checks;
judge/ refuses rows in training and scoring, evaluation/ refuses tasks.
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
"""Part of a data source's name that makes a row credentialed, with or without its own flag."""


def is_credentialed(data_source: str | None, meta: Mapping[str, Any]) -> bool:
    """Whether a row must not be shown to third parties.

    Args:
        data_source: Its column `data_source`; None if there is none.
        meta: Its metadata; our converters and `prepare --set credentialed=yes` write `credentialed: true`.
    """
    return bool(meta.get("credentialed")) or KNOWN in (data_source or "").lower()


def parse_networks(texts: Sequence[str], name: str = "--local-network") -> tuple[Network, ...]:
    """Read the user's list of private networks.

    Args:
        texts: CIDR texts, as `10.1.0.0/16`.
        name: The flag or the key, for the message.

    Raises:
        ConfigError: A text is not a network, or the network is not private.
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
    """The addresses of a host name, in the order in which to try them; empty if it cannot be resolved."""
    try:
        return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None)))
    except (OSError, UnicodeError):
        return []


def foreign_part(url: str, networks: Sequence[Network] = (), resolver: Resolver = resolve) -> str:
    """Why a URL is not local; empty if all its addresses are this machine's or in a listed network."""
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
    """The first endpoint that is not known to be local, and why; None if all are.

    Args:
        endpoints: The URLs that a judge or an encoder uses; empty means this process.
        local_networks: The user's private networks, as CIDR texts.
        resolver: Host name -> addresses.
    """
    networks = parse_networks(local_networks, "judge.local_networks")
    causes = ((url, foreign_part(url, networks, resolver)) for url in endpoints)
    return next(((url, cause) for url, cause in causes if cause), None)


def host_of(url: str) -> str:
    """The host of a URL; empty if there is none."""
    try:
        return urlsplit(url if "://" in url else f"//{url}").hostname or ""
    except ValueError:
        return ""


def is_number(host: str) -> bool:
    """Whether a host is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
