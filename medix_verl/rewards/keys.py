# SPDX-License-Identifier: Apache-2.0
"""The flat keys of one scored answer: how they are written, and how a reader finds the terms in them.

verl carries a mapping of numbers beside each score, so terms travel as keys: `NAME` is the value, `NAME_ok` is 1 where
the term has one (only terms that can fail have this key), `NAME_applies` is 1 where it applies (only terms that may not
apply have this one). `score` and `acc` stand beside them; `acc` is known where the term that decides it has a value.
Every reader (metrics, dumps, reports, `score`, `export --score`) finds terms with `terms_in`, and so names none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from medix_verl.errors import ConfigError
from medix_verl.types import RewardBreakdown

__all__ = [
    "BUILT_IN",
    "FLAGS",
    "NUMBERS",
    "REDUCERS",
    "TermKeys",
    "acc_of",
    "check_term_name",
    "flat_numbers",
    "flat_row",
    "in_order",
    "keys_of",
    "number_of",
    "terms_in",
    "to_row",
    "to_verl",
    "values_of",
]

NUMBERS = ("score", "acc", "judge", "semantic", "format", "modality")
FLAGS = ("judge_ok", "semantic_ok", "modality_applies", "semantic_applies")

OK, APPLIES = "_ok", "_applies"
REDUCERS = ("max", "min", "sum", "total")
"""Parts of a metric's name by which verl takes the largest, the smallest or the sum over steps, and not the mean
(verl/trainer/ppo/v1/utils.py, MetricsAggregator)."""
RESERVED = {"score", "acc", "reward", "reward_busy_s", "val", "step", "uid", "id", "input", "output", "gts", "answer"}
RESERVED |= {"data_source", "modality_tag", "terms", "reason"}
"""Keys of metrics, dumps and score files that are no terms."""


@dataclass(frozen=True, slots=True)
class TermKeys:
    """The keys of one term."""

    name: str
    can_fail: bool = False
    """Whether there is `NAME_ok`."""
    can_not_apply: bool = False
    """Whether there is `NAME_applies`."""

    @property
    def ok(self) -> str:
        """Key of the flag that says that there is a value."""
        return self.name + OK

    @property
    def applies(self) -> str:
        """Key of the flag that says that the term applies."""
        return self.name + APPLIES

    def value(self, extra: Mapping[str, Any]) -> float | None:
        """The term's value in one answer's keys; None where it failed, does not apply or is not there."""
        flags = ((self.ok, self.can_fail), (self.applies, self.can_not_apply))
        return number_of(extra.get(self.name)) if _hold(extra, [key for key, there in flags if there]) else None

    def failed(self, extra: Mapping[str, Any]) -> bool:
        """Whether the term applied to an answer and could not be had."""
        return (
            self.can_fail and _hold(extra, [self.applies] if self.can_not_apply else []) and not _hold(extra, [self.ok])
        )


BUILT_IN = (
    TermKeys("judge", can_fail=True),
    TermKeys("semantic", can_fail=True, can_not_apply=True),
    TermKeys("format"),
    TermKeys("modality", can_not_apply=True),
)
"""The package's own terms, in the order in which they are shown; their flags are part of the format of version 1."""

_BUILT_IN = {term.name: term for term in BUILT_IN}


def keys_of(name: str) -> TermKeys:
    """The keys under which a term is written: a built-in's own, and all three of any other."""
    return _BUILT_IN.get(name) or TermKeys(name, can_fail=True, can_not_apply=True)


def check_term_name(name: str) -> str:
    """A term's name, where it can stand in keys and in the names of metrics.

    Raises:
        ConfigError: It cannot.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name.endswith((OK, APPLIES)) or name in RESERVED:
        raise ConfigError(
            f"a reward term is named {name!r}; give a name of small letters, digits and _ that is not a key of its "
            f"own (such as score, acc, reward, val, answer) and does not end in {OK} or {APPLIES}"
        )
    if word := next((word for word in REDUCERS if word in name), None):
        raise ConfigError(
            f"a reward term is named {name!r}; verl would log the {word} of a metric with {word!r} in its name and "
            f"not its mean: give a name without {', '.join(REDUCERS)}"
        )
    return name


def in_order(names: Iterable[str]) -> list[str]:
    """Names of terms as they are shown: the built-in ones first, others as they came."""
    there = dict.fromkeys(names)
    return [name for name in _BUILT_IN if name in there] + [name for name in there if name not in _BUILT_IN]


def terms_in(keys: Iterable[str]) -> list[TermKeys]:
    """The terms that stand in a flat mapping, with the flags that are there.

    Args:
        keys: A mapping of one answer, or just its keys.

    Returns:
        Every built-in term that is there, and every other NAME with a NAME_ok or a NAME_applies; see `in_order`.
    """
    there = dict.fromkeys(keys)
    flagged = (key for key in there if key + OK in there or key + APPLIES in there or key in _BUILT_IN)
    names = in_order(key for key in flagged if key not in ("score", "acc"))
    return [TermKeys(name, name + OK in there, name + APPLIES in there) for name in names]


def acc_of(extra: Mapping[str, Any], acc_term: str = "judge") -> float | None:
    """The verdict in one answer's keys, None where it is not known.

    Args:
        extra: The answer's keys.
        acc_term: The term that decides it.
    """
    return number_of(extra.get("acc")) if _hold(extra, (acc_term + OK, acc_term + APPLIES)) else None


def values_of(extra: Mapping[str, Any], acc_term: str = "judge") -> dict[str, float | None]:
    """`acc`, where it is there, and each term that is there with its value; None: it failed or does not apply."""
    verdict = {"acc": acc_of(extra, acc_term)} if "acc" in extra else {}
    return {**verdict, **{term.name: term.value(extra) for term in terms_in(extra)}}


def _hold(extra: Mapping[str, Any], flags: Iterable[str]) -> bool:
    """Whether no flag says otherwise; one that is not there says nothing."""
    return all(number_of(extra.get(flag, 1.0)) for flag in flags)


def number_of(value: Any) -> float | None:
    """A finite number, or None."""
    try:
        number = float(value) if isinstance(value, Real) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def flat_numbers(
    score: float | None, acc: float | None, terms: Mapping[str, float | None], failed: Collection[str]
) -> dict[str, float]:
    """The keys of one answer as verl carries them: floats only, and the same keys for every answer of a run.

    verl averages each key over all rows of a batch and needs every row to have it. What is None is 0.0 here, with its
    flag 0.0; our own metrics divide by the flags.

    Args:
        score: In [0, 1].
        acc: 0, 1 or None.
        terms: Every term of the run with its value in [0, 1]; None where it failed or does not apply.
        failed: Names of the terms that failed.
    """
    numbers = {"score": score, "acc": acc, **{name: terms[name] for name in in_order(terms)}}
    row = {name: 0.0 if value is None else float(value) for name, value in numbers.items()}
    written = [keys_of(name) for name in in_order(terms)]
    row.update({term.ok: float(terms[term.name] is not None) for term in written if term.can_fail})
    # A term that cannot fail first: the order of version 1.
    may_not = sorted((term for term in written if term.can_not_apply), key=lambda term: term.can_fail)
    row.update({term.applies: float(terms[term.name] is not None or term.name in failed) for term in may_not})
    return row


def flat_row(
    score: float | None, acc: float | None, terms: Mapping[str, float | None], failed: Collection[str]
) -> dict[str, Any]:
    """The keys of one answer as `medix-verl score` writes them: None where something could not be had.

    A term that is not built in has its NAME_applies too: without it a None would not say whether the term failed.
    """
    names = in_order(terms)
    flags = flat_numbers(score, acc, terms, failed)
    kept = [term.ok for term in map(keys_of, names) if term.can_fail]
    kept += [term.applies for term in map(keys_of, names) if term.name not in _BUILT_IN]
    values = {"score": score, "acc": acc, **{name: terms[name] for name in names}}
    return {**values, **{key: int(flags[key]) for key in kept}}


def to_verl(breakdown: RewardBreakdown) -> dict[str, float]:
    """Always the same keys, always floats.

    verl averages each key over all rows of a batch and needs every row to have it. A term that could not be had or
    does not apply is 0.0 with its flag 0.0; our own metrics divide by the flags.
    """
    numbers = {name: getattr(breakdown, name) for name in NUMBERS}
    row = {name: 0.0 if value is None else float(value) for name, value in numbers.items()}
    row.update({name: float(getattr(breakdown, name)) for name in FLAGS})
    return row


def to_row(breakdown: RewardBreakdown) -> dict[str, Any]:
    """One output row of `medix-verl score`, without its id: None where a term could not be had or does not apply."""
    row: dict[str, Any] = {name: getattr(breakdown, name) for name in NUMBERS}
    row.update({name: int(getattr(breakdown, name)) for name in ("judge_ok", "semantic_ok")})
    row["answer"] = breakdown.answer
    return row
