# SPDX-License-Identifier: Apache-2.0
"""Measures the rollout throughput (answers per second) of one OpenAI-compatible server of the policy.

Prompts are distinct sequences of random tokens of the given length. Each prompt gets as many answers as in the recipe,
so its prefill is shared as in a run. Answers always have the full length. Images, which cost a pass of the vision tower
each, are not measured.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medix_verl.errors import SetupError
from medix_verl.openai_client import OpenAIClient, RequestError
from medix_verl.recipe.bench.measure import check_count, measure
from medix_verl.recipe.bench.record import BenchRecord, make_record

__all__ = ["Lengths", "bench_rollout"]

FIRST_TOKEN, LAST_TOKEN = 10, 400
"""Token ids in every vocabulary (also the demo's) that are not image tokens."""
TIME_LIMIT_S = 3600.0
MAX_REPLY_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of one request, in tokens."""

    prompt: int
    response: int
    each: int
    """Answers per prompt."""


async def bench_rollout(
    url: str,
    lengths: Lengths,
    answers: int,
    at_once: int,
    settings: Mapping[str, Any],
    model: str | None = None,
    gpus: int = 1,
    key: str | None = None,
) -> BenchRecord:
    """Measure a server.

    Args:
        url: Base URL with the version (`/v1`).
        lengths: Lengths of prompts and answers, in tokens.
        answers: Total number of answers.
        at_once: Number of requests in flight.
        settings: The recipe's rollout settings, for the record.
        model: Model name on the server; None takes the first that the server lists.
        gpus: GPUs of the server.
        key: API key.

    Raises:
        ConfigError: A number is below 1, or the URL is not accepted.
        SetupError: The server lists no model, or answered nothing.
    """
    for flag, value in (("--prompt-tokens", lengths.prompt), ("--response-tokens", lengths.response)):
        check_count(flag, value)
    check_count("--gpus", gpus)
    given: list[int] = []
    async with OpenAIClient(
        url, key, timeout_s=TIME_LIMIT_S, max_reply_bytes=MAX_REPLY_BYTES, setting="--url"
    ) as client:
        name = model or await first_model(client)

        async def ask(number: int) -> str:
            body = {
                "model": name,
                "prompt": prompt_of(number, lengths),
                "max_tokens": lengths.response,
                "min_tokens": lengths.response,
                "ignore_eos": True,
                "temperature": 1.0,
                "seed": number % 2**31,
            }
            try:
                reply = json.loads(await client.post("/completions", json.dumps(body).encode()))
                made = int(reply["usage"]["completion_tokens"])
            except RequestError as error:
                return str(error)
            except (ValueError, KeyError, TypeError):
                return "the server's reply has no count of tokens (usage.completion_tokens)"
            if number >= 0:
                given.append(made)
            return ""

        found = await measure(ask, answers, at_once)
    workload = {
        "prompt_tokens": lengths.prompt,
        "response_tokens": round(sum(given) / len(given), 1),
        "answers_of_a_prompt": lengths.each,
    }
    return make_record("rollout", found, at_once, settings, workload, gpus)


async def first_model(client: OpenAIClient) -> str:
    """The first model that a server lists.

    Raises:
        SetupError: The server lists no model.
    """
    try:
        listed = await client.models()
    except RequestError as error:
        raise SetupError(f"{client.url} lists no models: {error}; type the address of a server, or no --url") from error
    if not listed:
        raise SetupError(f"{client.url} lists no model; type its name with --model NAME")
    return listed[0]


def prompt_of(number: int, lengths: Lengths) -> list[int]:
    """Tokens of an answer's prompt; `each` consecutive answers share one prompt."""
    # A string seed: Random takes the absolute value of an integer, and the warm-up prompt must differ from all others.
    source = random.Random(f"prompt {number // lengths.each}")
    return [source.randint(FIRST_TOKEN, LAST_TOKEN) for _ in range(lengths.prompt)]
