# SPDX-License-Identifier: Apache-2.0
"""The planner against cases worked out by hand, in powers of two: 1 GiB is 2**30 bytes."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medix_verl.errors import ConfigError
from medix_verl.recipe.check import Check
from medix_verl.recipe.plan.estimate import Engine, Judge, Plan, Rollout, Training, plan_checks
from medix_verl.recipe.plan.from_recipe import adapter_share
from medix_verl.recipe.plan.model_sizes import ModelSize, known_models, model_size, read_folder

# Vocabulary 2 x 2**17 x 2**10 = 2**28, layers 16 x 2**25 = 2**29: 0.75 x 2**30 parameters.
DENSE = ModelSize(
    parameters=2**28 + 2**29, hidden=2**10, layers=16, kv_heads=8, head_dim=128, intermediate=2**12, vocab=2**17
)
PLAN = Plan(
    model=DENSE,
    gpus=8,
    nodes=1,
    memory=80,
    engine=Engine(),
    training=Training(tokens=2**14, probability_tokens=2**14),
    rollout=Rollout(tensor=2, share=0.5, longest=2**13),
)


def checks(**changes: Any) -> dict[str, Check]:
    return {check.name: check for check in plan_checks(replace(PLAN, **changes))}


def test_fsdp2_by_hand() -> None:
    """Weights 0.75 x 4 / 8; at the loss 4 x 2**27 gathered, 2**29 + 9 x 2**24 of activations, logits 2 x 2**31."""
    found = checks()
    assert found["update"] == Check(
        "update",
        "ok",
        "weights 0.4 + gradients 0.4 + Adam 0.8 + gathered 0.5 + activations 0.6 + logits 4.0 + others 1.5"
        " = 8.1 of 80 GiB",
    )
    # Logits 6 x 2**31: nothing else is there with them.
    assert found["probabilities"].found == "weights 0.4 + logits 12.0 + others 1.5 = 13.9 of 80 GiB"


def test_the_largest_moment_counts() -> None:
    """A vocabulary of 2**7: a layer's backward pass, 10 x (2**29 + 2**28 - 2**18) / 16; with few tokens, the step."""
    small = replace(DENSE, vocab=2**7)
    assert "gathered 0.5 + activations 1.4 + others" in checks(model=small)["update"].found
    few = checks(model=small, training=Training(tokens=2, probability_tokens=2), nodes=1, gpus=1)["update"].found
    assert "Adam 6.0 + optimizer's step 3.0 + others" in few
    assert "gathered 0.2 + activations 0.8 + others" in checks(model=small)["probabilities"].found


def test_what_makes_logits_larger_or_smaller() -> None:
    """2**31 logits: 8 bytes without flash-attn, 14 where entropy is not compiled; chunks 2, and 12 for 2**11 tokens."""
    assert "logits 16.0" in checks(training=replace(PLAN.training, flash=False))["update"].found
    assert "logits 28.0" in checks(training=replace(PLAN.training, compiled=False))["probabilities"].found
    assert "logits 7.0" in checks(training=replace(PLAN.training, chunked_logits=True))["probabilities"].found


def test_a_reference_keeps_its_weights_on_the_host() -> None:
    assert "reference" not in checks()
    found = checks(training=replace(PLAN.training, reference=True))["reference"]
    assert found.found == "gathered 0.5 + logits 4.0 + others 1.5 = 6.0 of 80 GiB"


def test_gradients_that_are_kept_whole() -> None:
    """use_no_sync_for_gradient_accumulation: 4 x 0.75 x 2**30 on every GPU, however many there are."""
    assert "whole gradients 3.0" in checks(engine=Engine(whole_gradients=True), nodes=4)["update"].found


def test_what_stays_where() -> None:
    assert checks()["host memory"].found.startswith("weights 3.0 + Adam 6.0 = 9.0 GiB a node")
    found = checks(training=replace(PLAN.training, reference=True), encoder=ModelSize(2**28, 1, 1, 1, 1, 1, 1))
    assert "reference 3.0 + encoder 1.0 = 13.0" in found["host memory"].found
    assert "0 = 0.0 GiB" in checks(engine=Engine(offload_weights=False, offload_optimizer=False))["host memory"].found


def test_bfloat16_and_more_gpus_and_adapters_take_less() -> None:
    assert "weights 0.2 + gradients 0.2 + Adam 0.4" in checks(engine=Engine(bytes_per_weight=2))["update"].found
    assert "weights 0.2 + gradients 0.2 + Adam 0.4" in checks(nodes=2)["update"].found
    found = checks(training=replace(PLAN.training, adapters=0.0))["update"].found
    assert found.startswith("weights 0.4 + gathered")


def test_weights_that_stay_on_the_host_take_only_what_is_gathered() -> None:
    found = checks(engine=Engine(stays_on_host=True))
    assert found["update"].found == "gathered 0.5 + activations 0.6 + logits 4.0 + others 1.5 = 6.6 of 80 GiB"
    assert found["probabilities"].found.startswith("logits 12.0 + ")
    assert found["host memory"].found.startswith("weights 3.0 + Adam 6.0")
    full = checks(memory=4, engine=Engine())["update"]
    assert full.status == "FAIL" and "actor_rollout_ref.actor.fsdp_config.offload_policy=true" in full.todo
    assert "offload_policy" not in checks(memory=4, engine=Engine(stays_on_host=True))["update"].todo


def test_tables_of_each_layer_are_embeddings_and_no_layers() -> None:
    tables = replace(DENSE, parameters=DENSE.parameters + 2**28, tables=2**28)
    assert (tables.layer, tables.vocabulary) == (DENSE.layer, DENSE.vocabulary + 2**28)
    # Tied, they are gathered with the embedding: 4 x (2**27 + 2**28) instead of 4 x 2**27.
    assert "gathered 0.5 + activations" in checks(model=replace(DENSE, tied=True))["update"].found
    assert "gathered 1.5 + activations" in checks(model=replace(tables, tied=True))["update"].found


def test_megatron_by_hand() -> None:
    """2**30 parameters, 0.375 of them experts: 0.3125 + 0.09375 on a GPU; Adam 12 x (0.3125 / 4 + 0.09375 / 2)."""
    experts = replace(DENSE, parameters=2**30, experts=8, experts_per_token=2, intermediate=2**10)
    assert experts.expert_parameters == 3 * 2**27
    engine = Engine(megatron=True, tensor=2, expert=4, expert_tensor=1)
    found = checks(model=experts, engine=engine)["update"].found
    assert found.startswith("weights 0.8 + gradients 1.6 + Adam 1.5 + activations")
    assert "gathered" not in found and "logits 8.0" in found


def test_without_recomputation_every_layer_stays() -> None:
    assert "activations 12.1" in checks(training=replace(PLAN.training, recompute=False))["update"].found


def test_the_tower_sees_four_patches_a_token() -> None:
    """2**16 patches: saved 2**28 + 43 x 2**26, pixels 6144 x 2**16: 3.3 GiB more than the 0.6 of the texts."""
    tower = replace(DENSE, vision=2**24, vision_hidden=2**10, vision_layers=2, vision_intermediate=2**11)
    assert "activations 4.0" in checks(model=tower)["update"].found
    few = replace(PLAN.training, pictures=2**12)
    assert "activations 1.5" in checks(model=tower, training=few)["update"].found


def test_rollout_by_hand() -> None:
    """40 GiB of share - 0.75 of weights - 3 of workspace = 36.2; a text of 2**13 tokens takes 2**15 x 2**13 = 0.25."""
    assert DENSE.cache_bytes(2) == 2**15
    assert checks()["rollout"].found == (
        "weights 0.8 + cache 36.2 of vLLM's 40.0 GiB: 145 texts of 8192 tokens at once"
    )
    assert DENSE.cache_bytes(16) == 2**13, "a head is not divided"
    assert replace(DENSE, kv_layers=4).cache_bytes(2) == 2**13


@pytest.mark.parametrize(
    ("changes", "name", "message"),
    [
        ({"memory": 8.0}, "update", "= 8.1 of 8 GiB"),
        ({"memory": 10.0}, "probabilities", "of 10 GiB"),
        ({"rollout": replace(PLAN.rollout, share=0.04)}, "rollout", "not one text of 8192 tokens"),
        ({"rollout": replace(PLAN.rollout, share=0.99)}, "rollout", "vLLM's share 79.2 of 80 GiB"),
        ({"rollout": replace(PLAN.rollout, sleeps=False, share=0.95)}, "update", "others 76.0"),
        (
            {"engine": Engine(offload_weights=False, offload_optimizer=False), "memory": 4.0},
            "rollout",
            "actor 1.1 + vLLM's share 2.0",
        ),
        ({"judge": Judge(DENSE, 2, 1, 0.05, 4096)}, "judge", "not one question of 4096 tokens"),
        ({"model": replace(DENSE, parameters=2**36)}, "rollout", "sending weights takes"),
    ],
)
def test_what_does_not_fit_says_what_to_change(changes: dict[str, Any], name: str, message: str) -> None:
    found = checks(**changes)[name]
    assert found.status == "FAIL" and message in found.found and found.todo


@pytest.mark.parametrize(
    ("changes", "there", "not_there"),
    [
        ({}, ["++medix.model_dtype=bf16", "medix_lora"], ["megatron"]),
        ({"engine": Engine(bytes_per_weight=2)}, ["actor_rollout_ref.actor.ppo_max_token_len_per_gpu"], ["bf16"]),
        ({"training": replace(PLAN.training, adapters=0.01)}, ["bf16"], ["medix_lora"]),
        ({"engine": Engine(megatron=True)}, ["actor_rollout_ref.actor.megatron.tensor"], ["expert_parallel", "bf16"]),
        (
            {"engine": Engine(megatron=True), "model": replace(DENSE, experts=8, experts_per_token=2)},
            ["++medix.expert_parallel"],
            [],
        ),
    ],
)
def test_no_remedy_that_is_taken_already(changes: dict[str, Any], there: list[str], not_there: list[str]) -> None:
    todo = checks(**{"memory": 5.0, **changes})["update"].todo
    assert todo.startswith("more nodes, or ")
    assert [text for text in there if text not in todo] == [] and [text for text in not_there if text in todo] == []


def test_tight_and_few_are_warnings() -> None:
    assert checks(memory=8.5)["update"].status == "warn"
    found = checks(rollout=replace(PLAN.rollout, share=0.06))["rollout"]
    assert found.status == "warn" and ": 4 texts of 8192" in found.found


def test_a_judge_of_its_own() -> None:
    found = checks(judge=Judge(DENSE, 2, 1, 0.5, 4096))["judge"]
    assert found.found.startswith("2 a node, each weights 1.5 + cache 35.5 of 40.0 GiB")
    assert checks()["judge"].found.startswith("none of these GPUs")


@pytest.mark.parametrize(("name", "query", "tied"), [("Qwen/Qwen3-8B", 4096, 0), ("Qwen/Qwen3-VL-8B-Instruct", 4096, 0),
    ("Qwen/Qwen3-VL-2B-Instruct", 2048, 1), ("Qwen/Qwen3-VL-30B-A3B-Thinking", 4096, 0),
    ("Qwen/Qwen3-4B-Instruct-2507", 4096, 1)])  # fmt: skip
def test_known_sizes_are_what_their_shapes_make(name: str, query: int, tied: int) -> None:
    """By hand: queries, keys, values and outputs, two norms of a head and two of a layer, feed-forward parts."""
    size = known_models()[name]
    narrow = size.kv_heads * size.head_dim
    attention = 2 * query * size.hidden + 2 * narrow * size.hidden + 2 * size.head_dim + 2 * size.hidden
    parts = size.experts or 1
    router = size.experts * size.hidden
    layer = attention + parts * 3 * size.hidden * size.intermediate + router
    assert size.tied is bool(tied)
    assert size.vision + size.vocabulary + size.layers * layer + size.hidden == size.parameters


def test_adapters() -> None:
    """Rank 2 on 16 layers: 2 x 16 x (4 x 1024 + 2 x (1024 + 1024) + 3 x (1024 + 4096)) = 753664 parameters."""
    assert adapter_share(DENSE, 2) == pytest.approx(753664 / DENSE.parameters)
    assert adapter_share(DENSE, 0) == 1.0


def model(folder: Path, header: dict[str, Any], **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    shape = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 16}
    (folder / "config.json").write_text(json.dumps({"text_config": {**shape, "vocab_size": 10, **config}}))
    return folder


def tensor(*shape: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [0, 0]}


def test_a_folder_is_counted(tmp_path: Path) -> None:
    header = {"__metadata__": {}, "model.visual.a": tensor(3, 4), "model.b": tensor(5), "lm_head.weight": tensor(10, 8)}
    found = read_folder(model(tmp_path / "m", header, num_experts=4, moe_intermediate_size=6, num_experts_per_tok=2))
    assert (found.parameters, found.vision, found.tied) == (97, 12, False)
    assert (found.experts, found.active_width, found.head_dim, found.kv_heads) == (4, 12, 2, 4)
    assert model_size(str(tmp_path / "m")) == found


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no .*safetensors file to count"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"abc"), "is not a safetensors file"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 9), "is not a safetensors file"),
        (lambda folder: model(folder, {"a": tensor(1)}, vocab_size=0), "vocab_size=0; a positive number"),
    ],
)
def test_a_folder_that_is_no_model(tmp_path: Path, break_it: Any, message: str) -> None:
    folder = model(tmp_path / "m", {"a": tensor(1)})
    break_it(folder)
    with pytest.raises(ConfigError, match=message):
        read_folder(folder)


def test_an_unknown_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=r"size of nobody/nothing is not known.*type hf download nobody/nothing"):
        model_size("nobody/nothing")
    with pytest.raises(ConfigError, match="is not known"):
        model_size("a/b/c//d")
