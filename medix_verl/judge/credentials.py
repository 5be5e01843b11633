# SPDX-License-Identifier: Apache-2.0
"""Keeps credentialed rows from a judge that is not local: one gate, before a question is made of a row.

A judge that asks servers has a gate; the rule judge asks nobody and has none. verl serves its own judge on the run's
own nodes, so that one is local. Addresses are looked up once, at the first credentialed row; where that fails, the
address is not known to be local, and the row is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from medix_verl.credentialed import Resolver, foreign_part, parse_networks, resolve
from medix_verl.errors import ConfigError
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Reference

__all__ = ["Gate"]


class Gate:
    """Says whether a judge may see a row."""

    def __init__(self, spec: JudgeSpec, urls: Sequence[str], resolver: Resolver = resolve) -> None:
        """Keep what decides; no name is resolved yet.

        Args:
            spec: The judge's kind, its user's local networks, and whether the user lets everything through.
            urls: The addresses that are asked.
            resolver: Host name -> addresses.
        """
        self.spec = spec
        self.urls = tuple(urls)
        self.resolver = resolver
        self.foreign: tuple[str, str] | None = None
        self.looked = spec.allow_credentialed or spec.kind == "verl"

    def check(self, reference: Reference) -> None:
        """Refuse a row that the judge must not see.

        Raises:
            ConfigError: It is credentialed, an address of the judge is not local, and nobody allowed that.
        """
        if reference.credentialed_row is None:
            return
        if not self.looked:
            self.foreign = self.look()
            self.looked = True
        if self.foreign is None:
            return
        url, cause = self.foreign
        raise ConfigError(
            f"{reference.credentialed_row} is credentialed data that no third party may see, and the judge at {url} "
            f"is not local ({cause}); use a judge on 127.0.0.1 or one that verl serves (judge.kind=verl), list your "
            "own network with reward.medix.judge.local_networks=[CIDR] (in a command: --local-network CIDR), or leave "
            "the rows out; reward.medix.judge.allow_credentialed=true (in a command: --allow-remote-credentialed) "
            "sends them all the same, at your own responsibility"
        )

    def look(self) -> tuple[str, str] | None:
        """The first address that is not local, and why."""
        networks = parse_networks(self.spec.local_networks)
        for url in self.urls:
            if cause := foreign_part(url, networks, self.resolver):
                return url, cause
        return None
