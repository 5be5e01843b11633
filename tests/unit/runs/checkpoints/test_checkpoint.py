# SPDX-License-Identifier: Apache-2.0
"""Which folder is a whole checkpoint, and what is said of every other one."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from medix_verl.errors import DataError
from medix_verl.runs.checkpoints.checkpoint import find_checkpoint


def save(run: Path, step: int, ranks: int = 2, latest: bool = True) -> Path:
    """A checkpoint of FSDP as verl writes it, with archives in the place of weights; returns the actor's folder."""
    actor = run / f"global_step_{step}" / "actor"
    (actor / "huggingface").mkdir(parents=True)
    (actor / "huggingface" / "config.json").write_text("{}")
    (actor / "huggingface" / "tokenizer.json").write_text("{}")
    (actor / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": ranks}))
    for rank in range(ranks):
        with zipfile.ZipFile(actor / f"model_world_size_{ranks}_rank_{rank}.pt", "w") as archive:
            archive.writestr("data", "x" * 100)
    if latest:
        (run / "latest_checkpointed_iteration.txt").write_text(str(step))
    return actor


def save_megatron(run: Path, step: int = 3, peft: bool = False) -> Path:
    actor = run / f"global_step_{step}" / "actor"
    model = actor / "model" / "huggingface"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "tokenizer_config.json").write_text("{}")
    (actor / "ckpt_contents.json").write_text(json.dumps({"world_size": 8, "backend": {"peft": peft}}))
    return actor


@pytest.mark.parametrize("place", ["", "global_step_7", "global_step_7/actor"])
def test_each_of_the_three_folders_will_do(tmp_path: Path, place: str) -> None:
    save(tmp_path, 5)
    actor = save(tmp_path, 7)
    found = find_checkpoint(tmp_path / place)
    assert (found.actor, found.run, found.step, found.backend, found.ranks) == (actor, tmp_path, 7, "fsdp", 2)
    assert found.bytes == sum(path.stat().st_size for path in actor.glob("*.pt"))


def test_the_folder_above_checkpoints_will_do(tmp_path: Path) -> None:
    actor = save(tmp_path / "checkpoints", 7)
    assert find_checkpoint(tmp_path).actor == actor
    (tmp_path / "other" / "checkpoints").mkdir(parents=True)
    with pytest.raises(DataError, match="checkpoints holds no checkpoint"):
        find_checkpoint(tmp_path / "other")


def test_of_a_run_the_last_finished_step_is_taken(tmp_path: Path) -> None:
    save(tmp_path, 5)
    save(tmp_path, 10, latest=False)
    assert find_checkpoint(tmp_path).step == 5
    (tmp_path / "latest_checkpointed_iteration.txt").unlink()
    save(tmp_path, 9, latest=False)
    assert find_checkpoint(tmp_path).step == 10


def test_an_actor_that_was_copied_away_has_no_step(tmp_path: Path) -> None:
    save(tmp_path / "run", 5).rename(tmp_path / "copy")
    found = find_checkpoint(tmp_path / "copy")
    assert (found.run, found.step) == (None, None)


def test_an_adapter_is_seen(tmp_path: Path) -> None:
    (save(tmp_path, 5) / "lora_train_meta.json").write_text("{}")
    assert find_checkpoint(tmp_path).lora


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run, actor: (actor / "fsdp_config.json").unlink(), "there is no .*fsdp_config.json: the run ended"),
        (lambda run, actor: (actor / "fsdp_config.json").write_text('{"wor'), "is not JSON"),
        (lambda run, actor: (actor / "fsdp_config.json").write_text("[]"), "is not a JSON object"),
        (lambda run, actor: (actor / "fsdp_config.json").write_text("{}"), "gives no world_size"),
        (lambda run, actor: (actor / "model_world_size_2_rank_1.pt").unlink(), r"lacks 1 of 2 ranks' files \(model_w"),
        (lambda run, actor: (actor / "model_world_size_2_rank_1.pt").write_bytes(b"PK\3\4"), "is cut off at 4 bytes"),
        (lambda run, actor: (actor / "huggingface" / "config.json").unlink(), "has no config.json"),
        (lambda run, actor: (actor / "huggingface" / "tokenizer.json").unlink(), "has no tokenizer"),
        (
            lambda run, actor: (run / "latest_checkpointed_iteration.txt").write_text("6"),
            "step '6', and .* here are 5;",
        ),
    ],
)
def test_what_is_half_written_is_refused(tmp_path: Path, change: object, message: str) -> None:
    change(tmp_path, save(tmp_path, 5))  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        find_checkpoint(tmp_path)


def test_a_rank_cut_off_in_its_middle_is_refused(tmp_path: Path) -> None:
    shard = save(tmp_path, 5) / "model_world_size_2_rank_0.pt"
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(DataError, match="is cut off"):
        find_checkpoint(tmp_path)


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder .*nowhere; give a run's folder"):
        find_checkpoint(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no checkpoint"):
        find_checkpoint(tmp_path)
    (tmp_path / "global_step_4").mkdir()
    with pytest.raises(DataError, match="has no folder `actor`"):
        find_checkpoint(tmp_path / "global_step_4")
    (tmp_path / "global_step_4" / "actor").mkdir()
    with pytest.raises(DataError, match="holds neither FSDP nor Megatron"):
        find_checkpoint(tmp_path)


def test_a_model_needs_no_export(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DataError, match="is a model, .* type: medix-verl evaluate"):
        find_checkpoint(tmp_path)


def test_megatron_shards_and_megatron_weights_of_the_bridge(tmp_path: Path) -> None:
    actor = save_megatron(tmp_path)
    with pytest.raises(DataError, match="has no weights; save them"):
        find_checkpoint(tmp_path)
    (actor / "model" / "huggingface" / "model.safetensors").write_bytes(b"x")
    assert find_checkpoint(tmp_path).merged
    (actor / "model" / "dist_ckpt").mkdir()
    (actor / "model" / "dist_ckpt" / "__0_0.distcp").write_bytes(b"xx")
    found = find_checkpoint(actor)
    assert (found.backend, found.ranks, found.merged, found.bytes) == ("megatron", 8, False, 2)


def test_megatron_without_its_last_file_with_an_adapter_or_of_the_old_layout(tmp_path: Path) -> None:
    (save_megatron(tmp_path / "a") / "ckpt_contents.json").unlink()
    with pytest.raises(DataError, match="which verl writes last: half-written"):
        find_checkpoint(tmp_path / "a")
    save_megatron(tmp_path / "b", peft=True)
    with pytest.raises(DataError, match="LoRA adapter in Megatron's own shards"):
        find_checkpoint(tmp_path / "b")
    (tmp_path / "c" / "global_step_1" / "actor" / "dist_ckpt").mkdir(parents=True)
    with pytest.raises(DataError, match="old Megatron layout"):
        find_checkpoint(tmp_path / "c")
