# SPDX-License-Identifier: Apache-2.0
"""Every recipe and every allowed combination composes with verl's real configuration and would be accepted by verl.

Recipes and overlays are found, not listed, so that none is forgotten. `make test` composes each recipe, each overlay
and lists that have every pair between them; `make long` composes each recipe with every set of overlays, and each with
every algorithm, engine and one overlay more.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from helpers.places import ROOT
from helpers.recipes import composed
from medix_verl.cli.main import main
from medix_verl.cli.recipe.recipe import tables
from medix_verl.errors import ConfigError
from medix_verl.recipe.compose import booking, changes, complete, compose_recipes
from medix_verl.recipe.heads import PPO, check_list, trainer_of
from medix_verl.recipe.index import recipe_heads
from medix_verl.recipe.own import begin
from medix_verl.recipe.plan.estimate import plan_checks
from medix_verl.recipe.plan.from_recipe import plan_of
from medix_verl.recipe.validate import check, faults, unknown_keys
from medix_verl.rewards.spec import RewardSpec
from medix_verl.runs.compose import compose_record
from medix_verl.runs.record import write_record

pytestmark = pytest.mark.timeout(900)
HEADS = {name: head for name, head in recipe_heads().items() if trainer_of(name, recipe_heads()) == PPO}
"""Those for reinforcement learning; see test_sft.py for the others."""
RECIPES = [name for name, head in HEADS.items() if not head.is_overlay and not head.is_part]
OVERLAYS = [name for name, head in HEADS.items() if head.is_overlay]
ALGORITHMS = [name for name in OVERLAYS if HEADS[name].instead_of]
ENGINES = ["medix_megatron", "medix_sglang"]
OTHERS = [name for name in OVERLAYS if name not in ALGORITHMS]
LAST = "medix_debug"
"""The overlay that its head calls the last of a list."""
MODELS = ("2B", "4B", "E4B", "7B", "8B", "30B", "9B", "27B", "135M", "tiny")
LOSSES = {
    **{"DAPO": ("vanilla", True), "GRPO": ("vanilla", False), "GSPO": ("gspo", False), "GDPO": ("vanilla", True)},
    "distillation": ("vanilla", False),
}


def with_typed(names: str, words: list[str]) -> DictConfig:
    """The composed recipe with further keys, without composing it again."""
    open_to_new_keys = composed(names).copy()
    OmegaConf.set_struct(open_to_new_keys, False)
    typed = OmegaConf.from_dotlist([word.lstrip("+") for word in words])
    return DictConfig(OmegaConf.merge(open_to_new_keys, typed))


def allowed(names: list[str]) -> bool:
    try:
        check_list(names, HEADS)
    except ConfigError:
        return False
    return True


def in_order(names: Iterable[str]) -> list[str]:
    """Recipe first, then the algorithm, and the overlay that is the last of a list behind the others."""
    return sorted(names, key=lambda name: (name in OVERLAYS, name in OTHERS, name == LAST, name))


def subsets(overlays: list[str]) -> list[tuple[str, ...]]:
    return [found for size in range(len(overlays) + 1) for found in itertools.combinations(overlays, size)]


def pairs_of(names: Iterable[str]) -> set[frozenset[str]]:
    """What stands beside what in a list: recipe and overlay, overlay and overlay."""
    return {frozenset(pair) for pair in itertools.combinations(names, 2)}


def all_pairs() -> set[frozenset[str]]:
    """Every recipe with every overlay, and every two overlays, that some list may have."""
    return {
        frozenset(pair)
        for recipe in RECIPES
        for size in (1, 2)
        for found in itertools.combinations(OVERLAYS, size)
        if allowed(in_order([recipe, *found]))
        for pair in itertools.combinations([recipe, *found], 2)
    }


def covering() -> list[list[str]]:
    """Lists that have every pair between them: each takes as many overlays as bring a new one."""
    missing, lists = all_pairs(), []
    while missing:
        first = sorted(min(missing, key=sorted))
        recipe = next(
            recipe
            for recipe in RECIPES
            if (recipe in first or not set(first) & set(RECIPES)) and allowed(in_order({recipe, *first}))
        )
        names = {recipe, *first}
        for overlay in OVERLAYS:
            if overlay not in names and (pairs_of({*names, overlay}) - pairs_of(names)) & missing:
                names |= {overlay} if allowed(in_order({*names, overlay})) else set()
        lists.append(in_order(names))
        missing -= pairs_of(names)
    return lists


ALONE = [[name] for name in RECIPES] + [complete([name]) for name in OVERLAYS]
TOGETHER = covering()


def test_all_are_found() -> None:
    folder = ROOT / "recipes" / "recipe"
    assert {path.stem for path in folder.glob("*.yaml")} <= set(recipe_heads())
    assert len(RECIPES) >= 14 and len(OVERLAYS) >= 16 and len(ALGORITHMS) == 4


@pytest.mark.parametrize("names", ALONE, ids=",".join)
def test_each_recipe_and_each_overlay(names: list[str]) -> None:
    config = composed(",".join(names))
    assert faults(config) == []
    assert unknown_keys(config) == [], "a key that verl does not have would be carried along and do nothing"


@pytest.mark.parametrize("names", ALONE, ids=",".join)
def test_each_is_estimated_to_fit_80_gib(names: list[str]) -> None:
    config = composed(",".join(names))
    if config.trainer.device != "cpu":
        found = list(plan_checks(plan_of(config, 80.0)))
        has_reference = bool(config.actor_rollout_ref.actor.use_kl_loss or config.algorithm.use_kl_in_reward)
        assert len(found) == 5 + has_reference and [check for check in found if check.status == "FAIL"] == []


@pytest.mark.parametrize(
    ("overlay", "update"), [("medix_megatron", "FAIL"), ("medix_judge_verl", "ok"), ("medix_async_separate", "warn")]
)
def test_the_largest_model_with_fewer_gpus_to_train_on(overlay: str, update: str) -> None:
    """The update is what may not fit one node; on two nodes all of it does."""
    one, two = (
        {check.name: check.status for check in plan_checks(plan_of(composed(names), 80.0))}
        for names in (f"medix_30b,{overlay}", f"medix_30b,{overlay},medix_multinode")
    )
    assert one.pop("update") == update and "FAIL" not in {*one.values(), *two.values()}


@pytest.mark.parametrize("names", TOGETHER, ids=",".join)
def test_every_pair(names: list[str]) -> None:
    assert faults(compose_recipes(names)) == []


def test_the_reward_alone_on_a_configuration_of_ones_own() -> None:
    """verl's model, data and algorithm stay, `reward.medix.*` can be set, and a critic is the user's own business."""
    words = ["reward.medix.judge.kind=rule", "algorithm.adv_estimator=gae", "actor_rollout_ref.rollout.name=vllm"]
    config = compose_recipes(["medix_reward"], [*words, "actor_rollout_ref.actor.use_dynamic_bsz=true"])
    found = {key for key in changes(compose_recipes(()), config) if not key.startswith(("reward.", "medix."))}
    assert found == {word.split("=")[0] for word in words[1:]} - {"algorithm.adv_estimator"} | {
        "actor_rollout_ref.actor.use_dynamic_bsz"
    }
    assert [fault for fault in faults(config) if "critic" in fault or "reward" in fault] == []
    assert check("medix_reward") == []
    assert check("medix_reward", ["reward.medix.judge.kind=opnai"])[0].endswith("did you mean 'openai'?")


def test_no_pair_is_missing() -> None:
    assert set().union(*map(pairs_of, TOGETHER)) == all_pairs()
    assert {frozenset(pair) for pair in itertools.product(["medix_2b", "medix_30b"], ALGORITHMS)} <= all_pairs()


def refused(lists: Iterable[list[str]]) -> dict[str, list[str]]:
    """Lists that their heads allow and that would not run -> why."""
    tried = {",".join(names): names for names in map(in_order, lists) if allowed(in_order(names))}
    assert tried
    return {text: found for text, names in tried.items() if (found := faults(compose_recipes(names)))}


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("recipe", RECIPES)
def test_all_combinations(recipe: str) -> None:
    assert refused([recipe, *found] for found in subsets(OTHERS)) == {}


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if HEADS[recipe].columns[2] != "CPU"])
def test_every_algorithm_with_every_engine_and_one_overlay_more(recipe: str) -> None:
    more = [(), *((name,) for name in OTHERS if name not in ENGINES)]
    assert (
        refused(
            [recipe, algorithm, *engines, *overlay]
            for algorithm in ALGORITHMS
            for engines in subsets(ENGINES)
            for overlay in more
        )
        == {}
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("recipe", ["medix_2b", "medix_7b", "medix_gdpo", "medix_8b_grpo"])
def test_an_algorithm_is_all_of_itself_on_whatever_comes_before(recipe: str, algorithm: str) -> None:
    """Whatever algorithm the recipe has: nothing of it is left, but for weights that only GDPO reads."""
    plain, put = composed(f"medix,{algorithm}"), composed(f"{recipe},{algorithm}")
    keys = {*changes(plain, put)} - {*changes(composed("medix"), composed("medix_2b"))}
    keys -= {"data.image_patch_size", "algorithm.gdpo_reward_weights"}
    keys -= {f"actor_rollout_ref.actor.{key}" for key in ("kl_loss_coef", "kl_loss_type") if algorithm != "medix_grpo"}
    assert keys == set()
    assert put.trainer.experiment_name == f"medix_{put.medix.model}_{HEADS[algorithm].columns[0].lower()}"


def test_dapo_is_what_the_recipe_has() -> None:
    assert changes(composed("medix"), composed("medix,medix_dapo")) == {}


def test_names_of_runs_are_as_they_were() -> None:
    names = {recipe: composed(recipe).trainer.experiment_name for recipe in RECIPES}
    assert {recipe: names[recipe] for recipe in NAMES} == NAMES
    assert len(set(names.values())) == len(names), "two recipes would go on from each other's checkpoints"


NAMES = {
    "medix": "medix_8b_dapo",
    "medix_2b": "medix_2b_dapo",
    "medix_30b": "medix_30b_dapo",
    "medix_7b": "medix_7b_gspo",
    "medix_8b_grpo": "medix_8b_grpo",
    "medix_8b_gspo": "medix_8b_gspo",
    "medix_cpu": "medix_cpu",
    "medix_gdpo": "medix_8b_gdpo",
    "medix_qwen3_5": "medix_qwen3_5_dapo",
    "medix_text": "medix_text_8b_dapo",
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_sglang_with_every_recipe(recipe: str) -> None:
    if HEADS[recipe].columns[2] == "CPU":
        assert not allowed([recipe, "medix_sglang"])
        return
    config = composed(f"{recipe},medix_sglang")
    assert config.actor_rollout_ref.rollout.name == config.reward.reward_model.rollout.name == "sglang"
    assert faults(config) == [] and unknown_keys(config) == []
    # By the key alone as well, which is how verl's own documents have it.
    assert faults(with_typed(recipe, ["actor_rollout_ref.rollout.name=sglang"])) == []


@pytest.mark.parametrize(
    ("names", "typed", "fits"),
    [
        ("medix_2b,medix_1gpu", [], True),
        ("medix_2b,medix_gspo,medix_1gpu", [], True),
        ("medix_4b,medix_1gpu", [], False),
        ("medix_4b,medix_1gpu", ["actor_rollout_ref.actor.fsdp_config.offload_policy=true"], True),
    ],
)
def test_one_gpu_of_24_gib(names: str, typed: list[str], fits: bool) -> None:
    found = list(plan_checks(plan_of(with_typed(names, typed), 24.0)))
    assert ([check for check in found if check.status == "FAIL"] == []) is fits
    if not fits:
        assert "actor_rollout_ref.actor.fsdp_config.offload_policy=true" in found[0].todo


def test_pictures_are_sized_by_what_the_model_knows() -> None:
    for names in ("medix_gemma4", "medix_gemma4,medix_1gpu", "medix_gemma4,medix_debug"):
        assert composed(names).data.mm_processor_kwargs is None, "min_pixels and max_pixels are Qwen's"
    assert composed("medix_2b,medix_1gpu").data.mm_processor_kwargs == {"min_pixels": 262144, "max_pixels": 1048576}
    assert composed("medix,medix_debug").data.mm_processor_kwargs == {"min_pixels": 4096, "max_pixels": 262144}


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_table_says_what_is_composed(recipe: str) -> None:
    config = composed(recipe)
    model, algorithm, gpus, _ = HEADS[recipe].columns
    if gpus != "CPU":
        assert config.actor_rollout_ref.model.path.split("/")[-1] == model
        assert booking(config).node * booking(config).nodes == int(gpus)
    assert any(size in model for size in MODELS)
    filtered = config.algorithm.filter_groups.enable
    assert (config.actor_rollout_ref.actor.policy_loss.loss_mode, filtered) == LOSSES[algorithm]
    assert (config.algorithm.adv_estimator == "medix_gdpo") is (algorithm == "GDPO")
    assert config.actor_rollout_ref.actor.use_kl_loss is (algorithm == "GRPO" and gpus != "CPU")


def test_the_judge_fits_one_node_of_eight() -> None:
    book = booking(composed("medix,medix_judge_verl"))
    assert (book.train, book.judge, book.node) == (6, 2, 8)
    more = booking(compose_recipes(["medix", "medix_judge_verl", "medix_multinode"]))
    assert (more.node, more.nodes) == (8, 2)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["actor_rollout_ref.actor.ppo_mini_batch_size=127"], "635 answers does not divide among 8 ranks"),
        (["data.train_batch_size=500"], "is not a multiple of actor.ppo_mini_batch_size=128"),
        (["actor_rollout_ref.rollout.max_model_len=8000"], "is less than prompt and response, 8448; raise it"),
        (["actor_rollout_ref.actor.ppo_max_token_len_per_gpu=8000"], "room for 8000 tokens, one text may have 8448"),
        (["actor_rollout_ref.rollout.tensor_model_parallel_size=3"], "=3 does not divide 8 GPUs"),
        (["reward.medix.judge.kind=verl"], "add recipe medix_judge_verl"),
        (["algorithm.adv_estimator=gae"], "verl would train a critic"),
        (["reward.medix.weights.judge=-1"], "weights.judge"),
        (["+reward.medix.jugde=1"], "jugde"),
        (["+actor_rollout_ref.actor.clip=1"], "actor_rollout_ref.actor: TypeError"),
        (["actor_rollout_ref.actor.loss_agg_mode=mean"], "Invalid loss_agg_mode"),
        (["algorithm.filter_groups.metric=score"], "is the composite"),
    ],
)
def test_what_would_fail_hours_later_is_said(overrides: list[str], message: str) -> None:
    assert any(message in fault for fault in faults(with_typed("medix", overrides)))


@pytest.mark.parametrize(
    ("names", "override", "message"),
    [
        ("medix,medix_judge_verl", "reward.reward_model.rollout.free_cache_engine=true", "to sleep for ever"),
        ("medix,medix_judge_verl", "reward.reward_model.rollout.tensor_model_parallel_size=4", "2 GPUs a node do not"),
        ("medix,medix_megatron", "trainer.n_gpus_per_node=7", "do not divide into Megatron's parallel sizes"),
        ("medix_30b,medix_megatron", "medix.expert_parallel=3", "do not divide into Megatron's parallel sizes"),
        ("medix,medix_async_separate", "data.train_batch_size=256", "separate_async wants"),
    ],
)
def test_placements_that_do_not_fit_are_said(names: str, override: str, message: str) -> None:
    assert any(message in fault for fault in faults(with_typed(names, [override])))


PANEL = (
    "reward.medix.judge.panel=[{model:a},{model:b,url:[http://127.0.0.1:1/v1,http://127.0.0.1:2/v1]},"
    "{kind:verl,model:c,max_concurrent:8}]"
)


def test_a_panel_is_typed_on_the_command_line() -> None:
    config = compose_recipes(["medix", "medix_judge_verl"], [PANEL, "reward.medix.judge.kind=openai"])
    assert faults(config) == [] and unknown_keys(config) == []
    block: Any = OmegaConf.to_container(config.reward.medix, resolve=True)
    members = RewardSpec.from_mapping(block).judge.members
    assert [(one.kind, one.model, len(one.urls), one.max_concurrent) for one in members] == [
        ("openai", "a", 0, 256),
        ("openai", "b", 2, 256),
        ("verl", "c", 0, 8),
    ]
    # Without the overlay nothing serves the third one.
    alone = faults(compose_recipes(["medix"], [PANEL]))
    assert len(alone) == 1 and "add recipe medix_judge_verl" in alone[0]
    twice = faults(compose_recipes(["medix"], ["reward.medix.judge.panel=[{model:a},{model:a}]"]))
    assert len(twice) == 1 and "judge.panel[0] and judge.panel[1] are the same judge" in twice[0]


def test_a_judge_that_sees_pictures_is_typed_on_the_command_line() -> None:
    words = ["reward.medix.judge.images=true", "reward.medix.judge.prompt=pictures"]
    assert faults(compose_recipes(["medix"], words)) == []
    blind = faults(compose_recipes(["medix"], [*words, "reward.medix.judge.kind=rule"]))
    assert len(blind) == 1 and "which sees no picture" in blind[0]


def test_a_key_that_verl_does_not_have_is_seen() -> None:
    config = with_typed("medix", ["+trainer.v1.sampler.sampler_kwargs.x=1", "+trainer.nodes=2", "+data.medix.y=1"])
    assert unknown_keys(config) == ["trainer.nodes"]


def test_an_engine_takes_any_key_of_its_own_and_a_wrong_engine_none() -> None:
    """verl hands them to the engine's arguments as they are."""
    place = "++actor_rollout_ref.rollout.engine_kwargs"
    config = with_typed("medix", [f"{place}.vllm.block_size=32", f"{place}.vlm.block_size=32"])
    assert unknown_keys(config) == ["actor_rollout_ref.rollout.engine_kwargs.vlm.block_size"]


def test_errors_of_composition_are_one_line() -> None:
    with pytest.raises(ConfigError, match="medix does not compose: .*no_such_key"):
        compose_recipes(["medix"], ["trainer.no_such_key=1"])
    with pytest.raises(ConfigError, match="'medx' is none of the recipes"):
        compose_recipes(["medx"])


def test_the_published_recipe_differs_only_in_its_reward() -> None:
    found: dict[str, Any] = changes(composed("medix"), composed("medix_paper"))
    assert set(found) == {
        "reward.medix.rule", "reward.medix.judge.prompt", "reward.medix.judge.show_question",
        "reward.medix.semantic.contrast", "medix.model",
    }  # fmt: skip


def test_the_semantic_term_stops_contradictions_but_as_published() -> None:
    for recipe in RECIPES:
        section = composed(recipe).reward.medix
        assert RewardSpec.from_mapping(OmegaConf.to_container(section, resolve=True)).semantic.contrast is (
            recipe != "medix_paper"
        )


def test_gdpo_with_the_published_rule_is_refused() -> None:
    """In a short text without tags, which that rule scores, terms would share a token: all would count as one."""
    (fault,) = faults(compose_recipes(["medix_gdpo"], ["+reward.medix.rule=published"]))
    assert "reward.medix.rule=published with medix_gdpo" in fault and "type reward.medix.rule=medix, or" in fault
    published = compose_recipes(["medix_paper"], ["algorithm.adv_estimator=medix_gdpo",
                                "trainer.v1.sampler.sampler_kwargs.split_terms=true"])  # fmt: skip
    assert "reward.medix.rule=published with medix_gdpo" in " ".join(faults(published))
    assert faults(compose_recipes(["medix_gdpo"], ["+reward.medix.rule=medix"])) == []


def test_the_readme_has_the_tables() -> None:
    readme = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
    assert tables(recipe_heads().values()) in readme, "paste what `medix-verl recipe list --markdown` prints"


def test_a_new_recipe_is_sound_and_a_wrong_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDIX_RECIPES", raising=False)
    path = begin("ours", "medix_2b", tmp_path)
    assert check(str(path)) == []
    child = path.with_name("child.yaml")
    child.write_text("# @package _global_\ndefaults:\n  - ours\n  - _self_\ntrainer: {nodes: 2, n_gpus_per_node: 7}\n")
    found = check(str(child))
    assert any("answers does not divide among 7 ranks" in line for line in found)
    assert found[-1] == "trainer.nodes: verl has no such key; fix or remove it"
    assert "MEDIX_RECIPES" not in os.environ


def test_show_diff_and_check_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "diff", "medix", "medix_8b_grpo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "actor_rollout_ref.actor.use_kl_loss: false -> true" in lines and len(lines) == 5
    assert main(["recipe", "show", "medix_lora"]) == 0
    shown = capsys.readouterr().out
    assert "python -m verl.trainer.main_ppo +recipe=[medix,medix_lora]" in shown
    assert "actor_rollout_ref.model.lora_rank=64" in shown and "GPUs: 1 x (8 train, 0 generate, 0 judge)" in shown
    assert main(["recipe", "check", "medix_cpu"]) == 0
    assert main(["recipe", "show", "medix_cpu", "--full"]) == 0
    assert "model_engine: dp" in capsys.readouterr().out


def test_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--recipe", "medix,medix_judge_verl", "--gpus", "8", "--gpu-memory", "80"]) == 0
    shown = capsys.readouterr().out
    assert "1 x (6 train, 2 judge, 0 generate)" in shown and "2 a node, each weights 7.5" in shown
    assert main(["doctor", "--recipe", "medix_30b", "--gpus", "4", "--gpu-memory", "40"]) == 1
    assert "actor_rollout_ref.actor.ppo_max_token_len_per_gpu lower" in capsys.readouterr().out
    assert main(["doctor", "--recipe", "medix,medix_judge_verl", "--gpus", "2", "--gpu-memory", "80"]) == 1
    assert "a judge elsewhere (no medix_judge_verl, and reward.medix.judge.url=" in capsys.readouterr().out
    assert main(["doctor", "--recipe", "medix_cpu", "--gpu-memory", "80"]) == 1
    assert "medix_cpu trains on the CPU" in capsys.readouterr().err


def test_a_plan_knows_what_is_typed(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["doctor", "--recipe", "medix", "--gpus", "8", "--gpu-memory", "80"]
    typed = ["actor_rollout_ref.rollout.tensor_model_parallel_size=4", "trainer.n_gpus_per_node=4", "trainer.nnodes=2"]
    assert main([*words, *typed]) == 0
    shown = capsys.readouterr().out
    assert "2 x (8 train" in shown and "weights 4.1 + cache" in shown and "trainer.nnodes=2" in shown


def test_what_a_plan_advises_can_be_typed() -> None:
    half = plan_of(compose_recipes(["medix"], ["++medix.model_dtype=bf16"]), 80.0)
    assert half.engine.bytes_per_weight == 2
    spread = plan_of(compose_recipes(["medix_30b", "medix_megatron"], ["++medix.expert_parallel=4"]), 80.0)
    assert spread.engine.expert == 4


def test_a_section_that_was_empty_is_told_by_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "show", "medix"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "data.mm_processor_kwargs.min_pixels=${oc.select:medix.min_pixels,262144}" in lines
    assert not any(
        line.startswith(("data.mm_processor_kwargs=", "trainer.v1.sampler.sampler_kwargs=")) for line in lines
    )
    found = changes(DictConfig({"a": {}, "b": {"c": 1}}), DictConfig({"a": {"x": 1}, "b": {}}))
    assert found == {"a.x": (None, 1), "b.c": (1, None)}


def test_a_plan_without_dynamic_batches() -> None:
    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    words = [f"{actor}.use_dynamic_bsz=false", f"{actor}.ppo_micro_batch_size_per_gpu=2"]
    words += [f"{rollout}.log_prob_use_dynamic_bsz=false", f"{rollout}.log_prob_micro_batch_size_per_gpu=3"]
    found = plan_of(with_typed("medix", words), 80.0).training
    assert (found.tokens, found.probability_tokens) == (2 * 8448, 3 * 8448)
    found = plan_of(composed("medix"), 80.0).training
    assert (found.tokens, found.probability_tokens) == (16896, 33792)
    halved = with_typed("medix", [*words, f"{actor}.ulysses_sequence_parallel_size=2"])
    assert plan_of(halved, 80.0).training.tokens == 8448


def test_a_run_whose_recipe_has_changed_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe" / "ours.yaml"
    recipe.parent.mkdir()
    text = "# @package _global_\ndefaults: [medix, _self_]\nactor_rollout_ref: {actor: {optim: {lr: 3.0e-6}}}\n"
    recipe.write_text(text)
    monkeypatch.setenv("MEDIX_RECIPES", str(tmp_path))
    words = ["+recipe=ours", "trainer.total_epochs=2"]
    write_record(compose_record(compose_recipes((), words), words, {}), tmp_path / "run")
    assert main(["recipe", "show", str(tmp_path / "run")]) == 0
    assert "has changed since" not in capsys.readouterr().out
    recipe.write_text(text.replace("3.0e-6", "1.0e-6"))
    assert main(["recipe", "show", str(tmp_path / "run")]) == 0
    assert "`--full`: actor_rollout_ref.actor.optim.lr: 3e-06 -> 1e-06\n" in capsys.readouterr().out
    recipe.write_text(text + "nothing_here: ${no.such.key}\n")
    assert main(["recipe", "show", str(tmp_path / "run")]) == 0
    assert "the run's own values are in `--full`" in capsys.readouterr().out
    recipe.write_text(text.replace("medix,", "no_such_recipe,"))
    assert main(["recipe", "show", str(tmp_path / "run")]) == 0
    assert "does not compose any more: " in capsys.readouterr().out
