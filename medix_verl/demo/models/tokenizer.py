# SPDX-License-Identifier: Apache-2.0
"""A small byte-level BPE tokenizer with Qwen's special tokens, trained on the demo's own texts.

The tags of the response grammar (`<think>`, `<CT_SCAN>`, ...) are whole tokens but not special tokens: decoding with
`skip_special_tokens` must keep them, because the reward reads them. The chat template is our own version of Qwen's turn
format; content may be a text or a list of picture and text items.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from medix_verl.types import MODALITIES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["CHAT_TEMPLATE", "GRAMMAR_TOKENS", "SPECIAL_TOKENS", "VOCABULARY", "finish_tokenizer", "train_tokenizer"]

VOCABULARY = 640
"""Learned tokens including the 256 bytes and the special tokens; the grammar's tags are added to them."""

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
GRAMMAR_TOKENS = ("<think>", "</think>", "<answer>", "</answer>", *(f"<{tag}>" for tag in MODALITIES))

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}"
    "{%- else -%}"
    "{%- for item in message['content'] -%}"
    "{%- if item['type'] in ('image', 'image_url') -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}"
    "{%- elif item['type'] == 'text' -%}{{- item['text'] -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- endif -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a tokenizer; the same texts give the same tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return finish_tokenizer(core, 2048)


def finish_tokenizer(core: Any, context: int) -> PreTrainedTokenizerFast:
    """Add the grammar tags to a `tokenizers.Tokenizer`, and give it the demo's chat template and special tokens."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    core.add_tokens([AddedToken(token, special=False, normalized=False) for token in GRAMMAR_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=context,
    )
