# SPDX-License-Identifier: Apache-2.0
"""A pretrained policy that two cores can train: SmolLM2-135M-Instruct as the language model of a Qwen2.5-VL.

A Llama is a Qwen2 whose attention has no biases, so the weights are copied unchanged, with zero biases: the logits on
text are identical. New are a vision tower and merger of four million parameters, the special tokens for pictures, and
the tags of the response grammar as single tokens (which halves an answer's length); a tag's embedding is initialised as
the mean of its pieces. `align` trains vision tower and merger, then `warmup` trains all of it together.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.demo.models.tokenizer import GRAMMAR_TOKENS, SPECIAL_TOKENS, finish_tokenizer
from medix_verl.errors import SetupError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["make_smollm2", "make_smollm2_processor", "make_smollm2_tokenizer", "read_gguf"]

PATCH, MERGE = 16, 2
"""Patches of 16 pixels instead of the published 14: the demo's pictures are multiples of 32 and are not resized."""
VISION_HIDDEN, VISION_HEAD, VISION_LAYERS = 256, 64, 4
MROPE = (8, 12, 12)
"""Parts of half a head for time, height and width; in text all three are the position, so rotations are unchanged."""
CONTEXT = 2048
EMBEDDING_STEP = 64


def read_gguf(file: Path) -> tuple[Any, Any]:
    """The language model in float32 and its tokenizer, as transformers reads them.

    Raises:
        SetupError: The package that reads GGUF files is missing.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import is_gguf_available

    if not is_gguf_available():
        raise SetupError(
            "the package gguf, which reads the model's file, is missing; type: pip install 'medix-verl[smollm2]'"
        )
    where = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(**where)


def make_smollm2_tokenizer(original: Any) -> PreTrainedTokenizerFast:
    """The model's own tokenizer, with the picture tokens and grammar tags added after its vocabulary."""
    from tokenizers import AddedToken, Tokenizer

    core = Tokenizer.from_str(original.backend_tokenizer.to_str())
    known = set(core.get_vocab())
    core.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS if token not in known])
    return finish_tokenizer(core, CONTEXT)


def make_smollm2(language: Any, original: Any, tokenizer: PreTrainedTokenizerFast) -> Any:
    """A Qwen2_5_VLForConditionalGeneration with the language model's weights; the vision tower is random: seed torch.

    Args:
        language: From read_gguf.
        original: Its tokenizer, from read_gguf.
        tokenizer: From make_smollm2_tokenizer.
    """
    import torch
    from transformers import GenerationConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    end, pad = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    rows = -(-len(tokenizer) // EMBEDDING_STEP) * EMBEDDING_STEP
    config = Qwen2_5_VLConfig(
        text_config=text_sizes(language.config, rows, end, pad),
        vision_config=vision_sizes(language.config.hidden_size),
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        tie_word_embeddings=True,
        dtype="float32",
    )
    model = Qwen2_5_VLForConditionalGeneration(config).to(torch.float32)
    weights = {f"model.language_model.{name}": value for name, value in language.model.state_dict().items()}
    embeddings = weights.pop("model.language_model.embed_tokens.weight")
    missing, unexpected = model.load_state_dict(weights, strict=False)
    text = model.model.language_model
    left = [
        name for name in missing if ".visual." not in name and "embed_tokens" not in name and name != "lm_head.weight"
    ]
    if unexpected or any(not name.endswith("_proj.bias") for name in left):
        raise SetupError(
            f"the model's file does not fit a Qwen2: {[*unexpected, *left][:3]}; use {language.config.model_type}"
        )
    with torch.no_grad():
        for name in left:
            model.get_parameter(name).zero_()
        text.embed_tokens.weight[: len(embeddings)] = embeddings
        text.embed_tokens.weight[len(embeddings) :] = embeddings.mean(0)
        for token in GRAMMAR_TOKENS:
            pieces = original.encode(token, add_special_tokens=False)
            text.embed_tokens.weight[tokenizer.convert_tokens_to_ids(token)] = embeddings[pieces].mean(0)
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=pad, do_sample=True, temperature=1.0)
    return model


def text_sizes(llama: Any, vocabulary: int, end: int, pad: int) -> dict[str, Any]:
    """The sizes of a Llama, as Qwen2.5-VL's text configuration."""
    same = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    theta = llama.rope_parameters["rope_theta"]
    return {
        **{name: getattr(llama, name) for name in (*same, "hidden_act", "rms_norm_eps")},
        "vocab_size": vocabulary,
        "max_position_embeddings": CONTEXT,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta, "mrope_section": list(MROPE)},
        "use_sliding_window": False,
        "tie_word_embeddings": True,
        "bos_token_id": pad,
        "eos_token_id": end,
        "pad_token_id": pad,
        "dtype": "float32",
    }


def vision_sizes(hidden: int) -> dict[str, Any]:
    return {
        "depth": VISION_LAYERS,
        "hidden_size": VISION_HIDDEN,
        "intermediate_size": 2 * VISION_HIDDEN,
        "num_heads": VISION_HIDDEN // VISION_HEAD,
        "out_hidden_size": hidden,
        "patch_size": PATCH,
        "spatial_patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        # A window of four merged patches; pictures have at most three, so each layer attends to all of them.
        "window_size": 4 * PATCH * MERGE,
        "fullatt_block_indexes": list(range(VISION_LAYERS)),
        "tokens_per_second": 2,
        "dtype": "float32",
    }


def make_smollm2_processor(tokenizer: PreTrainedTokenizerFast) -> Any:
    """A Qwen2_5_VLProcessor that does not resize the demo's pictures."""
    from transformers import Qwen2_5_VLProcessor
    from transformers.models.qwen2_vl import Qwen2VLVideoProcessor

    from medix_verl.demo.models.tiny import make_image_processor

    videos = Qwen2VLVideoProcessor(patch_size=PATCH, merge_size=MERGE, temporal_patch_size=2)
    return Qwen2_5_VLProcessor(
        image_processor=make_image_processor(PATCH, MERGE),
        tokenizer=tokenizer,
        video_processor=videos,
        chat_template=tokenizer.chat_template,
    )
