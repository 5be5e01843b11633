# SPDX-License-Identifier: Apache-2.0
"""Version requirements in a recipe's head: `# requires: verl>=0.9.0,<0.10; medix-verl>=0.1`.

Distributions are separated by `;`, each with a pip version range. A recipe is refused if a range is malformed or not
met by the installed version; the error states what to type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import metadata

from medix_verl.errors import ConfigError

__all__ = ["REQUIRED", "read_requires", "unmet", "version_of"]

REQUIRED = ("verl", "medix-verl")
"""Distributions whose version ranges a shared recipe must state."""


def version_of(distribution: str) -> str | None:
    """The installed version; None if not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def read_requires(text: str) -> dict[str, str]:
    """Parse a line `requires:` into distribution -> range; names are normalised as by pip.

    Raises:
        ConfigError: A part is not a name with a range.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        try:
            one = Requirement(part)
        except InvalidRequirement:
            one = None
        if one is None or one.url or one.extras or one.marker or not one.specifier:
            raise ConfigError(
                f"requires: {part!r} is not a name with a range; write verl>=0.9.0,<0.10; medix-verl>=0.1"
            )
        found[canonicalize_name(one.name)] = str(one.specifier)
    return found


def unmet(requires: dict[str, str], installed: Callable[[str], str | None] = version_of) -> Iterator[str]:
    """Requirements that are not met, with what to type, one line each.

    Args:
        requires: From read_requires.
        installed: Returns the installed version of a distribution.
    """
    from packaging.specifiers import SpecifierSet

    for name, wanted in requires.items():
        have = installed(name)
        if have is None:
            yield f"{name}{wanted}, and there is no {name}; type pip install '{name}{wanted}'"
        elif not SpecifierSet(wanted).contains(have, prereleases=True):
            yield f"{name}{wanted}, and {name} is {have}; type pip install '{name}{wanted}'"
