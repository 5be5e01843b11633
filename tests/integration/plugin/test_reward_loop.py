# SPDX-License-Identifier: Apache-2.0
"""verl's own RewardLoopWorker with the recipe medix_cpu and the demo's tokenizer, in this process, without Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from medix_verl.errors import ConfigError, EncoderError, UnscoredError

pytestmark = pytest.mark.timeout(180)
NUMBERS = ("score", "acc", "judge", "semantic", "format", "modality")
FLAGS = ("judge_ok", "semantic_ok", "modality_applies", "semantic_applies")
KEYS = {*NUMBERS, *FLAGS, "reward_busy_s", "thinking_open"}
INFO: dict[str, Any] = {
    "index": 0, "split": "train", "id": "q7", "question": "What is shown?", "modality": "X_RAY",
    "options": None, "synonyms": ["pulmo"], "tolerance": None, "credentialed": False,
}  # fmt: skip
REFUSED = (
    "reward.medix.judge.kind=openai",
    "reward.medix.judge.url=http://127.0.0.1:9/v1",
    "reward.medix.judge.model=nobody",
    "reward.medix.judge.max_retries=0",
)


@pytest.fixture(scope="module")
def worker(demo_folder: Path) -> Callable[..., Any]:
    """Build verl's worker with further overrides."""
    from verl.experimental.reward_loop.reward_loop import RewardLoopWorker

    def build(*overrides: str, **arguments: Any) -> Any:
        with initialize_config_module("verl.trainer.config", version_base=None):
            config = compose("ppo_trainer", ["+recipe=medix_cpu", f"medix.demo='{demo_folder}'", *overrides])
        return RewardLoopWorker(config, **arguments)

    return build


@pytest.fixture(scope="module")
def ready(worker: Callable[..., Any]) -> Iterator[Any]:
    built = worker()
    yield built
    built.loop.run_until_complete(built.reward_manager.reward.close())


def trajectory(tokenizer: Any, response: str, answer: str = "lung", padding: int = 6, **info: Any) -> Any:
    """One trajectory as verl hands it over: padded on both sides."""
    import torch
    from verl import DataProto

    ids = tokenizer(response, add_special_tokens=False)["input_ids"]
    pad = tokenizer.pad_token_id
    responses = torch.tensor([[*ids, *[pad] * padding]])
    mask = torch.tensor([[0, 0, 1, 1, 1, *[1] * len(ids), *[0] * padding]])
    return DataProto.from_dict(
        tensors={"responses": responses, "attention_mask": mask},
        non_tensors={
            "reward_model": np.array([{"style": "model", "ground_truth": answer}], dtype=object),
            "extra_info": np.array([{**INFO, **info}], dtype=object),
        },
    )


def score(worker: Any, response: str, **info: Any) -> dict[str, Any]:
    result = worker.loop.run_until_complete(
        worker.compute_score(trajectory(worker.reward_manager.tokenizer, response, **info))
    )
    assert set(result) == {"reward_score", "reward_extra_info"}
    assert set(result["reward_extra_info"]) == KEYS
    assert all(type(value) is float for value in result["reward_extra_info"].values())
    assert result["reward_score"] == result["reward_extra_info"]["score"]
    return result["reward_extra_info"]


RIGHT = "<X_RAY> <think>it is dark</think> <answer>lung</answer>"


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (RIGHT, {"score": 1.0, "acc": 1.0, "semantic": 1.0, "modality": 1.0, "format": 1.0}),
        (RIGHT.replace("lung", "pulmo"), {"score": 1.0, "acc": 1.0}),
        (RIGHT.replace("X_RAY", "CT_SCAN"), {"score": 0.9625, "acc": 1.0, "modality": 0.0, "format": 1.0}),
        (RIGHT.replace("lung", "a seven"), {"score": 0.2875, "acc": 0.0, "semantic": 0.0, "modality": 1.0}),
        ("<X_RAY> <answer>lung</answer>", {"score": 0.75, "acc": 1.0, "format": 0.0, "modality": 1.0}),
        ("it is the lung", {"score": 0.0, "acc": 0.0, "semantic": 0.0, "format": 0.0, "modality": 0.0}),
        ("", {"score": 0.0, "acc": 0.0, "judge_ok": 1.0, "semantic_ok": 1.0, "modality_applies": 1.0}),
    ],
    ids=["right", "a synonym", "wrong modality", "wrong answer", "no thinking", "no answer", "empty"],
)
def test_what_an_answer_gets(ready: Any, response: str, expected: dict[str, float]) -> None:
    got = score(ready, response)
    assert {key: got[key] for key in expected} == pytest.approx(expected)


def test_a_text_only_question_asks_for_no_modality(ready: Any) -> None:
    got = score(ready, "<think>x</think> <answer>lung</answer>", modality=None)
    assert (got["score"], got["modality"], got["modality_applies"]) == (1.0, 0.0, 0.0)


def test_padding_and_special_tokens_are_not_part_of_the_answer(ready: Any) -> None:
    tokenizer = ready.reward_manager.tokenizer
    assert score(ready, RIGHT + tokenizer.eos_token)["score"] == 1.0
    data = trajectory(tokenizer, RIGHT, padding=0)
    assert ready.loop.run_until_complete(ready.compute_score(data))["reward_score"] == 1.0


def test_many_at_once_keep_their_order(ready: Any) -> None:
    from verl import DataProto

    tokenizer = ready.reward_manager.tokenizer
    wrong = RIGHT.replace("lung", "ring")
    length = {text: len(tokenizer(text)["input_ids"]) for text in (RIGHT, wrong)}
    widest = max(length.values()) + 1
    rows = [trajectory(tokenizer, text, padding=widest - length[text]) for text in [RIGHT, wrong] * 4]
    data = DataProto.concat(rows)
    results = ready.loop.run_until_complete(ready.compute_score_batch(data))
    assert [result["reward_extra_info"]["acc"] for result in results] == [1.0, 0.0] * 4


def test_the_extras_pass_through_verls_validation_metrics(ready: Any) -> None:
    from verl.trainer.ppo.metric_utils import process_validation_metrics

    rows = [score(ready, RIGHT), score(ready, ""), score(ready, RIGHT, modality=None)]
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    metrics = process_validation_metrics(["medix_demo"] * 3, ["a", "b", "c"], columns)
    assert metrics["medix_demo"]["acc"]["mean@1"] == pytest.approx(2 / 3)
    assert set(metrics["medix_demo"]) == KEYS


def test_an_unreachable_judge_leaves_the_answer_unscored(worker: Callable[..., Any]) -> None:
    built = worker(*REFUSED)
    wrong = trajectory(built.reward_manager.tokenizer, RIGHT.replace("lung", "a seven"))
    with pytest.raises(UnscoredError, match=r"answer q7 is unscored: judge: .*connection failed"):
        built.loop.run_until_complete(built.compute_score(wrong))
    # What needs no judge is scored all the same.
    assert score(built, RIGHT)["score"] == 1.0
    assert score(built, "no answer")["score"] == 0.0
    built.loop.run_until_complete(built.reward_manager.reward.close())


ELSEWHERE = (*REFUSED, "reward.medix.judge.url=http://93.184.216.34/v1")


def credentialed(tokenizer: Any, source: str = "mimic-cxr", **info: Any) -> Any:
    data = trajectory(tokenizer, RIGHT, **info)
    data.non_tensor_batch["data_source"] = np.array([source], dtype=object)
    return data


def test_a_credentialed_row_stops_the_run_at_a_judge_elsewhere(
    worker: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fatal: list[str] = []
    monkeypatch.setattr("medix_verl.rewards.manager.report_fatal", fatal.append)
    built = worker(*ELSEWHERE)
    tokenizer = built.reward_manager.tokenizer
    for data in (credentialed(tokenizer), credentialed(tokenizer, "own/ward", credentialed=True)):
        source = data.non_tensor_batch["data_source"][0]
        with pytest.raises(ConfigError, match=f"row 'q7' of {source} is credentialed.*http://93.184.216.34/v1"):
            built.loop.run_until_complete(built.compute_score(data))
    assert len(fatal) == 2 and "reward.medix.judge.allow_credentialed=true" in fatal[0]
    assert score(built, RIGHT)["score"] == 1.0
    built.loop.run_until_complete(built.reward_manager.reward.close())


@pytest.mark.parametrize(
    "overrides",
    [(), REFUSED, (*ELSEWHERE, "reward.medix.judge.allow_credentialed=true")],
    ids=["no judge model", "a judge on this machine", "allowed by name"],
)
def test_a_credentialed_row_is_scored_where_it_may_be(worker: Callable[..., Any], overrides: tuple[str, ...]) -> None:
    built = worker(*overrides)
    result = built.loop.run_until_complete(built.compute_score(credentialed(built.reward_manager.tokenizer)))
    assert result["reward_score"] == 1.0
    built.loop.run_until_complete(built.reward_manager.reward.close())


def test_a_missing_encoder_ends_the_worker_at_once(worker: Callable[..., Any]) -> None:
    with pytest.raises(EncoderError, match=r"/nowhere/model.*type"):
        worker("reward.medix.semantic.model=/nowhere/model")


def test_a_wrong_recipe_ends_the_worker_at_once(worker: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="unknown key 'judg'; accepted: .*did you mean 'judge'"):
        worker("+reward.medix.judg.kind=rule")
    with pytest.raises(ConfigError, match="semantic.*threshold"):
        worker("reward.medix.semantic.threshold=high")


def test_the_function_that_the_recipe_names_is_never_called() -> None:
    from medix_verl.rewards.manager import compute_score

    with pytest.raises(NotImplementedError, match=r"the score comes from MedixRewardManager\.run_single"):
        compute_score("source", "text", "truth")
