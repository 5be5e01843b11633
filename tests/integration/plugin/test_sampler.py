# SPDX-License-Identifier: Apache-2.0
"""The sampler as verl's trainer builds it, over a TransferQueue made of dicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from medix_verl.errors import ConfigError, RunStoppedError
from medix_verl.rewards.composite import shares_of
from medix_verl.rewards.keys import to_verl
from medix_verl.rewards.spec import RewardSpec
from medix_verl.types import RewardBreakdown

pytestmark = pytest.mark.timeout(120)


class FakeQueue:
    """As much of transfer_queue as a replay buffer uses: tags and values by partition and key."""

    def __init__(self) -> None:
        self.tags: dict[str, dict[str, dict[str, Any]]] = {}
        self.values: dict[str, dict[str, Any]] = {}

    def add_group(
        self, uid: str, rewards: list[dict[str, float]], status: str = "finished", where: str = "train"
    ) -> None:
        tags = self.tags.setdefault(where, {})
        tags[uid] = {"is_prompt": True, "global_steps": 1, "status": status}
        for session, reward in enumerate(rewards):
            tags[f"{uid}_{session}_0"] = {"status": "finished"}
            self.values[f"{uid}_{session}_0"] = {
                "extra_fields": {"reward_extra_info": reward},
                "extra_info": {"id": f"row of {uid}", "modality": "X_RAY"},
                "data_source": "rad",
            }

    def kv_list(self) -> dict[str, dict[str, dict[str, Any]]]:
        return {partition: dict(tags) for partition, tags in self.tags.items()}

    def kv_clear(self, partition_id: str, keys: list[str]) -> None:
        for key in keys:
            self.tags[partition_id].pop(key, None)

    def kv_batch_get(self, keys: list[str], partition_id: str, select_fields: list[str]) -> dict[str, list[Any]]:
        assert set(keys) <= set(self.tags[partition_id])
        return {name: [SimpleNamespace(data=self.values[key][name]) for key in keys] for name in select_fields}


class FakeLedger:
    """A ledger whose entries are given; `take_entries` is replaced by its `take`."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def take(self, _ledger: Any) -> tuple[int, list[str]]:
        taken, self.entries = self.entries, []
        return len(taken), taken[-5:]


def answer(acc: float, score: float | None = None, modality: float | None = 1.0) -> dict[str, float]:
    total = acc if score is None else score
    terms = {"judge": acc, "semantic": acc, "format": 1.0, "modality": modality}
    breakdown = RewardBreakdown(total, acc, terms, "x", keys=shares_of(RewardSpec()).keys)
    return {**to_verl(breakdown), "reward_busy_s": 0.25}


WRONG = [answer(0.0, 0.1), answer(0.0, 0.145), answer(0.0, 0.1)]
MIXED = [answer(1.0), answer(0.0, 0.145), answer(1.0)]
RIGHT = [answer(1.0), answer(1.0, 0.955), answer(1.0)]


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> FakeQueue:
    from verl.trainer.ppo.v1 import replay_buffer

    from medix_verl.rewards import sampler

    fake = FakeQueue()
    for module in (replay_buffer, sampler):
        monkeypatch.setattr(module, "tq", fake)
    return fake


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> FakeLedger:
    from medix_verl.rewards import sampler

    fake = FakeLedger()
    monkeypatch.setattr(sampler, "take_entries", fake.take)
    return fake


def composed(*overrides: str) -> DictConfig:
    import verl  # noqa: F401 - its import registers the plugin

    with initialize_config_module("verl.trainer.config", version_base=None):
        settings = ["trainer.v1.sampler.sampler_kwargs.poll_interval=0", "trainer.rollout_data_dir=null"]
        return compose("ppo_trainer", ["+recipe=medix", *settings, *overrides])


@pytest.fixture
def build(queue: FakeQueue, ledger: FakeLedger) -> Callable[..., Any]:
    """Let verl's trainer build the sampler that the recipe names."""
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    def make(*overrides: str, refill: Callable[[int], None] = lambda _count: None) -> Any:
        config = composed("actor_rollout_ref.rollout.n=3", "data.train_batch_size=2", *overrides)
        trainer = SimpleNamespace(
            config=config, trainer_mode=config.trainer.v1.trainer_mode, _add_prompts_to_generate=refill
        )
        return PPOTrainer._build_replay_buffer(trainer)

    return make


NO_FILTER = "algorithm.filter_groups.enable=false"


def test_verl_builds_it_with_the_recipes_settings(build: Callable[..., Any]) -> None:
    buffer = build()
    assert type(buffer).__name__ == "MedixReplayBuffer"
    assert (buffer.filter_groups_metric, buffer.train_batch_size, buffer.gen_batch_size) == ("acc", 2, 1)
    assert (buffer.spec.n, buffer.max_inflight_gen_batches, buffer.poll_interval) == (3, 1, 0)
    assert buffer.spec.stall_timeout_s == 7200.0 and buffer.ledger is None


def test_without_a_filter_it_fetches_whole_batches(build: Callable[..., Any]) -> None:
    buffer = build(NO_FILTER)
    assert (buffer.filter_groups_metric, buffer.gen_batch_size) == (None, 2)


def test_the_other_trainers_have_a_sampler_too(build: Callable[..., Any]) -> None:
    buffer = build(
        "trainer.v1.trainer_mode=colocate_async", "trainer.v1.sampler.custom_sampler.name=MedixReplayBufferAsync"
    )
    from verl.trainer.ppo.v1.replay_buffer import ReplayBufferAsync

    assert type(buffer).__name__ == "MedixReplayBufferAsync" and isinstance(buffer, ReplayBufferAsync)


def test_an_unknown_setting_is_refused(build: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=r"sampler_kwargs has nn; accepted are n, val_n, train_batch_size"):
        build("+trainer.v1.sampler.sampler_kwargs.nn=1")


@pytest.mark.parametrize("metric", ["reward", "score"])
def test_a_filter_on_a_composite_is_refused(build: Callable[..., Any], metric: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"metric={metric} is the composite.*type algorithm\.filter_groups\.metric=acc"
    ):
        build(f"algorithm.filter_groups.metric={metric}")
    assert build(f"algorithm.filter_groups.metric={metric}", NO_FILTER).filter_groups_metric is None


def test_groups_that_teach_nothing_are_filtered(build: Callable[..., Any], queue: FakeQueue) -> None:
    """The all-wrong group has a spread in its composite, and is filtered all the same."""
    buffer = build()
    for uid, group in (("w", WRONG), ("m", MIXED), ("r", RIGHT)):
        queue.add_group(uid, group)
    buffer._sync_metadata_from_transfer_queue()
    filtered, counts = buffer._dapo_filtered_keys("train")
    assert filtered == {"w", "r"} and counts == {0.0: 1, 1.0: 1}


def test_what_the_official_rule_keeps_is_filtered(build: Callable[..., Any], queue: FakeQueue) -> None:
    """The official code keeps a group whose mean composite is in (0.01, 0.99) (notes on ray_trainer.py:524-536)."""
    mean = sum(row["score"] for row in WRONG) / len(WRONG)
    assert 0.01 < mean < 0.99 and {row["acc"] for row in WRONG} == {0.0}
    buffer = build()
    queue.add_group("w", WRONG)
    buffer._sync_metadata_from_transfer_queue()
    assert buffer._dapo_filtered_keys("train")[0] == {"w"}


def test_groups_that_have_lost_an_answer_are_filtered_too(build: Callable[..., Any], queue: FakeQueue) -> None:
    buffer = build()
    queue.add_group("w", WRONG[:2], status="failure")  # all wrong, as far as is known
    queue.add_group("m", MIXED[:2], status="failure")  # one right, one wrong
    queue.add_group("l", MIXED[:1], status="failure")  # nothing to compare with
    queue.add_group("n", [], status="failure")
    for _ in range(2):  # verl looks again with each poll, and keeps what it has found
        buffer._sync_metadata_from_transfer_queue()
        assert buffer._dapo_filtered_keys("train") == ({"w", "l"}, {0.0: 1})
    assert buffer.finished_keys["train"] == set()


def test_a_lone_answer_is_not_trained_on(build: Callable[..., Any], queue: FakeQueue, ledger: FakeLedger) -> None:
    """To GRPO it would be better than its group by its whole score, though it is wrong."""
    queue.add_group("a", [answer(0.0, 0.145)], status="failure")
    queue.add_group("b", MIXED)
    ledger.entries = ["judge: timed out"] * 2
    batch, metrics = build(NO_FILTER).sample(1, "train", 2)
    assert {key.split("_")[0] for key in batch.keys} == {"b"} and len(batch.tags) == 3
    assert metrics["medix/lone"] == 1.0 and metrics["medix/unscored"] == 2.0
    assert not any(key.startswith("a") for key in queue.tags["train"])


def test_a_lone_answer_of_an_estimator_without_groups_is_trained_on(
    build: Callable[..., Any], queue: FakeQueue, ledger: FakeLedger
) -> None:
    queue.add_group("a", WRONG[:1], status="failure")
    queue.add_group("b", MIXED)
    batch, metrics = build(NO_FILTER, "algorithm.adv_estimator=reinforce_plus_plus").sample(1, "train", 2)
    assert len(batch.keys) == 4 and metrics["medix/lone"] == 0.0


def test_a_step_of_lone_answers_ends_with_the_causes(
    build: Callable[..., Any], queue: FakeQueue, ledger: FakeLedger
) -> None:
    for uid in "ab":
        queue.add_group(uid, WRONG[:1], status="failure")
    ledger.entries = ["judge: connection failed"] * 4
    with pytest.raises(RunStoppedError, match=r"two answers left\. Last causes of unscored answers: judge: connection"):
        build(NO_FILTER).sample(1, "train", 2)


def test_filtering_everything_has_an_end(build: Callable[..., Any], queue: FakeQueue) -> None:
    fresh = iter(range(10_000))

    def refill(count: int) -> None:
        for _ in range(count):
            queue.add_group(f"f{next(fresh)}", WRONG)

    buffer = build("+trainer.v1.sampler.sampler_kwargs.max_refilled_batches=6", refill=refill)
    refill(2)
    with pytest.raises(RunStoppedError, match=r"more than .*max_refilled_batches=6 batches: .* the same acc; look at"):
        buffer.sample(1, "train", 2)


def test_a_share_of_nothing_does_not_stop_a_run_that_loses_nothing(
    build: Callable[..., Any], queue: FakeQueue, ledger: FakeLedger
) -> None:
    fresh = iter(range(10_000))

    def refill(count: int) -> None:
        for _ in range(count):
            number = next(fresh)
            queue.add_group(f"f{number}", MIXED if number > 24 else WRONG)

    buffer = build("reward.medix.failure.max_share=0.0", refill=refill)
    refill(2)
    _batch, metrics = buffer.sample(1, "train", 2)
    assert metrics["medix/unscored"] == 0.0 and buffer.refilled == 0


def test_a_validation_in_several_batches_is_told_as_one(
    build: Callable[..., Any], queue: FakeQueue, ledger: FakeLedger
) -> None:
    buffer = build(NO_FILTER)
    for uid, rows in (("v1", RIGHT), ("v2", [*RIGHT[:1]])):
        queue.add_group(uid, rows, where="val")
        buffer.sample(0, "val", 1)
    queue.add_group("v3", [answer(0.0)] * 4, where="val")
    ledger.entries = ["judge: timed out"]
    buffer.sample(0, "val", 1)
    queue.add_group("a", MIXED)
    queue.add_group("b", MIXED)
    _batch, metrics = buffer.sample(1, "train", 2)
    assert metrics["medix/val/acc/mean"] == pytest.approx(4 / 8) and metrics["medix/val/failed"] == 1.0


def test_dynamic_sampling_refills_and_returns_what_teaches(build: Callable[..., Any], queue: FakeQueue) -> None:
    fresh = iter(["n1", "n2", "n3", "n4", "n5", "n6"])

    def refill(count: int) -> None:
        for _ in range(count):
            queue.add_group(next(fresh), MIXED)

    buffer = build(refill=refill)
    for uid, group in (("w", WRONG), ("m", MIXED)):
        queue.add_group(uid, group)
    batch, metrics = buffer.sample(1, "train", 2)
    uids = {key.split("_")[0] for key in batch.keys}
    assert len(batch.keys) == 6 and "w" not in uids
    assert metrics["training/filter_groups/evicted_samples"] == 1
    assert metrics["medix/acc/mean"] == pytest.approx(2 / 3)


def test_the_parts_are_among_the_metrics(build: Callable[..., Any], queue: FakeQueue) -> None:
    queue.add_group("a", MIXED)
    queue.add_group("b", [answer(1.0, modality=None)] * 3)
    batch, metrics = build(NO_FILTER).sample(1, "train", 2)
    assert len(batch.keys) == 6
    assert metrics["medix/acc/mean"] == pytest.approx(5 / 6)
    assert metrics["medix/modality/valid"] == 0.5
    assert metrics["medix/reward/busy_s"] == 1.5
    assert metrics["medix/unscored"] == 0.0


def test_the_parts_are_kept_for_the_report(build: Callable[..., Any], queue: FakeQueue, tmp_path: Path) -> None:
    queue.add_group("a", MIXED)
    queue.add_group("b", RIGHT)
    batch, _metrics = build(NO_FILTER, f"trainer.rollout_data_dir={tmp_path}").sample(1, "train", 2)
    lines = [json.loads(line) for line in (tmp_path / "parts" / "1.jsonl").read_text().splitlines()]
    assert [line["uid"] for line in lines] == list(batch.keys) and len(lines) == 6
    assert {(line["uid"][0], line["id"], line["data_source"]) for line in lines} == {
        ("a", "row of a", "rad"), ("b", "row of b", "rad")
    }  # fmt: skip
    assert sum(line["acc"] for line in lines) == 5 and all(line["judge_ok"] == 1.0 for line in lines)


def test_lost_answers_are_counted_and_not_averaged(
    build: Callable[..., Any], queue: FakeQueue, ledger: FakeLedger, caplog: pytest.LogCaptureFixture
) -> None:
    queue.add_group("a", MIXED[:2], status="failure")
    queue.add_group("b", RIGHT)
    ledger.entries = ["judge: timed out"]
    _batch, metrics = build(NO_FILTER).sample(1, "train", 2)
    assert metrics["medix/unscored"] == 1.0
    assert metrics["medix/acc/mean"] == pytest.approx(4 / 5)
    assert "1 failures and 1 missing answers among 6: judge: timed out" in caplog.text


def test_too_many_lost_answers_stop_the_run(build: Callable[..., Any], queue: FakeQueue, ledger: FakeLedger) -> None:
    buffer = build(NO_FILTER, "reward.medix.failure={max_share: 0.5, min_count: 6}")
    queue.add_group("a", [], status="failure")
    queue.add_group("b", MIXED[:2], status="failure")
    ledger.entries = ["judge: connection failed"] * 4
    with pytest.raises(RunStoppedError, match=r"4 of the last 6 answers have no score.*judge: connection failed"):
        buffer.sample(1, "train", 2)


def test_losses_in_groups_that_were_thrown_away_are_measured_against_them(
    build: Callable[..., Any], queue: FakeQueue, ledger: FakeLedger
) -> None:
    """A tenth lost is a tenth, also when dynamic sampling answers many more prompts than it trains on."""
    fresh = iter(range(100))

    def refill(count: int) -> None:
        for _ in range(count):
            number = next(fresh)
            queue.add_group(f"f{number}", MIXED if number > 16 else WRONG)

    buffer = build("reward.medix.failure={max_share: 0.5, min_count: 6}", refill=refill)
    for uid in ("w1", "w2"):
        queue.add_group(uid, WRONG)
    ledger.entries = ["judge: timed out"] * 6
    _batch, metrics = buffer.sample(1, "train", 2)
    assert metrics["training/filter_groups/evicted_samples"] > 10
    assert metrics["medix/unscored"] == 6.0


def test_replacing_lost_groups_has_an_end(build: Callable[..., Any], queue: FakeQueue, ledger: FakeLedger) -> None:
    """verl replaces a group that lost all its answers; with the judge down that would go on for ever."""
    fresh = iter(range(10_000))

    def refill(count: int) -> None:
        for _ in range(count):
            queue.add_group(f"f{next(fresh)}", [], status="failure")
            ledger.entries = [*ledger.entries, *["judge: connection failed"] * 3]

    buffer = build(NO_FILTER, "trainer.v1.sampler.sync_refill_failed_groups=true", refill=refill)
    refill(2)
    with pytest.raises(RunStoppedError, match=r"prompts were replaced in one step.*judge: connection failed"):
        buffer.sample(1, "train", 2)


def test_a_step_without_any_answer_ends_with_the_causes(
    build: Callable[..., Any], queue: FakeQueue, ledger: FakeLedger
) -> None:
    queue.add_group("a", [], status="failure")
    queue.add_group("b", [], status="failure")
    buffer = build(NO_FILTER)
    ledger.entries = ["judge: connection failed"]
    with pytest.raises(RunStoppedError, match=r"Last causes of unscored answers: judge: connection failed"):
        buffer.sample(1, "train", 2)
    with pytest.raises(RuntimeError, match="no materializable trajectories"):
        buffer.sample(1, "train", 2)


def test_validation_is_reported_with_the_next_step(
    build: Callable[..., Any], queue: FakeQueue, ledger: FakeLedger, caplog: pytest.LogCaptureFixture
) -> None:
    buffer = build(NO_FILTER)
    queue.add_group("v", [], status="failure", where="val")
    ledger.entries = ["judge: timed out"]
    batch, metrics = buffer.sample(0, "val", 1)
    assert list(batch.keys) == [] and not any(key.startswith("medix/") for key in metrics)
    assert "validation averages count each missing one as acc 0" in caplog.text
    for step in (1, 2):
        queue.add_group(f"a{step}", MIXED)
        queue.add_group(f"b{step}", MIXED)
        _batch, metrics = buffer.sample(step, "train", 2)
        assert metrics.get("medix/val/unscored") == (1.0 if step == 1 else None)


def test_progress_of_the_queue_keeps_the_watchdog_quiet(build: Callable[..., Any], queue: FakeQueue) -> None:
    buffer = build(NO_FILTER)
    beats: list[str] = []
    buffer.watchdog = SimpleNamespace(beat=beats.append)
    queue.add_group("a", [], status="running")
    for _ in range(3):
        buffer._sync_metadata_from_transfer_queue()
        buffer._wait_for_next_poll("train", 0.0)
    assert beats == ["generating (train), 1 prompts running"]
    queue.add_group("a", MIXED)
    buffer._sync_metadata_from_transfer_queue()
    buffer._wait_for_next_poll("train", 0.0)
    assert beats[1:] == ["generating (train), 0 prompts running"]


def test_a_refusal_while_a_batch_is_made_stops_the_run_before_it_is_trained_on(
    build: Callable[..., Any], queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medix_verl.rewards import sampler

    said = iter(["", "row 'q7' of mimic-cxr is credentialed data"])
    monkeypatch.setattr(sampler, "read_fatal", lambda _ledger: next(said))
    buffer = build(NO_FILTER)
    for uid in ("a", "b"):
        queue.add_group(uid, MIXED)
    with pytest.raises(RunStoppedError, match="no answer can be scored: row 'q7' of mimic-cxr is credentialed"):
        buffer.sample(1, "train", 2)


def test_a_refusal_ends_the_replacing_of_prompts(build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from medix_verl.rewards import sampler

    asked: list[int] = []
    buffer = build(refill=asked.append)
    monkeypatch.setattr(sampler, "read_fatal", lambda _ledger: "row 'q7' of mimic-cxr is credentialed data")
    with pytest.raises(RunStoppedError, match="row 'q7'"):
        buffer._refill(1)
    assert asked == []


@pytest.mark.timeout(60)
def test_a_refusal_ends_the_wait_of_hybrid_rollout(
    build: Callable[..., Any], queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """verl's separate_async trainer waits outside of `sample` before it gives its GPUs back to training."""
    from medix_verl.rewards import sampler

    said = iter(["", "", "row 'q7' of mimic-cxr is credentialed data"])
    monkeypatch.setattr(sampler, "read_fatal", lambda _ledger: next(said))
    name = "trainer.v1.sampler.custom_sampler.name=MedixReplayBufferAsync"
    buffer = build(NO_FILTER, "trainer.v1.trainer_mode=separate_async", name)
    if not hasattr(buffer, "wait_for_sampleable"):
        pytest.skip("verl 0.9.0 has no hybrid_rollout")
    queue.add_group("a", [], status="running")
    with pytest.raises(RunStoppedError, match="no answer can be scored: row 'q7'"):
        buffer.wait_for_sampleable(1, "train", 2)
