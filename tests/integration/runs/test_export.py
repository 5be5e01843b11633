# SPDX-License-Identifier: Apache-2.0
"""A checkpoint becomes a model: verl's merger for real, on checkpoints made here without a training."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medix_verl.cli.evaluate.run_model import model_word
from medix_verl.demo.build import COUNTS
from medix_verl.errors import ConfigError, DataError, SetupError
from medix_verl.evaluation.models.generation import GenerationSpec
from medix_verl.evaluation.models.source import Model
from medix_verl.evaluation.models.trained import as_trained
from medix_verl.runs.checkpoints.export import ExportSpec, export_checkpoint
from medix_verl.runs.checkpoints.merge_adapter import merge_adapter

pytestmark = pytest.mark.timeout(240)
SERVE = "--max-model-len 1024 --dtype float32 --enforce-eager"


def quiet(line: str) -> None:
    """Say nothing."""


def save(policy: Path, run: Path, step: int = 4, change: Callable[[dict[str, Any]], None] = lambda state: None) -> Path:
    """A checkpoint of one FSDP rank of this model, as verl lays it out."""
    import torch
    from transformers import AutoModelForImageTextToText

    actor = run / f"global_step_{step}" / "actor"
    shutil.copytree(policy, actor / "huggingface", ignore=shutil.ignore_patterns("*.safetensors"))
    (actor / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": 1}))
    state = AutoModelForImageTextToText.from_pretrained(policy).state_dict()
    change(state)
    torch.save(state, actor / "model_world_size_1_rank_0.pt")
    (run / "latest_checkpointed_iteration.txt").write_text(str(step))
    return actor


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: value.float() for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}


def test_the_model_has_the_checkpoints_weights(demo_folder: Path, tmp_path: Path) -> None:
    import torch

    def double(state: dict[str, Any]) -> None:
        state["model.language_model.norm.weight"] = state["model.language_model.norm.weight"] * 2

    save(demo_folder / "policy", tmp_path / "run", change=double)
    done = export_checkpoint(ExportSpec(tmp_path / "run", tmp_path / "out", 200), quiet)
    assert done.checkpoint.step == 4
    assert done.findings["pictures"] and done.findings["dtypes"] == ["bfloat16"]
    made, first = weights(tmp_path / "out"), weights(demo_folder / "policy")
    assert made.keys() == first.keys()
    for name, value in first.items():
        expected = value * 2 if name.endswith("language_model.norm.weight") else value
        assert torch.equal(made[name], expected.bfloat16().float()), name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


def test_a_runs_folder_is_a_model_and_is_asked_as_it_was_trained(demo_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    actor = save(demo_folder / "policy", run)
    (run / "medix_run.json").write_text(json.dumps({"config": {"data": {"medix": {"prompt": "medix_short"}}}}))
    model = model_word(str(run))
    assert model == str(run / "exported" / "global_step_4") and model_word(model) == model
    asked = as_trained(Model(model), None, "auto", GenerationSpec())
    assert (asked.template, asked.notes) == ("medix_short", ())
    made = (Path(model) / "config.json").stat().st_mtime_ns
    assert model_word(str(actor)) == model and (Path(model) / "config.json").stat().st_mtime_ns == made
    save_time = made / 1e9 + 5
    os.utime(actor / "model_world_size_1_rank_0.pt", (save_time, save_time))
    with pytest.raises(ConfigError, match="was exported before"):
        model_word(str(run))
    assert model_word("owner/name") == "owner/name" and model_word(str(tmp_path)) == str(tmp_path)


@pytest.mark.long
def test_a_missing_tensor_and_one_that_is_no_number_are_found(demo_folder: Path, tmp_path: Path) -> None:
    def lose(state: dict[str, Any]) -> None:
        del state["model.language_model.layers.0.mlp.up_proj.weight"]

    def spoil(state: dict[str, Any]) -> None:
        state["model.language_model.norm.weight"][3] = float("nan")

    save(demo_folder / "policy", tmp_path / "lost", change=lose)
    save(demo_folder / "policy", tmp_path / "spoilt", change=spoil)
    with pytest.raises(DataError, match=r"lacks tensors of its class \(.*layers.0.mlp.up_proj.weight\)"):
        export_checkpoint(ExportSpec(tmp_path / "lost", tmp_path / "out", 200), quiet)
    with pytest.raises(DataError, match=r"values that are not numbers.*\(.*language_model.norm.weight\)"):
        export_checkpoint(ExportSpec(tmp_path / "spoilt", tmp_path / "out", 200), quiet)
    assert not (tmp_path / "out").exists()


def adapted(policy: Path, run: Path) -> Path:
    """A checkpoint of a LoRA training, as verl lays it out; its adapter is not zero."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    def adapt(state: dict[str, Any]) -> None:
        model = get_peft_model(
            AutoModelForImageTextToText.from_pretrained(policy),
            LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"]),
        )
        generator = torch.Generator().manual_seed(1)
        state.clear()
        for name, value in model.state_dict().items():
            is_second = "lora_B" in name
            state[name] = torch.randn(value.shape, generator=generator) * 0.1 if is_second else value

    actor = save(policy, run, change=adapt)
    (actor / "lora_train_meta.json").write_text('{"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM"}')
    return actor


@pytest.mark.long
def test_an_adapter_is_put_into_the_weights(demo_folder: Path, tmp_path: Path) -> None:
    """verl's merger leaves it beside them, and a server would then serve the base model."""
    import torch

    actor = adapted(demo_folder / "policy", tmp_path / "run")
    state = torch.load(actor / "model_world_size_1_rank_0.pt")
    done = export_checkpoint(ExportSpec(tmp_path / "run", tmp_path / "out", 200), quiet)
    assert done.checkpoint.lora
    made, first = weights(tmp_path / "out"), weights(demo_folder / "policy")
    place = "model.language_model.layers.0.self_attn.q_proj"
    key = f"base_model.model.{place}.lora_{{}}.default.weight"
    delta = 2.0 * state[key.format("B")] @ state[key.format("A")]
    assert float(delta.abs().max()) > 0.01
    torch.testing.assert_close(made[f"{place}.weight"], first[f"{place}.weight"] + delta, atol=0.01, rtol=0.02)
    untouched = "model.language_model.layers.0.self_attn.k_proj.weight"
    assert torch.equal(made[untouched], first[untouched].bfloat16().float())


@pytest.mark.long
def test_an_adapter_without_its_scale_is_refused(demo_folder: Path, tmp_path: Path) -> None:
    (adapted(demo_folder / "policy", tmp_path / "run") / "lora_train_meta.json").unlink()
    with pytest.raises(SetupError, match="lora_alpha is 0, so it would change nothing"):
        export_checkpoint(ExportSpec(tmp_path / "run", tmp_path / "out", 200), quiet)


@pytest.mark.long
def test_an_adapter_of_another_model_is_refused(tmp_path: Path, demo_folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    folder = tmp_path / "model"
    shutil.copytree(demo_folder / "policy", folder)
    (folder / "lora_adapter").mkdir()
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (folder / "lora_adapter" / "adapter_config.json").write_text(json.dumps(settings))
    key = "base_model.model.other.q_proj.lora_A.weight"
    save_file({key: torch.ones(2, 2)}, folder / "lora_adapter" / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="has no place for"):
        merge_adapter(folder)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_trained_checkpoint_is_served_scored_and_evaluated(
    train: Callable[..., Any], demo_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("inspect_ai")
    run = tmp_path / "run"
    done = train("trainer.total_training_steps=1", "trainer.save_freq=1", f"trainer.default_local_dir={run}")
    assert done.end.returncode == 0, done.log[-3000:]
    sets = tmp_path / "medqa"
    sets.mkdir()
    row = {"id": "test-00000", "sent1": "Which drug?", "sent2": "", "label": 1}
    row |= {f"ending{place}": f"drug {place}" for place in range(4)}
    (sets / "test.json").write_text(json.dumps(row) + "\n")
    words = [
        "--out",
        tmp_path / "model",
        "--card",
        "--prompt",
        "medix_short",
        "--max-tokens",
        40,
        f"--serve-args={SERVE}",
    ]
    words += [
        "--score",
        demo_folder / "data" / "val.parquet",
        "--evaluate",
        "medqa",
        f"--evaluate-args=--sources medqa={sets}",
    ]
    from helpers import outside

    words += ["--recipe", f"medix_cpu,{outside.RECIPE}"]
    ended = subprocess.run(
        [sys.executable, "-m", "medix_verl", "export", *map(str, [run, *words])],
        capture_output=True,
        text=True,
        env=outside.environment(outside.install(tmp_path / "lab")),
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ", brevity 0." in ended.stdout or ", brevity 1." in ended.stdout
    scores = [json.loads(line) for line in (tmp_path / "model.scores.jsonl").read_text().splitlines()]
    assert len(scores) == COUNTS["val"]
    assert all(line["brevity"] in (0.0, 1.0) and line["brevity_ok"] == 1 for line in scores)
    assert sum(line["format"] for line in scores) > 0.8 * COUNTS["val"]
    assert json.loads((tmp_path / "model.evaluation" / "eval.json").read_text())["finished"]
    card = (tmp_path / "model" / "README.md").read_text()
    assert "For research only" in card and "medix_cpu" in card and "step 1," in card
