# SPDX-License-Identifier: Apache-2.0
"""What every frozen spec needs to read a recipe strictly: no unknown key, no value of a wrong kind.

A recipe's section comes in as a mapping (a dict, or what Hydra gives), a frozen dataclass goes out, or a ConfigError
that names the section, the key, what is accepted and the nearest key that exists. Nothing is ever converted: "0.8" is
not a number here, because a silently converted option is one that nobody notices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypeVar

from medix_verl.errors import ConfigError

__all__ = ["check_choice", "check_flag", "check_integer", "check_number", "check_text", "read_mapping"]

Spec = TypeVar("Spec")


def read_mapping(
    cls: type[Spec], mapping: Mapping[str, Any], where: str, sections: Mapping[str, Any] | None = None
) -> Spec:
    """Build the frozen dataclass `cls` from a recipe's section called `where`.

    Args:
        cls: What to build.
        mapping: The section.
        where: Its name, for the message.
        sections: Keys whose values are sections of their own -> the class whose `from_mapping` reads them.

    Raises:
        ConfigError: The section is no mapping, has an unknown key, or a value that `cls` does not accept.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where} is {mapping!r}; it must be a mapping with keys of {names_of(cls)}")
    known = names_of(cls)
    for key in mapping:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "remove it"
            raise ConfigError(f"{where} has an unknown key {key!r}; accepted: {', '.join(known)}; {hint}")
    nested = sections or {}
    return cls(**{key: nested[key].from_mapping(value) if key in nested else value for key, value in mapping.items()})


def names_of(cls: type) -> list[str]:
    """Field names of a dataclass, in order."""
    return [item.name for item in fields(cls)]  # type: ignore[arg-type]  # only dataclasses come in


def check_choice(name: str, value: Any, accepted: Iterable[str]) -> None:
    """Refuse a value that is not one of `accepted`."""
    menu = list(accepted)
    if not isinstance(value, str) or value not in menu:
        near = get_close_matches(str(value), menu, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"{name} is {value!r}; accepted: {', '.join(menu)}{hint}")


def check_text(name: str, value: Any, optional: bool = False) -> None:
    """Refuse anything but a non-empty string (or None where `optional`)."""
    if value is None and optional:
        return
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{name} is {value!r}; set it to a non-empty text{' or to null' if optional else ''}")


def check_flag(name: str, value: Any) -> None:
    """Refuse anything but a boolean."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r}; set it to true or false")


def check_number(
    name: str, value: Any, low: float = 0.0, high: float = math.inf, above: bool = False, optional: bool = False
) -> None:
    """Refuse anything but a finite number in [low, high], or in (low, high] where `above`."""
    if value is None and optional:
        return
    right_kind = isinstance(value, (int, float)) and not isinstance(value, bool)
    if right_kind and math.isfinite(value) and low <= value <= high and not (above and value == low):
        return
    bound = f"{'above' if above else 'of at least'} {low:g}" + (f" and at most {high:g}" if high < math.inf else "")
    raise ConfigError(f"{name} is {value!r}; set it to a finite number {bound}{' or to null' if optional else ''}")


def check_integer(name: str, value: Any, low: int = 0) -> None:
    """Refuse anything but an integer of at least `low`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ConfigError(f"{name} is {value!r}; set it to an integer of at least {low}")
