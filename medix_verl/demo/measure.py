# SPDX-License-Identifier: Apache-2.0
"""Measures the policy outside verl: its greedy and sampled answers to the validation questions.

The answers are generated in plain torch from the saved checkpoint, on one thread, and scored by `medix-verl score`. So
these figures depend on neither vLLM nor the training process, and can be compared with verl's own greedy validation.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from medix_verl.demo.models.warmup import encode_prompt
from medix_verl.errors import RunStoppedError
from medix_verl.evaluation.stats.intervals import clustered_mean
from medix_verl.rewards.keys import terms_in
from medix_verl.types import Sample

__all__ = ["DECODINGS", "MeasureSpec", "answer_lines", "average", "score_lines"]

DECODINGS = ("greedy", "sampled")


@dataclass(frozen=True, slots=True)
class MeasureSpec:
    """How the answers are generated."""

    draws: int = 4
    """Sampled answers per question, at temperature 1; greedy decoding gives one."""
    max_tokens: int = 40
    batch: int = 60
    """Answers generated at once."""
    seed: int = 0
    threads: int | None = 1
    """Threads of torch; None keeps torch's default."""


def answer_lines(
    folder: str | Path, processor_folder: str | Path, samples: Sequence[Sample], spec: MeasureSpec | None = None
) -> list[dict[str, Any]]:
    """Let a checkpoint answer every question, greedily and by sampling.

    Args:
        folder: A Hugging Face checkpoint of the policy.
        processor_folder: Folder of its processor and tokenizer.
        samples: The questions.
        spec: How to generate.

    Returns:
        Input lines of `medix-verl score`, with the further keys `decoding` and `kind`.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from medix_verl.demo.build import seeded_threads

    spec = spec or MeasureSpec()
    lines: list[dict[str, Any]] = []
    with seeded_threads(spec.seed, spec.threads), torch.no_grad():
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        processor = AutoProcessor.from_pretrained(processor_folder)
        for decoding, draws in zip(DECODINGS, (1, spec.draws), strict=True):
            asked = [sample for sample in samples for _ in range(draws)]
            for rows in chunks(asked, spec.batch):
                texts = generate(model, processor, rows, decoding, spec.max_tokens)
                lines += [describe(row, text, decoding) for row, text in zip(rows, texts, strict=True)]
    return lines


def chunks(rows: Sequence[Sample], size: int) -> Iterator[list[Sample]]:
    stream = iter(rows)
    while chunk := list(islice(stream, size)):
        yield chunk


def generate(model: Any, processor: Any, rows: Sequence[Sample], decoding: str, max_tokens: int) -> list[str]:
    """One answer per row, without special tokens."""
    batch = pad_left([encode_prompt(processor, row) for row in rows], processor.tokenizer.pad_token_id)
    how = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    tokens = model.generate(
        **batch, max_new_tokens=max_tokens, **(how if decoding == "sampled" else {"do_sample": False})
    )
    replies = tokens[:, batch["input_ids"].shape[1] :]
    return list(processor.tokenizer.batch_decode(replies, skip_special_tokens=True))


def pad_left(prompts: Sequence[Mapping[str, Any]], pad: int) -> dict[str, Any]:
    """A left-padded batch of prompts of different lengths."""
    import torch

    width = max(prompt["input_ids"].shape[1] for prompt in prompts)
    shape = (len(prompts), width)
    batch = {name: torch.zeros(shape, dtype=torch.long) for name in ("attention_mask", "mm_token_type_ids")}
    batch["input_ids"] = torch.full(shape, pad)
    for row, prompt in enumerate(prompts):
        start = width - prompt["input_ids"].shape[1]
        batch["input_ids"][row, start:] = prompt["input_ids"][0]
        batch["attention_mask"][row, start:] = 1
        if "mm_token_type_ids" in prompt:
            batch["mm_token_type_ids"][row, start:] = prompt["mm_token_type_ids"][0]
    for name in ("pixel_values", "image_grid_thw"):
        parts = [prompt[name] for prompt in prompts if name in prompt]
        if parts:
            batch[name] = torch.cat(parts)
    return batch


def describe(sample: Sample, response: str, decoding: str) -> dict[str, Any]:
    """The input line of `medix-verl score` for one answer, with the keys that the averages are grouped by."""
    return {
        "id": sample.id,
        "response": response,
        "ground_truth": sample.answer,
        "question": sample.question,
        "modality": sample.modality,
        "synonyms": list(sample.meta["synonyms"]),
        "tolerance": sample.meta.get("tolerance"),
        "decoding": decoding,
        "kind": sample.meta["kind"],
    }


def score_lines(
    lines: Sequence[Mapping[str, Any]], source: Path, recipe: str, run: Callable[..., Any] = subprocess.run
) -> list[dict[str, Any]]:
    """Score answers with `medix-verl score`, in a separate process.

    Args:
        lines: From answer_lines.
        source: File to write them to; the scores are written next to it, to `<stem>_scored.jsonl`.
        recipe: The recipe whose reward scores them: the one of the training.
        run: Runs the process.

    Returns:
        The lines with their scores.

    Raises:
        RunStoppedError: The answers could not be scored.
    """
    out = source.with_name(f"{source.stem}_scored.jsonl")
    source.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    words = ["score", str(source), "--out", str(out), "--recipe", recipe]
    end = run([sys.executable, "-m", "medix_verl", *words], capture_output=True, text=True, check=False)
    if end.returncode != 0:
        last = (end.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RunStoppedError(f"the answers in {source} could not be scored: {last}")
    scores = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    return [{**line, **score} for line, score in zip(lines, scores, strict=True)]


def average(scored: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means per decoding of acc, score and each term where available, and of `acc` for pictures and for each kind.

    `acc_low` and `acc_high` are the ends of its 95 % interval for new questions about the same pictures: the samples of
    one question are one cluster. The same for `picture_acc`.
    """
    figures: dict[str, float] = {}
    parts = ("acc", "score", *(term.name for term in terms_in(key for row in scored for key in row)))
    for decoding in DECODINGS:
        rows = [row for row in scored if row["decoding"] == decoding]
        for part in parts:
            if any(row.get(part) is not None for row in rows):
                figures[f"{decoding}/{part}"] = mean(rows, part)
        with_picture = [row for row in rows if row["modality"] is not None]
        if with_picture:
            figures[f"{decoding}/picture_acc"] = mean(with_picture, "acc")
        for name, chosen in (("acc", rows), ("picture_acc", with_picture)):
            figures |= {f"{decoding}/{name}_{end}": value for end, value in interval(chosen).items()}
        for kind in sorted({str(row["kind"]) for row in rows}):
            figures[f"{decoding}/acc/{kind}"] = mean([row for row in rows if row["kind"] == kind], "acc")
    return figures


def interval(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The ends of the interval of acc, `low` and `high`; empty without scored rows."""
    known = [row for row in rows if row.get("acc") is not None]
    found = clustered_mean([float(row["acc"]) for row in known], [row["id"] for row in known])
    return {} if found is None else {"low": found.low, "high": found.high}


def mean(rows: Sequence[Mapping[str, Any]], part: str) -> float:
    """Mean of the available values; nan if there are none."""
    values = [float(row[part]) for row in rows if row.get(part) is not None]
    return statistics.fmean(values) if values else float("nan")
