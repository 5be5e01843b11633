# SPDX-License-Identifier: Apache-2.0
"""The flat keys of one scored answer: writes them, and finds the terms in them.

verl carries a mapping of numbers with each score, so terms are stored as keys: `NAME` is the value, `NAME_ok` is 1 if
the term has one (only for terms that can fail), `NAME_applies` is 1 if it applies (only for terms that may not apply).
`score` and `acc` are further keys; `acc` is known if the term that decides it has a value. All readers (metrics, dumps,
reports, `score`, `export --score`) find terms with `terms_in`, so none of them depends on particular terms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

from medix_verl.rewards.term import Term, keys_of
from medix_verl.rewards.terms import BUILT_IN
from medix_verl.types import RewardBreakdown, TermKeys

__all__ = [
    "acc_of",
    "failed_in",
    "in_order",
    "keys_by_name",
    "number_of",
    "terms_in",
    "to_row",
    "to_verl",
    "value_in",
    "values_of",
]

OK, APPLIES = "_ok", "_applies"


def to_verl(breakdown: RewardBreakdown) -> dict[str, float]:
    """The same keys for every answer of a recipe, as floats.

    verl averages each key over all rows of a batch and needs every row to have it. A term that failed or does not apply
    is 0.0 with its flag 0.0; our own metrics divide by the flags.
    """
    numbers = {"score": breakdown.score, "acc": breakdown.acc, **breakdown.terms}
    row = {name: 0.0 if value is None else float(value) for name, value in numbers.items()}
    row.update({keys.ok: float(breakdown.ok(keys.name)) for keys in breakdown.keys if keys.can_fail})
    # Terms that cannot fail first: the order of version 1.
    absent = sorted((keys for keys in breakdown.keys if keys.can_be_absent), key=lambda keys: keys.can_fail)
    row.update({keys.applies: float(breakdown.applies(keys.name)) for keys in absent})
    return row


def to_row(breakdown: RewardBreakdown) -> dict[str, Any]:
    """One output row of `medix-verl score`, without its id; None for a term that failed or does not apply."""
    row: dict[str, Any] = {"score": breakdown.score, "acc": breakdown.acc, **breakdown.terms}
    row.update({keys.ok: int(breakdown.ok(keys.name)) for keys in breakdown.keys if keys.can_fail})
    row["answer"] = breakdown.answer
    return row


def in_order(names: Iterable[str]) -> list[str]:
    """Names of terms in display order: the package's first, others in the given order."""
    there = dict.fromkeys(names)
    return [name for name in BUILT_IN if name in there] + [name for name in there if name not in BUILT_IN]


def terms_in(keys: Iterable[str]) -> list[TermKeys]:
    """The terms in a flat mapping, with the flags that it has.

    Args:
        keys: A mapping of one answer, or only its keys.

    Returns:
        Every term of the package that is present, and every other NAME with NAME_ok or NAME_applies; see `in_order`.
    """
    there = dict.fromkeys(keys)
    flagged = (key for key in there if key + OK in there or key + APPLIES in there or key in BUILT_IN)
    names = in_order(key for key in flagged if key not in ("score", "acc"))
    return [TermKeys(name, name + OK in there, name + APPLIES in there) for name in names]


def keys_by_name(name: str) -> TermKeys:
    """The keys of a term of which only the name is known: those of the package's term, or all possible keys."""
    return keys_of(name, BUILT_IN.get(name, Term))


def value_in(extra: Mapping[str, Any], keys: TermKeys) -> float | None:
    """A term's value in one answer's keys; None if it failed, does not apply or is missing."""
    flags = ((keys.ok, keys.can_fail), (keys.applies, keys.can_be_absent))
    return number_of(extra.get(keys.name)) if _hold(extra, [key for key, there in flags if there]) else None


def failed_in(extra: Mapping[str, Any], keys: TermKeys) -> bool:
    """Whether a term applied to an answer and failed."""
    return keys.can_fail and _hold(extra, [keys.applies] if keys.can_be_absent else []) and not _hold(extra, [keys.ok])


def acc_of(extra: Mapping[str, Any], acc_term: str = "judge") -> float | None:
    """The verdict in one answer's keys, None if it is not known.

    Args:
        extra: The answer's keys.
        acc_term: The term that decides it.
    """
    return number_of(extra.get("acc")) if _hold(extra, (acc_term + OK, acc_term + APPLIES)) else None


def values_of(extra: Mapping[str, Any], acc_term: str = "judge") -> dict[str, float | None]:
    """`acc` and the terms in one answer's keys, with their values; None for a term that failed or does not apply."""
    verdict = {"acc": acc_of(extra, acc_term)} if "acc" in extra else {}
    return {**verdict, **{keys.name: value_in(extra, keys) for keys in terms_in(extra)}}


def _hold(extra: Mapping[str, Any], flags: Iterable[str]) -> bool:
    """Whether no flag is 0; a missing flag counts as set."""
    return all(number_of(extra.get(flag, 1.0)) for flag in flags)


def number_of(value: Any) -> float | None:
    """A finite number, or None."""
    try:
        number = float(value) if isinstance(value, Real) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
