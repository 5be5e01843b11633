# SPDX-License-Identifier: Apache-2.0
"""A checkpoint from somebody else runs nothing here: real pickles that write a file, in verl's own layout."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from medix_verl.cli.main import main
from medix_verl.errors import SetupError
from medix_verl.runs.checkpoints import export
from medix_verl.runs.checkpoints.export import ExportSpec, export_checkpoint
from medix_verl.runs.checkpoints.trust import Code

pytestmark = pytest.mark.timeout(240)
NORM = "model.language_model.norm.weight"
SHARD = "model_world_size_1_rank_0.pt"
RECORD = {"config": {"data": {"medix": {"prompt": "medix"}}}}


class Evil:
    """Writes a file when it is unpickled, and is a tensor then."""

    def __init__(self, mark: Path, size: int) -> None:
        self.words = f"(__import__('pathlib').Path({str(mark)!r}).touch(), __import__('torch').ones({size}))[1]"

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (self.words,)


def quiet(line: str) -> None:
    """Say nothing."""


def save(policy: Path, run: Path, mark: Path | None) -> Path:
    """A checkpoint of one rank, as verl lays it out; with a mark, one of its tensors is evil."""
    import torch
    from transformers import AutoModelForImageTextToText

    actor = run / "global_step_4" / "actor"
    shutil.copytree(policy, actor / "huggingface", ignore=shutil.ignore_patterns("*.safetensors"))
    (actor / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": 1}))
    state: dict[str, Any] = AutoModelForImageTextToText.from_pretrained(policy).state_dict()
    if mark is not None:
        state[NORM] = Evil(mark, len(state[NORM]))
    torch.save(state, actor / SHARD)
    (run / "latest_checkpointed_iteration.txt").write_text("4")
    return actor


def value(folder: Path, name: str) -> Any:
    from safetensors.torch import load_file

    return load_file(next(folder.glob("*.safetensors")))[name]


def test_a_pickle_that_calls_something_is_refused_and_runs_only_with_trust(
    demo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark, run, out = tmp_path / "mark", tmp_path / "run", tmp_path / "out"
    save(demo_folder / "policy", run, mark)
    assert main(["export", str(run), "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert "would run code while it is loaded (model_world_size_1_rank_0.pt: builtins.eval)" in said
    assert "there is no medix_run.json beside it" in said and "--out DIR --trust" in said
    assert not mark.exists() and sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    # A record is a file like the others: whoever makes the folder can write one.
    (run / "medix_run.json").write_text(json.dumps(RECORD))
    assert main(["evaluate", str(run), "--tasks", "medqa", "--out", str(tmp_path / "eval")]) == 1
    assert "the medix_run.json beside it proves nothing of that" in capsys.readouterr().err
    assert not mark.exists() and not (tmp_path / "eval").exists()
    assert main(["export", str(run), "--out", str(out), "--trust"]) == 0
    assert mark.exists() and float(value(out, NORM).min()) == 1.0
    assert "--trust: what" in capsys.readouterr().err


def old_pickle(actor: Path, mark: Path) -> None:
    """A pickle, and behind it a zip archive: by its beginning it is read as a pickle, by its end as an archive."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("archive/data.pkl", pickle.dumps({}, 2))
    (actor / SHARD).write_bytes(pickle.dumps(Evil(mark, 1), 2) + archive.getvalue())


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_torch_itself_refuses_what_was_not_seen_before(
    demo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """The looking through is a message; that torch makes tensors only is the guard."""
    mark, run = tmp_path / "mark", tmp_path / "run"
    actor = save(demo_folder / "policy", run, mark)
    if form == "pickle":
        old_pickle(actor, mark)
        with pytest.raises(SetupError, match=r"would run code while it is loaded \(.*no file of tensors alone"):
            export_checkpoint(ExportSpec(run, tmp_path / "out", 200), quiet)
    monkeypatch.setattr(export, "code_in", lambda *_: Code())
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(SetupError, match="verl's merger failed: .*"):
        export_checkpoint(ExportSpec(run, tmp_path / "out", 200), quiet)
    assert not mark.exists() and not (tmp_path / "out").exists()
    assert "Weights only load failed" in (tmp_path / "out.export.log").read_text()


SHARDED = """
import sys, torch, torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForImageTextToText
dist.init_process_group("gloo")
mesh = dist.init_device_mesh("cpu", (2,), mesh_dim_names=("fsdp",))
model = AutoModelForImageTextToText.from_pretrained(sys.argv[1])
fully_shard(model, mesh=mesh)
torch.save(model.state_dict(), f"{sys.argv[2]}/model_world_size_2_rank_{dist.get_rank()}.pt")
dist.barrier()
dist.destroy_process_group()
"""


def test_shards_of_two_ranks_are_tensors(demo_folder: Path, tmp_path: Path) -> None:
    """FSDP2's DTensors, their mesh and placements, need no trust."""
    import torch

    actor = save(demo_folder / "policy", tmp_path / "run", None)
    (actor / SHARD).unlink()
    (actor / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": 2}))
    (tmp_path / "shard.py").write_text(SHARDED)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(tmp_path / "shard.py")]
    subprocess.run([sys.executable, *words, str(demo_folder / "policy"), str(actor)], check=True, timeout=200)
    state = torch.load(actor / "model_world_size_2_rank_0.pt", weights_only=False, map_location="cpu")
    assert {type(tensor).__name__ for tensor in state.values()} == {"DTensor"}
    export_checkpoint(ExportSpec(tmp_path / "run", tmp_path / "out", 200), quiet)
    first = value(demo_folder / "policy", NORM)
    assert torch.equal(value(tmp_path / "out", NORM).float(), first.bfloat16().float())


def test_code_that_the_models_config_names_is_neither_run_nor_exported(demo_folder: Path, tmp_path: Path) -> None:
    mark, said = tmp_path / "mark", []
    actor = save(demo_folder / "policy", tmp_path / "run", None)
    model = actor / "huggingface"
    (model / "mine.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    for name, found in (
        ("config.json", {"AutoConfig": "mine.C"}),
        ("tokenizer_config.json", {"AutoTokenizer": [None, "mine.T"]}),
    ):
        settings = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps({**settings, "auto_map": found}))
    export_checkpoint(ExportSpec(tmp_path / "run", tmp_path / "out", 200), said.append)
    assert any(
        "config.json: mine.C, tokenizer_config.json: mine.T); it is not run, and not exported" in line for line in said
    )
    assert not mark.exists() and not list((tmp_path / "out").glob("*.py"))
    assert "auto_map" not in "".join(path.read_text() for path in (tmp_path / "out").glob("*config.json"))


MINE = """
import pathlib
from transformers import Qwen2Config, Qwen2ForCausalLM
pathlib.Path({mark!r}).touch()
class MineConfig(Qwen2Config):
    model_type = "mine"
class MineForCausalLM(Qwen2ForCausalLM):
    config_class = MineConfig
"""


def test_a_model_of_a_class_of_its_own_needs_trust(demo_folder: Path, tmp_path: Path) -> None:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    mark, run = tmp_path / "mark", tmp_path / "run"
    actor = save(demo_folder / "policy", run, None)
    model = actor / "huggingface"
    for path in model.glob("*config.json"):
        if path.name != "tokenizer_config.json":
            path.unlink()
    settings = Qwen2Config(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    torch.save(Qwen2ForCausalLM(settings).state_dict(), actor / SHARD)
    named = {"AutoConfig": "mine.MineConfig", "AutoModelForCausalLM": "mine.MineForCausalLM"}
    own = {**settings.to_dict(), "model_type": "mine", "auto_map": named, "architectures": ["MineForCausalLM"]}
    (model / "config.json").write_text(json.dumps(own))
    (model / "mine.py").write_text(MINE.format(mark=str(mark)))
    with pytest.raises(SetupError, match=r"would run code.*config.json: mine.MineConfig"):
        export_checkpoint(ExportSpec(run, tmp_path / "out", 200), quiet)
    assert not mark.exists()
    done = export_checkpoint(ExportSpec(run, tmp_path / "out", 200, trust=True), quiet)
    assert mark.exists() and done.findings["class"] == "MineForCausalLM"
