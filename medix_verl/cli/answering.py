# SPDX-License-Identifier: Apache-2.0
"""Lets a model that this machine serves answer the questions of a parquet file, as lines that `score` reads.

The prompt is the training's, from the same template, and the sampling is greedy. A question that the server does not
answer ends the work: a file with holes would be a score of other questions.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from medix_verl.cli.lines import waiting
from medix_verl.credentialed import is_credentialed
from medix_verl.data.parquet import read_samples
from medix_verl.data.prompts import render_prompt
from medix_verl.errors import DataError, SetupError
from medix_verl.evaluation.pictures import data_uri, prepare
from medix_verl.evaluation.server import ServerSpec, serving
from medix_verl.openai_client import OpenAIClient, RequestError, read_completion
from medix_verl.runtime.files import write_text
from medix_verl.types import Sample

__all__ = ["AnsweringSpec", "answer_file"]

MAX_REPLY_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class AnsweringSpec:
    """Who answers what."""

    model: Path
    questions: Path
    """A parquet file of medix_verl.data.schema."""
    out: Path
    """The JSONL file."""
    prompt: str = "medix"
    serve_args: tuple[str, ...] = ()
    load_limit_s: float = 1800.0
    max_tokens: int = 4096
    timeout_s: float = 600.0
    connections: int = 64


def answer_file(spec: AnsweringSpec, log: Path) -> int:
    """Serve the model, ask every question, and write one line for each, in order.

    Returns:
        How many questions there were.

    Raises:
        DataError: The file or a picture cannot be used.
        SetupError: The model could not be served, or did not answer.
    """
    samples = list(read_samples(spec.questions))
    if not samples:
        raise DataError(f"{spec.questions} has no rows; give a parquet file with questions")
    served = ServerSpec(str(spec.model), spec.load_limit_s, spec.serve_args)
    with ExitStack() as stack:
        with waiting("loading the model"):
            url = stack.enter_context(serving(served, log, lambda cause: None))
        texts = asyncio.run(ask_all(url, samples, spec, log))
    lines = [line_of(sample, text) for sample, text in zip(samples, texts, strict=True)]
    write_text(spec.out, lines)
    return len(samples)


async def ask_all(url: str, samples: Sequence[Sample], spec: AnsweringSpec, log: Path) -> list[str]:
    """The texts of the server at a base address, in order; the first failure ends the others."""
    client = OpenAIClient(url, timeout_s=spec.timeout_s, max_reply_bytes=MAX_REPLY_BYTES)
    gate = asyncio.Semaphore(spec.connections)
    bar = tqdm(total=len(samples), delay=2, disable=not sys.stderr.isatty(), file=sys.stderr, unit="answer")

    async def ask(sample: Sample) -> str:
        async with gate:
            # A worker thread opens the pictures, so that the answers of others are not kept waiting.
            body = await asyncio.to_thread(request_of, sample, spec)
            try:
                text = read_completion(await client.post("/chat/completions", body)).text
            except RequestError as error:
                raise SetupError(
                    f"row {sample.id!r} got no answer from the model's server ({error}); see {log}"
                ) from error
        bar.update()
        return text

    tasks = [asyncio.create_task(ask(sample)) for sample in samples]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        bar.close()
        for task in tasks:
            task.cancel()
        await client.close()


def request_of(sample: Sample, spec: AnsweringSpec) -> bytes:
    """The body of the chat completion that asks a sample."""
    item = prepare(sample, None, spec.questions.resolve().parent)
    content: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": data_uri(picture)}} for picture in item.pictures
    ]
    content.append({"type": "text", "text": render_prompt(sample, spec.prompt)})
    message = {"role": "user", "content": content}
    body = {"model": str(spec.model), "messages": [message], "max_tokens": spec.max_tokens, "temperature": 0}
    return json.dumps(body).encode("ascii")


def line_of(sample: Sample, text: str) -> str:
    """The line that `score` reads."""
    line = {
        "id": sample.id,
        "question": sample.question,
        "response": text,
        "ground_truth": sample.answer,
        "modality": sample.modality,
        "options": list(sample.options) if sample.options else None,
        "synonyms": list(sample.meta.get("synonyms") or ()) or None,
        "tolerance": sample.meta.get("tolerance"),
        "credentialed": is_credentialed(sample.data_source, sample.meta) or None,
    }
    # ASCII, because an answer may hold lone surrogates.
    return json.dumps({key: value for key, value in line.items() if value is not None}) + "\n"
