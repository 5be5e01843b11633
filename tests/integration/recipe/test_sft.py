# SPDX-License-Identifier: Apache-2.0
"""The cold start: the data set of verl's SFT trainer, what is refused before it starts, and a chain that really runs.

The policy is the demo's; templates are shaped as those of released models that open the thinking.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from medix_verl.chat_template import ReplyReader, load_tokenizer
from medix_verl.cli.main import main
from medix_verl.data.io.parquet import read_samples
from medix_verl.data.prompts import build_messages
from medix_verl.data.sft.file import read_messages, write_sft
from medix_verl.data.sft.rows import SftSpec
from medix_verl.demo.models.tokenizer import CHAT_TEMPLATE
from medix_verl.demo.sft import write_demo_sft
from medix_verl.demo.summary import read_steps
from medix_verl.errors import ConfigError, DataError
from medix_verl.recipe.checks.sft import check_sft
from medix_verl.recipe.compose import compose_recipes
from medix_verl.recipe.facts import describe
from medix_verl.recipe.heads import check_list
from medix_verl.recipe.index import check_in_force, recipe_heads
from medix_verl.recipe.validate import check, faults, unknown_keys
from medix_verl.response import parse_response
from medix_verl.rewards.composite import CompositeReward
from medix_verl.rewards.spec import RewardSpec
from medix_verl.runs.checkpoints.checkpoint import find_checkpoint
from medix_verl.runs.record import read_record
from medix_verl.thinking import Thinking
from medix_verl.types import Reference, Sample

pytestmark = pytest.mark.timeout(600)
SFT = "verl.trainer.sft_trainer"
PPO = "verl.trainer.main_ppo"
BOTH = "[medix_sft,medix_sft_on_cpu]"
START = "<|im_start|>assistant\\n"
OPENS = CHAT_TEMPLATE.replace(START, START + "<think>\\n")


@pytest.fixture(scope="module")
def files(demo_folder: Path) -> Path:
    """The demo's folder with its files for SFT."""
    write_demo_sft(demo_folder)
    return demo_folder


@pytest.fixture(scope="module")
def model(demo_folder: Path) -> tuple[Any, Any]:
    from verl.utils import hf_processor, hf_tokenizer

    return hf_tokenizer(str(demo_folder / "policy")), hf_processor(str(demo_folder / "policy"))


@pytest.fixture
def build(files: Path, model: tuple[Any, Any]) -> Callable[..., Any]:
    """Make the data set that the recipe names, the way verl's SFT trainer does."""
    from verl.trainer.sft_trainer import create_sft_dataset

    def make(*paths: Path, template: str = "", text_only: bool = False, words: Sequence[str] = ()) -> Any:
        tokenizer, processor = load_tokenizer(str(files / "policy"), False, template or None), copy.copy(model[1])
        processor.chat_template = template or processor.chat_template
        config = composed(files, *words)
        listed = [str(path) for path in paths or (files / "sft" / "train.parquet",)]
        return create_sft_dataset(listed, config.data, tokenizer, None if text_only else processor)

    return make


def composed(demo: Path, *words: str) -> DictConfig:
    return compose_recipes(["medix_sft", "medix_sft_on_cpu"], [f"medix.demo='{demo}'", *words])


def learnt(item: dict[str, Any]) -> list[int]:
    return [int(token) for token in item["input_ids"][item["loss_mask"].bool()]]


def asked(item: dict[str, Any]) -> list[int]:
    return [int(token) for token in item["input_ids"][~item["loss_mask"].bool()]]


def test_what_is_learnt_is_the_answer_and_where_it_stops(build: Callable[..., Any], files: Path) -> None:
    found = build()
    tokenizer = found.tokenizer
    texts = read_messages(files / "sft" / "train.parquet")
    assert len(found) == len(texts) > 500
    for number in range(0, len(texts), 97):
        assert tokenizer.decode(learnt(found[number])) == f"{texts[number][1]}<|im_end|>"


def test_the_prompt_is_a_rollouts(build: Callable[..., Any], files: Path, model: tuple[Any, Any]) -> None:
    """Token by token what verl's agent loop makes of the same row, pictures included."""
    from verl.utils.tokenizer import build_multimodal_processor_inputs

    from medix_verl.data.dataset import MedixDataset
    from medix_verl.data.pictures.images import load_image

    found, config = build(), composed(files)
    rows = list(read_samples(files / "sft" / "train.parquet"))
    for number in (0, 1, 200):
        sample = rows[number]
        turns = build_messages(sample, [load_image(ref, sample.id) for ref in sample.images], "medix_short")
        images, _, _ = MedixDataset._process_multi_modal_info(turns, 16, config.data)
        text = model[1].apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        rollout = build_multimodal_processor_inputs(
            model[1], text=[text], images=images, videos=None, audio=None,
            mm_processor_kwargs=OmegaConf.to_container(config.data.mm_processor_kwargs),
        )  # fmt: skip
        item = found[number]
        assert asked(item) == [int(token) for token in rollout["input_ids"][0]]
        assert item["multi_modal_inputs"]["pixel_values"].equal(rollout["pixel_values"])
        assert item["position_ids"].shape == (4, len(item["input_ids"]))


def test_verls_own_class_reads_the_file_too(files: Path, model: tuple[Any, Any]) -> None:
    """`data.custom_cls` left out: the same answers are learnt from the same pictures."""
    from verl.trainer.sft_trainer import create_sft_dataset

    config = composed(files, "data.custom_cls.path=null", "data.custom_cls.name=null")
    stock = create_sft_dataset([str(files / "sft" / "train.parquet")], config.data, *model)
    text = read_messages(files / "sft" / "train.parquet")[0][1]
    item = stock[0]
    assert model[0].decode(learnt(item)) == f"{text}<|im_end|>\n"
    assert item["multi_modal_inputs"]["image_grid_thw"].shape == (1, 3)


@pytest.mark.parametrize(("prompt", "template"), [("medix_short", ""), ("medix_thinking", OPENS)])
def test_what_is_learnt_scores_one_under_the_models_own_template(
    build: Callable[..., Any], files: Path, tmp_path: Path, prompt: str, template: str
) -> None:
    """Decoded and read as a rollout is: prompt and response go through the reward's own reader."""
    path = tmp_path / "t.parquet"
    write_sft(read_samples(files / "data" / "val.parquet"), path, SftSpec(prompt=prompt))
    found = build(path, template=template, words=[f"data.medix.prompt={prompt}", "data.max_length=2048"])
    reward = CompositeReward(RewardSpec.from_mapping({"judge": {"kind": "rule"}, "semantic": {"enable": False}}))
    reader = ReplyReader(found.tokenizer)
    for number, sample in list(enumerate(read_samples(path)))[::17]:
        item = found[number]
        end = reader.prompt_end(asked(item))
        assert end.thinking is (Thinking.OPEN if template else Thinking.NONE)
        reference = Reference(sample.answer, modality=sample.modality, question=sample.question)
        said = reward.score_sync(reader.text(learnt(item)), reference, end.thinking)
        assert (said.score, said.acc) == (1.0, 1.0), reader.text(learnt(item))


def test_a_file_for_another_template_is_refused(build: Callable[..., Any], files: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_sft(read_samples(files / "data" / "val.parquet"), path, SftSpec(prompt="medix_thinking"))
    with pytest.raises(ConfigError, match="was written with the prompt medix_thinking, and data.medix.prompt=medix_sh"):
        build(path)
    with pytest.raises(ConfigError, match=r"prepare with --sft-prompt medix and type data.medix.prompt=medix$"):
        build(path, words=["data.medix.prompt=medix_thinking"])
    with pytest.raises(ConfigError, match=r"prepare with --sft-prompt medix_thinking and type"):
        build(template=OPENS)


def test_rows_that_are_too_long_and_files_that_are_none(build: Callable[..., Any], files: Path) -> None:
    with pytest.raises(DataError, match=r"row 'demo-train-\d+' has \d+ tokens.*data.max_length=40; raise it"):
        build(words=["data.max_length=40"])[0]
    with pytest.raises(DataError, match="is not a file for supervised fine-tuning; type medix-verl prepare"):
        build(files / "data" / "train.parquet")
    with pytest.raises(DataError, match="there is no data file .*nowhere"):
        build(files / "nowhere.parquet")


def test_a_model_without_pictures(build: Callable[..., Any], files: Path, tmp_path: Path) -> None:
    path = tmp_path / "text.parquet"
    rows = [Sample("t", "s", "Which organ?", "liver", options=("liver", "spleen"), meta={"rationale": "It is right."})]
    write_sft(rows, path, SftSpec(prompt="medix_short"))
    item = build(path, text_only=True)[0]
    assert "multi_modal_inputs" not in item and item["position_ids"].dim() == 1
    with pytest.raises(DataError, match="has a picture, and the model reads none"):
        build(text_only=True)[0]


@pytest.mark.parametrize("names", ["medix_sft", "medix_sft,medix_sft_on_cpu"])
def test_the_recipes_are_sound(names: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = compose_recipes(names.split(","))
    assert faults(config) == [] and unknown_keys(config) == [] and check(names) == []
    assert main(["recipe", "show", names]) == 0
    shown = capsys.readouterr().out
    started = "python" if "cpu" in names else "torchrun --standalone --nproc-per-node 8"
    assert f"{started} -m {SFT} +recipe=" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.train_batch_size=7"], "does not divide among 8 ranks"),
        (["data.use_dynamic_bsz=false", "data.micro_batch_size_per_gpu=3"], "does not divide a rank's 16 rows"),
        (["data.max_token_len_per_gpu=100"], "room for 100 tokens, one row may have 8192"),
        (["data.truncation=right"], "would cut answers off in silence"),
        (["trainer.test_freq=5"], "no data.val_files: verl would stop there"),
        (["+optim.speed=1"], "optim: TypeError"),
        (["engine.strategy=fdsp"], "engine: AssertionError"),
    ],
)
def test_what_would_stop_the_trainer_is_said(words: list[str], message: str) -> None:
    assert any(message in line for line in faults(compose_recipes(["medix_sft"], words))), message


def test_the_commands_of_recipes(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`new`, `diff` and `doctor --gpu-memory` know the other trainer; what is not estimated is said."""
    monkeypatch.setenv("MEDIX_RECIPES", str(tmp_path))
    (tmp_path / "recipe").mkdir()
    assert main(["recipe", "new", "mine", "--from", "medix_sft"]) == 0
    assert f"python -m {SFT} +recipe=mine" in capsys.readouterr().out
    assert main(["recipe", "check", "mine"]) == 0
    assert main(["recipe", "diff", "medix_sft", "mine"]) == 0
    assert "trainer.experiment_name: medix_${medix.model}_${medix.algorithm} -> mine" in capsys.readouterr().out
    assert main(["doctor", "--recipe", "medix_sft", "--gpu-memory", "80"]) != 0
    assert "the memory of verl's SFT trainer (medix_sft) is not estimated" in capsys.readouterr().err


def test_code_of_others_is_listed() -> None:
    found = check("medix_sft", ["data.custom_cls.path=theirs.py"])
    assert any("neither verl's nor ours: data.custom_cls.path=theirs.py" in line for line in found)


def lines(demo: Path, *words: str) -> dict[str, Any]:
    facts = {**describe(composed(demo, *words)), "name": "r", "devices": 0}
    return {check.name: check for check in check_sft(facts)}


def test_the_doctor_and_the_start_look_at_the_same(files: Path, tmp_path: Path) -> None:
    good = lines(files)
    assert [check.status for check in good.values()] == ["ok", "ok", "ok"] and "template" in good
    rl = lines(files, f"data.train_files='{files}/data/train.parquet'")["SFT files"]
    assert rl.status == "FAIL" and "is not a file for supervised fine-tuning" in rl.found
    other = lines(files, "data.medix.prompt=medix")["SFT files"]
    assert (other.status, other.todo) == ("FAIL", "data.medix.prompt=medix_short, or prepare with --sft-prompt")
    few = lines(files, f"data.val_files='{files}/sft/val.parquet'", "data.train_batch_size=300")["steps"]
    assert few.status == "FAIL" and "204 rows of data.val_files are less" in few.found
    (tmp_path / "opens.jinja").write_text(OPENS)
    template = OPENS.replace("'", "\\'")
    opened = lines(files, f"model.custom_chat_template='{template}'")["template"]
    assert opened.status == "FAIL" and "--sft-prompt medix_thinking" in opened.todo
    gone = lines(files, "data.train_files=nowhere.parquet")["data"]
    assert gone.status == "FAIL" and "medix-verl prepare demo" in gone.todo


def run(*words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, timeout=300, check=False, cwd=cwd,
        env={**os.environ, **variables},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("program", "recipe", "message"),
    [
        (PPO, "medix_sft", "'medix_sft' is for verl.trainer.sft_trainer, and this is verl.trainer.main_ppo"),
        pytest.param(
            SFT,
            "medix",
            "'medix' is for verl.trainer.main_ppo, and this is verl.trainer.sft_trainer",
            marks=pytest.mark.long,
        ),
        (SFT, "medix_sft", "asks for 8 processes, and this is one: type torchrun --standalone --nproc-per-node 8"),
    ],
)
def test_the_recipe_of_another_trainer(tmp_path: Path, program: str, recipe: str, message: str) -> None:
    done = run(program, f"+recipe={recipe}", cwd=tmp_path)
    assert done.returncode != 0 and "medix-verl: error: " in done.stderr and message in done.stderr, done.stderr[-2000:]


MINE = "hydra: {searchpath: [pkg://verl.trainer.config]}\ndefaults: [sft_trainer_engine, _self_]\n"


def test_a_plain_key_is_refused_by_the_sft_trainer(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(MINE + "recipe: medix_sft\n")
    done = run(SFT, "--config-path", str(tmp_path), "--config-name", "mine", cwd=tmp_path)
    assert done.returncode != 0 and "is a plain key here" in done.stderr, done.stderr[-2000:]


def test_a_primary_configuration_of_ones_own(files: Path, tmp_path: Path) -> None:
    """The recipe is in force behind it, and looks: the file is not there."""
    (tmp_path / "mine.yaml").write_text(MINE + "optim: {lr: 7.0e-5}\n")
    words = ["--config-path", str(tmp_path), "--config-name", "mine", f"+recipe={BOTH}", f"medix.demo={tmp_path}"]
    done = run(SFT, *words, cwd=tmp_path)
    assert done.returncode != 0 and "there is no data file" in done.stderr, done.stderr[-2000:]
    assert "the recipe changes what your configuration says: optim.lr: 7e-05 -> 0.0003" in done.stderr


def test_lists_and_configurations_of_both_trainers() -> None:
    with pytest.raises(ConfigError, match=r"for verl.trainer.main_ppo and medix_sft for verl.trainer.sft_trainer"):
        check_list(["medix_sft", "medix_lora"], recipe_heads())
    mixed = OmegaConf.create({"actor_rollout_ref": {}, "medix": {"trainer": "sft_trainer"}})
    with pytest.raises(ConfigError, match="reinforcement learning would train on verl's defaults"):
        check_in_force(mixed)


@pytest.fixture(scope="module")
def trained(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three steps of the SFT trainer; the folder of its checkpoints."""
    folder = tmp_path_factory.mktemp("sft")
    words = [f"+recipe={BOTH}", f"medix.demo={files}", f"trainer.default_local_dir={folder}/run"]
    words += [f"data.val_files={files}/sft/val.parquet", "data.val_max_samples=16", "trainer.test_freq=3"]
    done = run(SFT, *words, cwd=folder, VERL_FILE_LOGGER_PATH=str(folder / "metrics.jsonl"))
    (folder / "train.log").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_three_steps_of_the_sft_trainer(trained: Path, files: Path) -> None:
    steps = [step.data for step in read_steps(trained / "metrics.jsonl") if "train/loss" in step.data]
    losses = [step["train/loss"] for step in steps]
    assert len(losses) == 3 and losses[2] < losses[0], losses
    record = read_record(trained / "run")
    assert record is not None and record.recipes == ("medix_sft", "medix_sft_on_cpu")
    assert record.model.name == f"{files}/policy" and record.data[0].sha256
    found = find_checkpoint(trained / "run")
    assert (found.step, found.ranks, found.actor.name) == (3, 1, "global_step_3")


def test_its_checkpoint_can_be_exported(trained: Path, tmp_path: Path) -> None:
    assert main(["export", str(trained / "run"), "--out", str(tmp_path / "model")]) == 0
    assert (tmp_path / "model" / "model.safetensors").is_file() and (tmp_path / "model" / "config.json").is_file()


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_reinforcement_learning_goes_on_from_it(trained: Path, train: Callable[..., Any]) -> None:
    model = trained / "run" / "global_step_3" / "huggingface"
    words = [f"actor_rollout_ref.model.path={model}", "trainer.total_training_steps=3", "data.max_response_length=40"]
    done = train(*words, recipe="[medix_8b_grpo,medix_on_cpu]", limit_s=1200.0)
    assert done.end.returncode == 0, done.log[-3000:]
    steps = [step for step in done.steps if step.is_training]
    assert [step.number for step in steps] == [1, 2, 3]
    assert all(0.0 <= step.data["medix/score/mean"] <= 1.0 for step in steps)


def test_a_well_formed_text_of_the_file_is_one_for_the_parser(files: Path) -> None:
    for _, said in read_messages(files / "sft" / "train.parquet"):
        assert parse_response(said).well_formed
