# SPDX-License-Identifier: Apache-2.0
"""Generation settings of the evaluated model: one frozen spec for the flags, the Python interface and eval.json.

`k` generations of a question need a temperature above 0, or they would all be the same; each has its own seed.
Parameters that OpenAI's interface does not have are sent under vLLM's names: `chat_template_kwargs` and
`thinking_token_budget`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import field, fields
from typing import Annotated, Any

from medix_verl.errors import ConfigError
from medix_verl.evaluation.settings import named
from medix_verl.specs import Count, Natural, Number, Section, Text, spec

__all__ = ["BUDGET", "GenerationSpec"]

SEED_STEP = 7919
"""Difference between the seeds of two generations of a question: a prime, larger than typical user seeds."""
BUDGET = "thinking_token_budget"
"""vLLM's request parameter for the thinking budget."""
TEMPLATE = "chat_template_kwargs"
OWN = {
    **{name: name for name in ("temperature", "top_p", "max_tokens", "stop", "seed")},
    **{BUDGET: "thinking_budget", TEMPLATE: "chat_template_kwargs", "messages": "system_prompt", "n": "generations"},
    **{"max_completion_tokens": "max_tokens", "model": "model", "stream": "no other form of reply"},
}
"""Key of the request body that is not allowed in `extra_body` -> the setting to use instead."""


@spec("generation", label=named("generation"))
class GenerationSpec(Section):
    """Everything that an answer depends on besides model, prompt and question."""

    temperature: Annotated[float, Number(high=2.0)] = 0.0
    top_p: Annotated[float, Number(high=1.0, above=True)] | None = None
    """None uses the server's default, as does None in every field of this class."""
    max_tokens: Count = 4096
    """Limit of an answer including its thinking; the default is that of training."""
    thinking_budget: Count | None = None
    """Number of tokens after which a vLLM server ends the thinking."""
    stop: tuple[Text, ...] = ()
    seed: Natural = 0
    """Seed of the first generation of each question; see `seed_of`."""
    generations: Count = 1
    """Number of answers to each question (avg@k, pass@k, maj@k)."""
    system_prompt: Text | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the model's chat template, such as {"enable_thinking": false}."""
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of the request body, such as {"min_p": 0.05}."""

    def __post_init__(self) -> None:
        for name in ("chat_template_kwargs", "extra_body"):
            try:
                json.dumps(getattr(self, name), allow_nan=False)
            except (TypeError, ValueError) as error:
                raise ConfigError(
                    f"generation.{name} is not a JSON object ({error}); give numbers and texts"
                ) from error
        for key in self.extra_body:
            if key in OWN:
                raise ConfigError(f"generation.extra_body has {key!r}; that is set by {OWN[key]}")
        if self.generations > 1 and not self.temperature:
            raise ConfigError(
                f"generation.generations is {self.generations} at temperature 0, which is one answer "
                f"{self.generations} times; set temperature too, such as 0.6"
            )
        if self.thinking_budget is not None and self.thinking_budget >= self.max_tokens:
            raise ConfigError(
                f"generation.thinking_budget is {self.thinking_budget}, and an answer has {self.max_tokens} tokens "
                "(max_tokens); set it lower, so that some are left for the answer"
            )

    def seed_of(self, repeat: int, question: str = "") -> int:
        """The seed of generation `repeat` (from 1) of a question.

        At a temperature above 0, each question has its own seed: with a common seed, the samples of similar questions
        would be correlated, and their errors would not be independent.
        """
        own = zlib.crc32(question.encode("utf-8", "surrogatepass")) if self.temperature else 0
        return (self.seed + SEED_STEP * (repeat - 1) + own) % 2**31

    @property
    def body(self) -> dict[str, Any]:
        """Keys of the request body in addition to OpenAI's parameters."""
        template = {TEMPLATE: dict(self.chat_template_kwargs)} if self.chat_template_kwargs else {}
        budget = {} if self.thinking_budget is None else {BUDGET: self.thinking_budget}
        return {**self.extra_body, **template, **budget}

    @property
    def facts(self) -> dict[str, Any]:
        """The spec as stored in eval.json; `--resume` compares each key."""
        found: dict[str, Any] = json.loads(json.dumps({item.name: getattr(self, item.name) for item in fields(self)}))  # type: ignore[arg-type]
        return found
