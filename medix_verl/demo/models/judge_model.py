# SPDX-License-Identifier: Apache-2.0
"""The demo's judge: a text-only Qwen3 of half a million parameters that vLLM can serve.

It tests the path of a generative judge (serving, structured output, parsing, failures) without a real model. It is
trained for one task, on the prompt used in the run: whether two of the demo's own answers are the same. Its accuracy on
these must reach `TAUGHT` before it is saved; it is not usable for any other text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medix_verl.demo.models.fit import update
from medix_verl.errors import SetupError
from medix_verl.judge.prompt import fill
from medix_verl.types import Reference

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["PROMPT", "corpus_line", "make_judge", "question", "save_judge", "teach_verdicts"]

PROMPT = """\
Reference answer: {reference}
Candidate answer: {fence}
{candidate}
{fence}
Do they match? Reply YES or NO."""
"""Saved next to the judge, for reward.medix.judge.prompt: the package's own prompts are too long for a model of this
size."""
TAUGHT = 0.98
"""Accuracy over WINDOW steps at which training ends, and below which no judge is saved."""
WINDOW = 20
MAX_STEPS = 600
PROMPT_FILE = "prompt.txt"
HIDDEN, HEAD, LAYERS = 128, 32, 2
EMBEDDING_STEP = 64
IGNORED = -100


def corpus_line(answer: str) -> str:
    """The text of a judge prompt, for training the tokenizer."""
    return f"Reference answer: {answer}\nCandidate answer: {answer}\nDo they match? Reply YES or NO."


def question(reference: str, candidate: str) -> str:
    """The judge's prompt, the same in training and in use."""
    return fill(PROMPT, candidate, Reference(answer=reference), 2000)


def make_judge(tokenizer: PreTrainedTokenizerFast) -> Any:
    """A Qwen3ForCausalLM with random float32 weights; seed torch first."""
    import torch
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    end, pad = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    config = Qwen3Config(
        vocab_size=-(-len(tokenizer) // EMBEDDING_STEP) * EMBEDDING_STEP,
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HIDDEN // HEAD,
        num_key_value_heads=2,
        head_dim=HEAD,
        max_position_embeddings=4096,
        bos_token_id=pad,
        eos_token_id=end,
        pad_token_id=pad,
        tie_word_embeddings=False,
        dtype="float32",
    )
    model = Qwen3ForCausalLM(config).to(torch.float32)
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=pad)
    return model


def teach_verdicts(
    model: Any, tokenizer: PreTrainedTokenizerFast, answers: Sequence[str], steps: int = MAX_STEPS, seed: int = 0
) -> float:
    """Train the judge in place on pairs of the demo's answers, half of them equal, until it distinguishes them.

    Returns:
        The accuracy over the last WINDOW steps, each pair judged before the update on it.

    Raises:
        SetupError: It did not reach the required accuracy in `steps` steps.
    """
    import torch

    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    hits: list[float] = []
    model.train()
    for _ in range(steps):
        batch, right = verdict_batch(rng, tokenizer, answers)
        output = model(**batch)
        update(model, output.loss, optimizer)
        # The label at a position is predicted one position earlier.
        said = output.logits[:, :-1].argmax(-1)
        first = (batch["labels"][:, 1:] != IGNORED).int().argmax(-1)
        hits.append(float((said[torch.arange(len(said)), first] == right).float().mean()))
        if len(hits) >= WINDOW and np.mean(hits[-WINDOW:]) >= TAUGHT:
            break
    model.eval()
    found = float(np.mean(hits[-WINDOW:]))
    if found < TAUGHT:
        raise SetupError(
            f"the demo's judge is right in {found:.2f} of its verdicts, {TAUGHT} is needed; try another --seed"
        )
    return found


def verdict_batch(
    rng: np.random.Generator, tokenizer: PreTrainedTokenizerFast, answers: Sequence[str], size: int = 32
) -> tuple[dict[str, Any], Any]:
    """A right-padded batch of questions with verdicts, and the first token of each verdict."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    rows, labels, first = [], [], []
    for _ in range(size):
        reference = answers[int(rng.integers(len(answers)))]
        candidate = reference if rng.random() < 0.5 else answers[int(rng.integers(len(answers)))]
        turns = [{"role": "user", "content": question(reference, candidate)}]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        asked = torch.tensor(tokenizer.encode(text, add_special_tokens=False))
        verdict = "YES" if candidate == reference else "NO"
        reply = torch.tensor(tokenizer.encode(verdict + "<|im_end|>", add_special_tokens=False))
        rows.append(torch.cat([asked, reply]))
        labels.append(torch.cat([torch.full_like(asked, IGNORED), reply]))
        first.append(reply[0])
    lengths = torch.tensor([len(row) for row in rows])
    batch = {
        "input_ids": pad_sequence(rows, True, float(tokenizer.pad_token_id or 0)),
        "labels": pad_sequence(labels, True, float(IGNORED)),
        "attention_mask": (torch.arange(int(lengths.max()))[None] < lengths[:, None]).long(),
    }
    return batch, torch.stack(first)


def save_judge(model: Any, tokenizer: PreTrainedTokenizerFast, folder: str | Path) -> None:
    """Write a complete checkpoint, and the prompt that it was trained with."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (Path(folder) / PROMPT_FILE).write_text(PROMPT, encoding="utf-8")
