# SPDX-License-Identifier: Apache-2.0
"""Reads questions that are conversations (HealthBench): the model gets their turns unchanged, without a template.

A row has its turns in `meta["conversation"]`, a list of `role` and `content`; the last turn is the user's.
"""

from __future__ import annotations

from typing import Any

from medix_verl.errors import DataError
from medix_verl.types import Sample

__all__ = ["ROLES", "as_text", "turns_of"]

ROLES = ("system", "user", "assistant")


def turns_of(sample: Sample) -> tuple[tuple[str, str], ...]:
    """Role and content of each turn; empty for a sample with a single question.

    Raises:
        DataError: The turns are malformed.
    """
    found = sample.meta.get("conversation")
    if not found:
        return ()
    if not isinstance(found, (list, tuple)):
        raise DataError(f"row {sample.id!r}: meta.conversation is {type(found).__name__}; give a list of turns")
    turns = tuple(turn_of(sample.id, item) for item in found)
    if turns[-1][0] != "user":
        raise DataError(f"row {sample.id!r}: the last turn is the {turns[-1][0]}'s; there must be one of the user's")
    return turns


def turn_of(name: str, item: Any) -> tuple[str, str]:
    """Role and content of one turn of the row `name`."""
    role, content = (item.get("role"), item.get("content")) if isinstance(item, dict) else (None, None)
    if role not in ROLES or not isinstance(content, str):
        raise DataError(
            f"row {name!r}: a turn is {item!r}; it needs a `role` of {', '.join(ROLES)} and a text `content`"
        )
    return role, content


def as_text(sample: Sample) -> str:
    """The conversation as text for a grader, a paragraph `role: content` for each turn; a single question unchanged."""
    turns = turns_of(sample)
    return "\n\n".join(f"{role}: {content}" for role, content in turns) if turns else sample.question
