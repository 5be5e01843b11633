# SPDX-License-Identifier: Apache-2.0
"""Every recipe and every allowed combination composes with verl's real configuration and would be accepted by verl.

Recipes and overlays are found, not listed, so that none is forgotten. `make test` composes each recipe, each overlay
and each pair of overlays; `make long` composes all combinations.
"""

from __future__ import annotations

import functools
import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from medix_verl.cli.composed import booking, changes, compose_recipes, faults, unknown_keys
from medix_verl.cli.main import main
from medix_verl.cli.plan_recipe import plan_of
from medix_verl.cli.planner import plan_checks
from medix_verl.cli.recipe import begin, check, tables
from medix_verl.errors import ConfigError
from medix_verl.recipe_heads import check_list
from medix_verl.recipes_index import recipe_heads
from medix_verl.runs.compose import compose_record
from medix_verl.runs.record import write_record

pytestmark = pytest.mark.timeout(900)
HEADS = recipe_heads()
RECIPES = [name for name, head in HEADS.items() if not head.is_overlay]
OVERLAYS = [name for name, head in HEADS.items() if head.is_overlay]
LAST = "medix_debug"
"""The overlay that its head calls the last of a list."""
MODELS = ("2B", "7B", "8B", "30B", "9B", "tiny")
LOSSES = {"DAPO": ("vanilla", True), "GRPO": ("vanilla", False), "GSPO": ("gspo", False), "GDPO": ("vanilla", True)}


@functools.cache
def composed(names: str) -> DictConfig:
    return compose_recipes(names.split(","))


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


def subsets() -> list[tuple[str, ...]]:
    return [found for size in range(len(OVERLAYS) + 1) for found in itertools.combinations(OVERLAYS, size)]


def largest() -> list[list[str]]:
    """Lists of overlays on `medix` to which no further overlay can be added, enough of them to have every pair."""
    lists = [["medix", *sorted(found, key=lambda name: name == LAST)] for found in reversed(subsets()) if found]
    chosen: list[list[str]] = []
    seen: set[frozenset[str]] = set()
    for names in filter(allowed, lists):
        pairs = {frozenset(pair) for pair in itertools.combinations(names[1:], 2)}
        if pairs - seen:
            chosen.append(names)
            seen |= pairs
    return chosen


ALONE = [[name] for name in RECIPES] + [["medix", name] for name in OVERLAYS]
TOGETHER = largest()


def test_all_are_found() -> None:
    folder = Path(__file__).parents[2] / "recipes" / "recipe"
    assert {path.stem for path in folder.glob("*.yaml")} <= set(HEADS)
    assert len(RECIPES) >= 11 and len(OVERLAYS) >= 9


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
        assert len(found) == 5 and [check for check in found if check.status == "FAIL"] == []


@pytest.mark.parametrize("overlay", ["medix_megatron", "medix_judge_verl", "medix_async_separate"])
def test_the_largest_model_takes_two_nodes_for_these(overlay: str) -> None:
    for names, fits in ((f"medix_30b,{overlay}", False), (f"medix_30b,{overlay},medix_multinode", True)):
        found = {check.name for check in plan_checks(plan_of(composed(names), 80.0)) if check.status == "FAIL"}
        assert found == (set() if fits else {"update"}), names


@pytest.mark.long
@pytest.mark.parametrize("names", TOGETHER, ids=",".join)
def test_many_overlays_at_once(names: list[str]) -> None:
    """Together these have every pair of overlays that may stand in one list."""
    assert faults(compose_recipes(names)) == []


def test_no_pair_is_missing() -> None:
    pairs = {frozenset(pair) for pair in itertools.combinations(OVERLAYS, 2) if allowed(["medix", *sorted(pair)])}
    seen = {frozenset(pair) for names in TOGETHER for pair in itertools.combinations(names[1:], 2)}
    assert pairs == seen


@pytest.mark.long
@pytest.mark.parametrize("recipe", RECIPES)
def test_all_combinations(recipe: str) -> None:
    lists = [[recipe, *sorted(found, key=lambda name: name == LAST)] for found in subsets()]
    refused = {
        ",".join(names): found for names in lists if allowed(names) and (found := faults(compose_recipes(names)))
    }
    assert refused == {}


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
    assert config.actor_rollout_ref.actor.use_kl_loss is (recipe == "medix_8b_grpo")


def test_the_judge_fits_one_node_of_eight() -> None:
    book = booking(composed("medix,medix_judge_verl"))
    assert (book.train, book.judge, book.node) == (6, 2, 8)
    more = booking(compose_recipes(["medix", "medix_judge_verl", "medix_multinode"]))
    assert (more.node, more.nodes) == (8, 2)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["actor_rollout_ref.actor.ppo_mini_batch_size=127"], "635 answers does not divide among 8 ranks"),
        (["data.train_batch_size=500"], "is no multiple of actor.ppo_mini_batch_size=128"),
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


def test_a_key_that_verl_does_not_have_is_seen() -> None:
    config = with_typed("medix", ["+trainer.v1.sampler.sampler_kwargs.x=1", "+trainer.nodes=2", "+data.medix.y=1"])
    assert unknown_keys(config) == ["trainer.nodes"]


def test_errors_of_composition_are_one_line() -> None:
    with pytest.raises(ConfigError, match="medix does not compose: .*no_such_key"):
        compose_recipes(["medix"], ["trainer.no_such_key=1"])
    with pytest.raises(ConfigError, match="'medx' is none of the recipes"):
        compose_recipes(["medx"])


def test_the_published_recipe_differs_only_in_its_reward() -> None:
    found: dict[str, Any] = changes(composed("medix"), composed("medix_paper"))
    assert set(found) == {
        "reward.medix.rule", "reward.medix.judge.prompt", "reward.medix.judge.show_question", "trainer.experiment_name"
    }  # fmt: skip


def test_the_readme_has_the_tables() -> None:
    readme = (Path(__file__).parents[2] / "recipes" / "README.md").read_text(encoding="utf-8")
    assert tables(HEADS.values()) in readme, "paste what `medix-verl recipe list --markdown` prints"


def test_a_new_recipe_is_sound_and_a_wrong_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDIX_RECIPES", raising=False)
    path = begin("ours", "medix_2b", tmp_path)
    assert check(str(path)) == []
    child = path.with_name("child.yaml")
    child.write_text("# @package _global_\ndefaults:\n  - ours\n  - _self_\ntrainer: {nodes: 2, n_gpus_per_node: 7}\n")
    found = check(str(child))
    assert any("answers does not divide among 7 ranks" in line for line in found)
    assert found[-1] == "trainer.nodes: verl has no such key; mend or remove it"
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
    assert "data.mm_processor_kwargs.min_pixels=262144" in lines
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
