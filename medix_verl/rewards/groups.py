# SPDX-License-Identifier: Apache-2.0
"""Groups that have lost answers: which of the rest can teach nothing, because there is nothing to compare them with."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["COMPARING", "lone_keys"]

COMPARING = frozenset({"grpo", "grpo_vectorized", "grpo_passk", "gdpo", "medix_gdpo"})
"""Advantage estimators that compare an answer with the other ones of its group, and with nothing else."""


def lone_keys(keys: Iterable[str]) -> list[str]:
    """The keys whose group has no other session; a key is `UID_SESSION_INDEX` (verl's replay_buffer.py)."""
    sessions: dict[str, set[str]] = {}
    held = list(keys)
    for key in held:
        uid, session, *_ = key.split("_")
        sessions.setdefault(uid, set()).add(session)
    return [key for key in held if len(sessions[key.split("_")[0]]) == 1]
