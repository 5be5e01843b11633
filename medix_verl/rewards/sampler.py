# SPDX-License-Identifier: Apache-2.0
"""verl's replay buffers with itemised reward metrics and an end to runs that are stuck or go unscored.

A recipe selects `MedixReplayBuffer` (sync trainer) or `MedixReplayBufferAsync` through
`trainer.v1.sampler.custom_sampler`. verl drops reward extras from its training log, but merges what a sampler returns
beside its batch (verl/trainer/ppo/v1/trainer_base.py, _step_once): that is where the parts are added. verl hands a
custom sampler no group filter and no batch sizes (_build_replay_buffer), so they come with `sampler_kwargs`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import transfer_queue as tq
from omegaconf import DictConfig, OmegaConf
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

from medix_verl.errors import ConfigError, RunStoppedError
from medix_verl.rewards.ledger import open_ledger, read_fatal, take_entries
from medix_verl.rewards.metrics import part_metrics
from medix_verl.rewards.watch import UnscoredWindow, Watchdog

__all__ = ["MedixReplayBuffer", "MedixReplayBufferAsync", "SamplerSpec"]

_logger = logging.getLogger(__name__)
_COMPOSITES = ("reward", "score")
_MAX_REFILLED_BATCHES = 4


@dataclass(frozen=True)
class SamplerSpec:
    """`trainer.v1.sampler.sampler_kwargs` of a recipe."""

    n: int = 1
    """Answers a prompt, `actor_rollout_ref.rollout.n`."""
    val_n: int = 1
    train_batch_size: int = 1
    gen_batch_size: int | None = None
    filter_groups: Mapping[str, Any] | None = None
    """`algorithm.filter_groups`."""
    sync_refill_failed_groups: bool = False
    poll_interval: float = 2.0
    """Seconds between two looks at the queue; generation takes multiples of it."""
    max_unscored_share: float = 0.5
    unscored_min_count: int = 32
    unscored_window: int = 2048
    stall_timeout_s: float | None = 3600.0

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any] | DictConfig) -> SamplerSpec:
        """Read the recipe's block.

        Raises:
            ConfigError: an unknown key, or a group filter on a composite score.
        """
        plain: Any = OmegaConf.to_container(mapping, resolve=True) if isinstance(mapping, DictConfig) else mapping
        values = dict(plain or {})
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise ConfigError(
                f"trainer.v1.sampler.sampler_kwargs has {', '.join(unknown)}; "
                f"accepted are {', '.join(cls.__dataclass_fields__)}"
            )
        spec = cls(**values)
        if spec.filter_metric in _COMPOSITES:
            raise ConfigError(
                f"algorithm.filter_groups.metric={spec.filter_metric} is the composite, on which all-wrong groups are "
                "never equal and so never filtered: type algorithm.filter_groups.metric=acc"
            )
        return spec

    @property
    def filter_metric(self) -> str | None:
        """The key that DAPO's dynamic sampling compares within a group, or None when it is off."""
        block = self.filter_groups or {}
        return str(block.get("metric")) if block.get("enable") else None


class _Medix:
    """What both buffers add to verl's; mixed in before them."""

    def __init__(self, *, sampler_kwargs: Any, **kwargs: Any) -> None:
        spec = SamplerSpec.from_mapping(sampler_kwargs)
        filters = spec.filter_metric is not None or spec.sync_refill_failed_groups
        self.spec = spec
        self.window = UnscoredWindow(spec.max_unscored_share, spec.unscored_min_count, spec.unscored_window)
        self.ledger = open_ledger()
        self.pending_validation: dict[str, float] = {}
        self.last_seen: Any = None
        self.watchdog = Watchdog(spec.stall_timeout_s)
        self.unscored = 0
        self.causes: list[str] = []
        self.refilled = 0
        self.refill = kwargs.get("refill_fn")
        if self.refill is not None:
            kwargs["refill_fn"] = self._refill
        super().__init__(  # type: ignore[call-arg]
            sampler_kwargs=sampler_kwargs,
            poll_interval=spec.poll_interval,
            filter_groups_metric=spec.filter_metric,
            train_batch_size=spec.train_batch_size,
            gen_batch_size=1 if filters else (spec.gen_batch_size or spec.train_batch_size),
            max_inflight_gen_batches=int((spec.filter_groups or {}).get("max_inflight_gen_batches", 1)),
            sync_refill_failed_groups=spec.sync_refill_failed_groups,
            **kwargs,
        )

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[KVBatchMeta, dict[str, Any]]:
        """verl's sampling, with the parts of the reward among its metrics.

        Raises:
            RunStoppedError: no answer can be scored, or too large a share is not, with the last causes.
        """
        if fatal := read_fatal(self.ledger):
            raise RunStoppedError(f"no answer can be scored: {fatal}")
        expected = batch_size * (self.spec.n if partition_id != "val" else self.spec.val_n)
        self.watchdog.beat(f"generating for step {global_steps} ({partition_id})")
        try:
            batch, metrics = super().sample(global_steps, partition_id, batch_size)  # type: ignore[misc]
        except RuntimeError as error:
            _unscored, causes = self._entries()
            if causes:
                raise RunStoppedError(f"{error} Last causes of unscored answers: {'; '.join(causes)}") from error
            raise
        self.refilled = 0
        self._account(batch, metrics, partition_id, expected)
        self.watchdog.beat(f"computing step {global_steps} ({partition_id})")
        return batch, metrics

    def _entries(self) -> tuple[int, list[str]]:
        """The ledger's entries since the last batch: how many answers have no score, and the last causes."""
        unscored, causes = take_entries(self.ledger)
        self.unscored += unscored
        self.causes = list(dict.fromkeys([*self.causes, *causes]))[-5:]
        return self.unscored, self.causes

    def _refill(self, prompts: int) -> None:
        """verl's refill, unless the groups that it replaces are lost to a judge that is down: that has no end."""
        self.refilled += prompts
        if self.refilled > _MAX_REFILLED_BATCHES * self.spec.train_batch_size:
            unscored, causes = self._entries()
            if unscored >= self.spec.max_unscored_share * self.refilled * self.spec.n:
                raise RunStoppedError(
                    f"{self.refilled} prompts were replaced in one step, and {unscored} answers have no score; last "
                    f"causes: {'; '.join(causes)}; mend the judge or the encoder and start again"
                )
        assert self.refill is not None
        self.refill(prompts)

    def _account(self, batch: KVBatchMeta, metrics: dict[str, Any], partition_id: str, expected: int) -> None:
        unscored, causes = self._entries()
        self.unscored, self.causes = 0, []
        lost = max(unscored, expected - len(batch.keys))
        expected += self.spec.n * _thrown_away(metrics)
        self.window.add(lost, expected, causes)
        if lost:
            note = " (verl's own validation averages count each as acc 0)" if partition_id == "val" else ""
            _logger.warning("%d of %d answers have no score%s: %s", lost, expected, note, "; ".join(causes))
        if partition_id == "val":
            self.pending_validation = {"medix/val/unscored": float(lost)}
            return
        metrics.update(part_metrics(self._reward_extras(batch, partition_id)))
        metrics["medix/unscored"] = float(lost)
        metrics.update(self.pending_validation)
        self.pending_validation = {}

    @staticmethod
    def _reward_extras(batch: KVBatchMeta, partition_id: str) -> list[dict[str, float]]:
        if not batch.keys:
            return []
        fields = tq.kv_batch_get(keys=batch.keys, partition_id=partition_id, select_fields=["extra_fields"])
        entries = (getattr(entry, "data", entry) for entry in fields["extra_fields"])
        return [entry["reward_extra_info"] for entry in entries if entry.get("reward_extra_info")]

    def _wait_for_next_poll(self, partition_id: str, last_debug_time: float) -> float:
        seen = tuple(
            len(keys[partition_id])
            for keys in (self.pending_keys, self.running_keys, self.finished_keys, self.failure_keys, self.partitions)  # type: ignore[attr-defined]
        )
        if seen != self.last_seen:
            self.last_seen = seen
            self.watchdog.beat(f"generating ({partition_id}), {seen[1]} prompts running")
        return float(super()._wait_for_next_poll(partition_id, last_debug_time))  # type: ignore[misc]


def _thrown_away(metrics: Mapping[str, Any]) -> int:
    """Prompts that were answered and not trained on; the ledger has their unscored answers too."""
    endings = ("/evicted_samples", "/discarded_surplus_samples")
    return int(sum(value for key, value in metrics.items() if key.endswith(endings)))


class MedixReplayBuffer(_Medix, ReplayBuffer):
    """For `trainer.v1.trainer_mode=sync`."""


class MedixReplayBufferAsync(_Medix, ReplayBufferAsync):
    """For `trainer.v1.trainer_mode=colocate_async` and `separate_async`."""
