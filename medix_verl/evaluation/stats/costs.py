# SPDX-License-Identifier: Apache-2.0
"""Counts the tokens of an evaluation and their cost.

The model's tokens are in its records. The judge's tokens are counted during the run. Of cached replies from an earlier
run into the same folder only the number is known, not the tokens, so the cost is then reported as `at least`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from medix_verl.errors import ConfigError
from medix_verl.evaluation.store.records import Record

__all__ = ["Costs", "Prices", "Tokens", "costs_of", "judge_tokens", "model_tokens"]

WHO = ("model", "judge")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one of WHO."""

    given: int = 0
    """Prompt tokens."""
    said: int = 0
    """Answer tokens."""
    uncounted: int = 0
    """Answers without a known token count."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices per million tokens, in any currency; None if not given.

    Raises:
        ConfigError: A price is below 0 or not finite, or one of a pair is missing.
    """

    model: tuple[float, float] | None = None
    """Price of the prompt, price of the answer."""
    judge: tuple[float, float] | None = None

    @classmethod
    def of(cls, model: tuple[float | None, float | None], judge: tuple[float | None, float | None]) -> Prices:
        """The prices given by flags."""
        pairs: dict[str, tuple[float, float] | None] = {}
        for who, (given, said) in (("", model), ("judge-", judge)):
            if (given is None) != (said is None):
                raise ConfigError(f"--{who}price-in and --{who}price-out belong together; type both, 0 for free")
            if given is not None and said is not None and not (0 <= given < float("inf") and 0 <= said < float("inf")):
                raise ConfigError(f"--{who}price-in {given} --{who}price-out {said}: give prices of a million tokens")
            pairs[who] = None if given is None or said is None else (given, said)
        return cls(pairs[""], pairs["judge-"])


@dataclass(frozen=True, slots=True)
class Costs:
    """Tokens of model and judge over all tasks, and their cost."""

    tokens: Mapping[str, Tokens]
    cost: Mapping[str, float]
    """WHO -> cost; without those that have no price."""

    @property
    def line(self) -> str:
        """One sentence; empty if nothing was counted."""
        parts = []
        for who, it in self.tokens.items():
            if not (it.given or it.said):
                continue
            part = f"{who} {it.given:,} in and {it.said:,} out"
            part += f" (not counted: {it.uncounted:,} answers)" if it.uncounted else ""
            least = "at least " if it.uncounted else ""
            parts.append(part + (f", cost {least}{self.cost[who]:,.4g}" if who in self.cost else ""))
        return f"Tokens: {'; '.join(parts)}." if parts else ""


def model_tokens(records: Iterable[Record]) -> dict[str, int]:
    """The manifest's entry for the model's tokens in a task."""
    answered = [record.tokens for record in records if record.status != "error" or record.response]
    known = [tokens for tokens in answered if tokens is not None]
    sums = {"given": sum(given for given, _ in known), "said": sum(said for _, said in known)}
    return {**sums, "uncounted": len(answered) - len(known)}


def judge_tokens(counts: tuple[int, int, int], before: int = 0) -> dict[str, int]:
    """The manifest's entry for the judge's tokens in a task.

    Args:
        counts: From medix_verl.evaluation.grading.protocol: prompt tokens, reply tokens, number of cached replies.
        before: Number of answers judged by an earlier run.
    """
    given, said, cached = counts
    return {"given": given, "said": said, "uncounted": cached + before}


def costs_of(manifest: Mapping[str, Any]) -> Costs:
    """The tokens of all tasks in a manifest, and their cost at its prices."""
    total: dict[str, Tokens] = {}
    for who in WHO:
        known = [done["tokens"][who] for done in (manifest.get("done") or {}).values() if "tokens" in done]
        names = ("given", "said", "uncounted")
        total[who] = Tokens(*(sum(counts[name] for counts in known) for name in names))
    cost = {}
    for who, price in (manifest.get("prices") or {}).items():
        if price is not None:
            cost[who] = (total[who].given * price[0] + total[who].said * price[1]) / 1e6
    return Costs(total, cost)
