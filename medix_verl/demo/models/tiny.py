# SPDX-License-Identifier: Apache-2.0
"""The demo's policy: a Qwen3-VL of two million parameters with its processor, saved as a standard checkpoint.

The engines restrict the sizes: vLLM's CPU attention needs heads of 32 or 64, Qwen3-VL's vision tower patches of 16
that are merged two by two. The weights are random; `warmup` teaches the response grammar.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["IMAGE_PIXELS", "make_image_processor", "make_policy", "make_processor", "save_policy"]

PATCH, MERGE = 16, 2
HIDDEN, HEAD, LAYERS = 192, 32, 3
VISION_HIDDEN, VISION_LAYERS = 96, 2
IMAGE_PIXELS = (4 * (PATCH * MERGE) ** 2, 9 * (PATCH * MERGE) ** 2)
"""Minimum and maximum pixels of a picture: 4 to 9 tokens."""

EMBEDDING_STEP = 64
"""The embedding's rows are a multiple of this, as tensor-parallel engines expect."""


def make_policy(tokenizer: PreTrainedTokenizerFast) -> Any:
    """A Qwen3VLForConditionalGeneration with random float32 weights; seed torch first."""
    import torch
    from transformers import GenerationConfig, Qwen3VLConfig, Qwen3VLForConditionalGeneration

    end, pad = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    config = Qwen3VLConfig(
        text_config=text_sizes(-(-len(tokenizer) // EMBEDDING_STEP) * EMBEDDING_STEP, end, pad),
        vision_config=vision_sizes(),
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        tie_word_embeddings=False,
        dtype="float32",
    )
    model = Qwen3VLForConditionalGeneration(config).to(torch.float32)
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=pad, do_sample=True, temperature=1.0)
    return model


def text_sizes(vocabulary: int, end: int, pad: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HIDDEN // HEAD,
        "num_key_value_heads": 2,
        "head_dim": HEAD,
        "max_position_embeddings": 2048,
        # The three sections (time, height, width) must sum to half a head.
        "rope_scaling": {"rope_type": "default", "mrope_section": [6, 5, 5], "mrope_interleaved": True},
        "bos_token_id": pad,
        "eos_token_id": end,
        "pad_token_id": pad,
        "dtype": "float32",
    }


def vision_sizes() -> dict[str, Any]:
    return {
        "depth": VISION_LAYERS,
        "hidden_size": VISION_HIDDEN,
        "intermediate_size": 2 * VISION_HIDDEN,
        "num_heads": VISION_HIDDEN // HEAD,
        "out_hidden_size": HIDDEN,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
        "dtype": "float32",
    }


def make_processor(tokenizer: PreTrainedTokenizerFast) -> Any:
    """A Qwen3VLProcessor that does not resize the demo's pictures."""
    from transformers import Qwen3VLProcessor
    from transformers.models.qwen3_vl import Qwen3VLVideoProcessor

    videos = Qwen3VLVideoProcessor(patch_size=PATCH, merge_size=MERGE, temporal_patch_size=2)
    return Qwen3VLProcessor(
        image_processor=make_image_processor(PATCH, MERGE),
        tokenizer=tokenizer,
        video_processor=videos,
        chat_template=tokenizer.chat_template,
    )


def make_image_processor(patch: int, merge: int) -> Any:
    """An image processor of Qwen2-VL and its successors that does not resize the demo's pictures."""
    from transformers.models.qwen2_vl import Qwen2VLImageProcessor

    least, most = IMAGE_PIXELS
    return Qwen2VLImageProcessor(
        min_pixels=least,
        max_pixels=most,
        size={"shortest_edge": least, "longest_edge": most},
        patch_size=patch,
        merge_size=merge,
        temporal_patch_size=2,
    )


def save_policy(model: Any, processor: Any, folder: str | Path) -> None:
    """Write a complete checkpoint: weights, configuration, tokenizer and processors."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    # vLLM and verl also load the tokenizer separately.
    processor.tokenizer.save_pretrained(folder)
