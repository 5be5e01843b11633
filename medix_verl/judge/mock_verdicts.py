# SPDX-License-Identifier: Apache-2.0
"""What the mock judge says to a prompt: a rule's name decides, and the same prompt always gets the same verdict.

`hash` is a coin that depends on the prompt, `yes` and `no` are what they say, `contains:TEXT` is a YES for a prompt
that has the text. `fooled` reads the prompt `reference` as a weak model does: it passes whatever has the reference's
words somewhere, and an answer without a word (arXiv 2507.08794), so that guards have something to stop.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from medix_verl.errors import ConfigError

__all__ = ["RULES", "chance", "check_rule", "digest", "probability_of", "verdict_of"]

RULES = ("hash", "yes", "no", "fooled")
REFERENCE = re.compile(r"^Reference answer:\n(.*)$", re.MULTILINE)
QUOTED = re.compile(r"^> (.*)$", re.MULTILINE)
WORD = re.compile(r"\w+")


def check_rule(rule: str) -> None:
    """Refuse an unknown rule.

    Raises:
        ConfigError: There is no such rule.
    """
    if rule not in RULES and not rule.startswith("contains:"):
        raise ConfigError(f"mock.verdict is {rule!r}; accepted: {', '.join(RULES)}, contains:TEXT")


def verdict_of(prompt: str, rule: str = "hash") -> bool:
    """The verdict on a prompt."""
    if rule.startswith("contains:"):
        return rule.partition(":")[2] in prompt
    if rule == "fooled":
        return is_fooled(prompt)
    return rule == "yes" if rule != "hash" else bool(digest(prompt)[0] & 1)


def is_fooled(prompt: str) -> bool:
    """Whether the candidate has the reference's words in it, or none at all; NO to another prompt than `reference`."""
    reference = REFERENCE.search(prompt)
    if reference is None:
        return False
    candidate = words(" ".join(QUOTED.findall(prompt)))
    return not candidate.strip() or words(reference[1]) in candidate


def words(text: str) -> str:
    return f" {' '.join(WORD.findall(text.lower()))} "


def probability_of(prompt: str, rule: str = "hash") -> float:
    """P(YES) that the log-probabilities say: above 0.5 for a YES, below for a NO."""
    sure = 0.55 + 0.44 * chance(f"p:{prompt}")
    return sure if verdict_of(prompt, rule) else 1 - sure


def digest(text: str) -> bytes:
    """Eight bytes that stand for a text."""
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()


def chance(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(digest(text), "big") / 2**64
