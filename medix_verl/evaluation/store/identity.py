# SPDX-License-Identifier: Apache-2.0
"""Detects by its answers whether another model is behind the same name, for servers that list names only.

A few fixed questions are asked twice, with greedy decoding and short answers; reproducible answers are stored as
hashes. On `--resume`, another model answers most of them differently. A model after a little more training may not be
detected. For a model whose answers are not reproducible, no check is possible; this is reported.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping

from medix_verl.openai_client import OpenAIClient, RequestError, read_completion

__all__ = ["ask_probes", "is_another"]

QUESTIONS = (
    "Describe a chest radiograph in one sentence.",
    "Name five drugs and what each is for.",
    "Write the first lines of a short story about a nurse.",
    "Why does a fever make you shiver?",
)
TOKENS = 24
ASK_S = 120.0


async def ask_probes(url: str, name: str, key: str | None) -> dict[str, str]:
    """Number of a question -> hash of its answer, for questions with the same answer twice; request errors are ignored.

    If the first request fails, no other is sent.
    """
    async with OpenAIClient(url, key, timeout_s=ASK_S, setting="MODEL") as client:

        async def answer(question: str) -> str:
            turns = [{"role": "user", "content": question}]
            body = {"model": name, "messages": turns, "max_tokens": TOKENS, "temperature": 0, "seed": 0}
            try:
                said = read_completion(await client.post("/chat/completions", json.dumps(body).encode("ascii")))
            except RequestError:
                return ""
            return f"{said.reasoning or ''}{said.text}".strip()

        begun = await answer(QUESTIONS[0])
        if not begun:
            return {}
        first = [begun, *await asyncio.gather(*map(answer, QUESTIONS[1:]))]
        second = await asyncio.gather(*map(answer, QUESTIONS))
    return {
        str(number): hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        for number, (text, again) in enumerate(zip(first, second, strict=True))
        if text and text == again
    }


def is_another(was: Mapping[str, str], now: Mapping[str, str]) -> bool | None:
    """Whether most answers differ, so that the model is another one; None if there are none to compare."""
    both = was.keys() & now.keys()
    return sum(was[name] != now[name] for name in both) > len(both) / 2 if both else None
