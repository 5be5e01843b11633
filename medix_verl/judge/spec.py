# SPDX-License-Identifier: Apache-2.0
"""The judge's section of a recipe, frozen and checked: which judge, where it is served, and its limits.

It holds the name of the environment variable with the API key, never the key: specs are logged and pickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medix_verl.errors import ConfigError
from medix_verl.specs import check_choice, check_integer, check_number, check_text, read_mapping

__all__ = ["KINDS", "STRUCTURES", "JudgeSpec"]

KINDS = ("rule", "openai", "verl")
STRUCTURES = ("choice", "json_schema", "none")


@dataclass(frozen=True, slots=True)
class JudgeSpec:
    """Which judge decides, and how it is asked."""

    kind: str = "rule"
    """`rule` (no model), `openai` (a server at `url`), `verl` (served by verl in its own resource pool)."""
    url: str | None = None
    """Base address of an OpenAI-compatible server with its version, as http://host:8000/v1."""
    model: str | None = None
    """Name under which the server knows the judge model."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the API key; None sends no key."""
    prompt: str = "reference"
    """Name of a prompt in medix_verl/judge/prompts, or the path of a .txt file."""
    structured: str = "choice"
    """How the reply is held to YES or NO: vLLM's `choice`, OpenAI's `json_schema`, or `none`."""
    timeout_s: float = 60.0
    """Seconds that one attempt may take."""
    max_retries: int = 3
    """Attempts after the first, for failures that may pass."""
    max_concurrent: int = 256
    """Requests that may be under way at once."""
    max_candidate_chars: int = 2000
    """Characters of the candidate answer that the judge is shown."""
    tolerance: float = 0.0
    """Relative error that the rule judge accepts for a measured quantity whose reference sets none."""

    def __post_init__(self) -> None:
        check_choice("judge.kind", self.kind, KINDS)
        check_choice("judge.structured", self.structured, STRUCTURES)
        for name in ("url", "model", "api_key_env"):
            check_text(f"judge.{name}", getattr(self, name), optional=True)
        check_text("judge.prompt", self.prompt)
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ConfigError(f"judge.url is {self.url!r}; write it as http://host:port/v1")
        check_number("judge.timeout_s", self.timeout_s, above=True)
        check_integer("judge.max_retries", self.max_retries)
        check_integer("judge.max_concurrent", self.max_concurrent, low=1)
        check_integer("judge.max_candidate_chars", self.max_candidate_chars, low=1)
        check_number("judge.tolerance", self.tolerance, high=1.0)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> JudgeSpec:
        """Read a recipe's `judge` section; see medix_verl.specs.read_mapping for what is refused."""
        return read_mapping(cls, mapping, "judge")
