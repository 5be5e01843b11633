# SPDX-License-Identifier: Apache-2.0
"""Let a locally served model answer the questions of a parquet file, written as lines for `score`.

The prompt is the training prompt, from the same template, and decoding is greedy. If the server does not answer a
question, the run fails: a file with missing answers would be scored on different questions.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from medix_verl.cli.lines import waiting
from medix_verl.credentialed import is_credentialed
from medix_verl.data.io.parquet import read_samples
from medix_verl.data.prompts import render_prompt
from medix_verl.errors import DataError, SetupError
from medix_verl.evaluation.models.generation import GenerationSpec
from medix_verl.evaluation.models.server import ServerSpec, serving
from medix_verl.evaluation.tasks.pictures import data_uri, prepare
from medix_verl.openai_client import OpenAIClient, RequestError, read_completion
from medix_verl.runtime.files import write_text
from medix_verl.thinking import Thinking
from medix_verl.types import ImageRef, Sample

__all__ = ["AnsweringSpec", "answer_file"]

MAX_REPLY_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class AnsweringSpec:
    """The model, the questions and how they are asked."""

    model: Path
    questions: Path
    """A parquet file with the schema of medix_verl.data.schema."""
    out: Path
    """The JSONL file to write."""
    prompt: str = "medix"
    serve_args: tuple[str, ...] = ()
    load_limit_s: float = 1800.0
    generation: GenerationSpec = field(default_factory=GenerationSpec)
    timeout_s: float = 600.0
    connections: int = 64
    images: bool = False
    """Whether the lines contain the questions' pictures, for a judge that sees them."""
    thinking: Thinking = Thinking.NONE
    """How the model's chat template handles the thinking."""


def answer_file(spec: AnsweringSpec, log: Path) -> int:
    """Serve the model, ask every question, and write one line for each, in order.

    Returns:
        The number of questions.

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
    folder = spec.questions.resolve().parent if spec.images else None
    lines = [line_of(sample, text, spec.thinking, folder=folder) for sample, text in zip(samples, texts, strict=True)]
    write_text(spec.out, lines)
    return len(samples)


async def ask_all(url: str, samples: Sequence[Sample], spec: AnsweringSpec, log: Path) -> list[str]:
    """The texts of the server at a base URL, in order; the first failure cancels the other requests."""
    client = OpenAIClient(url, timeout_s=spec.timeout_s, max_reply_bytes=MAX_REPLY_BYTES)
    gate = asyncio.Semaphore(spec.connections)
    bar = tqdm(total=len(samples), delay=2, disable=not sys.stderr.isatty(), file=sys.stderr, unit="answer")

    async def ask(sample: Sample) -> str:
        async with gate:
            # A worker thread opens the pictures, so that other requests are not delayed.
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
    """The body of the chat completion request for a sample."""
    item = prepare(sample, None, spec.questions.resolve().parent)
    content: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": data_uri(picture)}} for picture in item.pictures
    ]
    content.append({"type": "text", "text": render_prompt(sample, spec.prompt)})
    message = {"role": "user", "content": content}
    asked = {"max_tokens": spec.generation.max_tokens, "temperature": spec.generation.temperature}
    return json.dumps({"model": str(spec.model), "messages": [message], **asked, **spec.generation.body}).encode(
        "ascii"
    )


def line_of(sample: Sample, text: str, thinking: Thinking | None = None, *, folder: Path | None = None) -> str:
    """The line that `score` reads; `thinking` is how the model's template handles it.

    It contains the pictures if `folder` is given, to which their paths are relative.
    """
    pictures = [] if folder is None else [picture_of(ref, folder) for ref in sample.images]
    line = {
        "id": sample.id,
        "question": sample.question,
        "response": text,
        "ground_truth": sample.answer,
        "modality": sample.modality,
        "options": list(sample.options) if sample.options else None,
        "synonyms": list(sample.meta.get("synonyms") or ()) or None,
        "tolerance": sample.meta.get("tolerance"),
        "label": sample.meta.get("label"),
        "thinking": thinking.value if thinking is not None else None,
        "credentialed": is_credentialed(sample.data_source, sample.meta) or None,
        "images": pictures or None,
    }
    # ASCII, because an answer may contain lone surrogates.
    return json.dumps({key: value for key, value in line.items() if value is not None}) + "\n"


def picture_of(ref: ImageRef, folder: Path) -> str:
    """A picture as `score` reads it: its path, or a data URI if it was given by value."""
    if ref.bytes is None:
        return str(folder / str(ref.path))
    # The loader detects the format from the bytes and ignores the declared type.
    return f"data:image/png;base64,{base64.b64encode(ref.bytes).decode('ascii')}"
