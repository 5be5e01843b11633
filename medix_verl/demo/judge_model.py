# SPDX-License-Identifier: Apache-2.0
"""The demo's judge: a text-only Qwen3 of half a million parameters that vLLM can serve.

It exists so that the path of a generative judge (serving, structured output, parsing, failures) can be run without a
real model. It is taught to reply YES or NO, and a little of when; do not trust its verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["judge_prompt", "make_judge", "save_judge", "teach_verdicts"]

HIDDEN, HEAD, LAYERS = 128, 32, 2
EMBEDDING_STEP = 64
IGNORED = -100


def judge_prompt(reference: str, candidate: str) -> str:
    """The text on which the judge is taught."""
    return f"Reference answer: {reference}\nCandidate answer: {candidate}\nDo they match? Reply YES or NO."


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
    model: Any, tokenizer: PreTrainedTokenizerFast, answers: Sequence[str], steps: int = 120, seed: int = 0
) -> float:
    """Train the judge in place on pairs of the demo's answers, half of them equal.

    Returns:
        The share of right verdicts in the last twenty steps.
    """
    import torch

    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    hits: list[float] = []
    model.train()
    for _ in range(steps):
        batch, right = verdict_batch(rng, tokenizer, answers)
        output = model(**batch)
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        # The label at a position is predicted one position earlier.
        said = output.logits[:, :-1].argmax(-1)
        first = (batch["labels"][:, 1:] != IGNORED).int().argmax(-1)
        hits.append(float((said[torch.arange(len(said)), first] == right).float().mean()))
    model.eval()
    return float(np.mean(hits[-20:]))


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
        turns = [{"role": "user", "content": judge_prompt(reference, candidate)}]
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
    """Write a complete checkpoint."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
