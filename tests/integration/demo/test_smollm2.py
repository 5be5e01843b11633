# SPDX-License-Identifier: Apache-2.0
"""The pretrained policy: its logits on text are the published model's own, and verl trains it with pictures.

The model's file comes from the cache or from the package index; where neither has it, nothing of this runs.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from helpers.places import TESTS
from medix_verl.demo.models.align import AlignSpec, align_tower, nearest, picture_vectors, word_vectors
from medix_verl.demo.models.smollm2 import (
    make_smollm2,
    make_smollm2_processor,
    make_smollm2_tokenizer,
    read_gguf,
)
from medix_verl.demo.models.tokenizer import GRAMMAR_TOKENS
from medix_verl.demo.models.warmup import encode_prompt
from medix_verl.demo.models.weights import find_weights
from medix_verl.demo.questions.picture_rows import demo_samples
from medix_verl.demo.run import DemoSpec, run_demo
from medix_verl.errors import SetupError
from medix_verl.recipe.compose import compose_recipes
from medix_verl.recipe.validate import faults

torch = pytest.importorskip("torch", reason="the model needs torch")
pytest.importorskip("gguf", reason="the reader of the model's file is not installed: pip install 'medix-verl[smollm2]'")

pytestmark = pytest.mark.timeout(600)
TEXTS = ("The capital of France is", "Low platelets are bad.\n\n<|im_start|>user\nWhy?<|im_end|>", "\u00e4")


@pytest.fixture(scope="module")
def weights() -> Path:
    try:
        return find_weights(None)
    except SetupError as error:
        pytest.skip(f"the pretrained model cannot be had here: {error}")


@pytest.fixture(scope="module")
def models(weights: Path) -> tuple[Any, Any, Any, Any]:
    """The published model, its tokenizer, the policy and its processor."""
    language, original = read_gguf(weights)
    tokenizer = make_smollm2_tokenizer(original)
    torch.manual_seed(0)
    return language, original, make_smollm2(language, original, tokenizer).eval(), make_smollm2_processor(tokenizer)


def test_the_logits_on_text_are_the_published_models(models: tuple[Any, Any, Any, Any]) -> None:
    language, original, policy, processor = models
    for text in TEXTS:
        tokens = original.encode(text, add_special_tokens=False)
        assert processor.tokenizer.encode(text, add_special_tokens=False) == tokens
        batch = {"input_ids": torch.tensor([tokens]), "attention_mask": torch.ones(1, len(tokens), dtype=torch.long)}
        with torch.no_grad():
            expected, found = language(**batch).logits, policy(**batch).logits
        assert torch.equal(found[..., : expected.shape[-1]], expected), text


def test_it_goes_on_with_a_text_as_the_published_model_does(models: tuple[Any, Any, Any, Any]) -> None:
    language, _original, policy, processor = models
    batch = processor.tokenizer([TEXTS[0]], return_tensors="pt")
    with torch.no_grad():
        both = [model.generate(**batch, max_new_tokens=8, do_sample=False) for model in (language, policy)]
    assert torch.equal(both[0], both[1]) and "Paris" in processor.tokenizer.decode(both[1][0])


def test_the_new_parts(models: tuple[Any, Any, Any, Any]) -> None:
    language, _original, policy, processor = models
    tokenizer = processor.tokenizer
    assert all(len(tokenizer.encode(token, add_special_tokens=False)) == 1 for token in GRAMMAR_TOKENS)
    assert 4_000_000 < sum(weight.numel() for weight in policy.model.visual.parameters()) < 5_000_000
    assert policy.lm_head.weight is policy.model.language_model.embed_tokens.weight
    text = policy.model.language_model
    biases = [weight for name, weight in text.named_parameters() if name.endswith("_proj.bias")]
    assert len(biases) == 3 * language.config.num_hidden_layers and not any(bias.any() for bias in biases)


def test_pictures_reach_the_language_model(models: tuple[Any, Any, Any, Any]) -> None:
    """Each picture keeps its size, has one token for four patches, and moves the logits."""
    *_others, policy, processor = models
    sample = next(demo_samples("val", 1))
    prompt = encode_prompt(processor, sample)
    place = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert int((prompt["input_ids"] == place).sum()) == int(prompt["image_grid_thw"].prod()) // 4 > 3
    with torch.no_grad():
        seen = policy(**prompt).logits[0, -1]
        blank = policy(**{**prompt, "pixel_values": torch.zeros_like(prompt["pixel_values"])}).logits[0, -1]
    assert not torch.allclose(seen, blank)


def test_the_alignment_names_the_modality_of_pictures_it_has_not_seen(models: tuple[Any, Any, Any, Any]) -> None:
    """Six modalities; forty of the two hundred steps. The language model is not changed."""
    language, original, _policy, processor = models
    torch.manual_seed(0)
    policy = make_smollm2(language, original, processor.tokenizer)
    held_out = [sample for sample in demo_samples("val", 120) if len(sample.images) == 1]
    prompts = [encode_prompt(processor, sample) for sample in held_out]
    words = word_vectors(policy, processor, sorted({str(sample.modality) for sample in held_out}))
    text = {name: weight.clone() for name, weight in policy.model.language_model.named_parameters()}

    def right() -> float:
        with torch.no_grad():
            named = nearest(picture_vectors(policy, prompts), words)
        return sum(name == sample.modality for name, sample in zip(named, held_out, strict=True)) / len(held_out)

    assert len(words) == 6 and right() < 0.4
    losses = align_tower(policy, processor, list(demo_samples("train", 480)), AlignSpec(steps=40, batch=32))
    assert len(losses) == 40 and losses[-1] < 1.0 < losses[0]
    assert right() > 0.5
    assert all(torch.equal(weight, text[name]) for name, weight in policy.model.language_model.named_parameters())


def test_text_questions_need_no_alignment(models: tuple[Any, Any, Any, Any]) -> None:
    *_others, policy, processor = models
    rows = [sample for sample in demo_samples("train", 60) if not sample.images]
    assert rows and align_tower(policy, processor, rows, AlignSpec()) == []


def test_the_recipe_of_the_gpu_ring_is_sound() -> None:
    """It can be trained on a machine with a GPU only; that its keys and sizes fit together shows anywhere."""
    place = TESTS / "gpu" / "test_smollm2.py"
    spec = importlib.util.spec_from_file_location("gpu_ring_smollm2", place)
    assert spec is not None and spec.loader is not None
    ring = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ring)
    config = compose_recipes(["medix_cpu_135m"], list(ring.ON_A_GPU))
    assert faults(config) == [] and config.trainer.device == "cuda"


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_three_steps_and_the_chain_after_them(weights: Path, tmp_path: Path) -> None:
    """Warm-up, training, a checkpoint that transformers loads, and answers before and after."""
    small = ("data.val_max_samples=8", "trainer.val_before_train=false", "trainer.test_freq=-1")
    spec = DemoSpec(tmp_path, steps=3, kind="smollm2", warmup_steps=3, limit_s=2400.0, overrides=small)
    figures = run_demo(spec, print)
    assert figures["steps"] == 3 and figures["unscored"] == 0
    assert {"before/greedy/acc", "after/sampled/acc", "after/greedy/format"} <= set(figures)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == figures
    assert (tmp_path / "checkpoints" / "global_step_3" / "actor" / "huggingface" / "config.json").is_file()
