# SPDX-License-Identifier: Apache-2.0
"""verl's replay buffers, with itemised reward metrics, and with an end for runs that are stuck or unscored.

A recipe selects `MedixReplayBuffer` (sync trainer) or `MedixReplayBufferAsync` through
`trainer.v1.sampler.custom_sampler`. verl drops reward extras from its training log, but merges the metrics that a
sampler returns with its batch (verl/trainer/ppo/v1/trainer_base.py, _step_once), so they are added there. verl passes
a custom sampler no group filter and no batch sizes (_build_replay_buffer), so they are in `sampler_kwargs`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import transfer_queue as tq
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

from medix_verl.embedding import service as encoder_service
from medix_verl.errors import RunStoppedError
from medix_verl.judge import service as judge_service
from medix_verl.rewards import advantage
from medix_verl.rewards.composite import deciding_term, shares_of
from medix_verl.rewards.ledger import open_ledger, read_fatal, take_entries
from medix_verl.rewards.metrics import Tally, keep_parts, part_lines
from medix_verl.rewards.spec import SamplerSpec
from medix_verl.rewards.stop_rules import UnscoredWindow, Watchdog

__all__ = ["MedixReplayBuffer", "MedixReplayBufferAsync", "SamplerSpec"]

_logger = logging.getLogger(__name__)
_MAX_REFILLED_BATCHES = 4


class _Medix:
    """The additions to both of verl's buffers; a mixin that precedes them."""

    def __init__(self, *, sampler_kwargs: Any, **kwargs: Any) -> None:
        spec = SamplerSpec.from_mapping(sampler_kwargs)
        filters = spec.filter_metric is not None or spec.sync_refill_failed_groups
        self.spec = spec
        reward = spec.reward
        self.shares = shares_of(reward)
        self.deciding = deciding_term(reward)
        advantage.use(self.shares)
        limits = (0.0, 1) if spec.failure_policy == "abort" else (spec.max_unscored_share, spec.unscored_min_count)
        self.window = UnscoredWindow(*limits, spec.unscored_window)
        self.ledger = open_ledger()
        self.validation = Tally("medix/val", self.deciding.name)
        self.lone = 0
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
        """verl's sampling, with the reward's terms added to its metrics.

        Raises:
            RunStoppedError: no answer can be scored, or too many are unscored; the message has the last causes.
        """
        self._stop_if_fatal()
        expected = batch_size * (self.spec.n if partition_id != "val" else self.spec.val_n)
        self.watchdog.beat(f"generating for step {global_steps} ({partition_id})")
        try:
            batch, metrics = super().sample(global_steps, partition_id, batch_size)  # type: ignore[misc]
        except RuntimeError as error:
            self._stop_if_fatal()
            _unscored, causes = self._entries()
            if causes:
                raise RunStoppedError(f"{error} Last causes of unscored answers: {'; '.join(causes)}") from error
            raise
        self._stop_if_fatal()
        self.refilled = 0
        self._account(batch, metrics, partition_id, expected)
        self._keep_parts(batch.keys, global_steps, partition_id)
        self.watchdog.beat(f"computing step {global_steps} ({partition_id})")
        return batch, metrics

    def _stop_if_fatal(self) -> None:
        if fatal := read_fatal(self.ledger):
            raise RunStoppedError(f"no answer can be scored: {fatal}")

    def _entries(self) -> tuple[int, list[str]]:
        """The ledger's entries since the last batch: number of unscored answers, and the last causes."""
        unscored, causes = take_entries(self.ledger)
        self.unscored += unscored
        self.causes = list(dict.fromkeys([*self.causes, *causes]))[-5:]
        return self.unscored, self.causes

    def _refill(self, prompts: int) -> None:
        """verl's refill; stops the run if groups are lost because the judge is down, as refilling would never end."""
        self._stop_if_fatal()
        self.refilled += prompts
        batches = self.refilled / self.spec.train_batch_size
        if batches > _MAX_REFILLED_BATCHES:
            unscored, causes = self._entries()
            if unscored and unscored >= self.spec.max_unscored_share * self.refilled * self.spec.n:
                raise RunStoppedError(
                    f"{self.refilled} prompts were replaced in one step, and {unscored} answers have no score; last "
                    f"causes: {'; '.join(causes)}; fix the judge or the encoder and start again"
                )
        if batches > self.spec.max_refilled_batches:
            raise RunStoppedError(
                f"{self.refilled} prompts were replaced in one step, more than trainer.v1.sampler.sampler_kwargs."
                f"max_refilled_batches={self.spec.max_refilled_batches:g} batches: in nearly all groups every answer "
                f"has the same {self.spec.filter_metric}; look at the validation answers for a wrong prompt or judge, "
                "take easier or harder data, raise the limit, or type algorithm.filter_groups.enable=false"
            )
        assert self.refill is not None
        self.refill(prompts)

    def _account(self, batch: KVBatchMeta, metrics: dict[str, Any], partition_id: str, expected: int) -> None:
        failed, causes = self._entries()
        self.unscored, self.causes = 0, []
        missing = max(0, expected - len(batch.keys) - self.lone)
        expected += self.spec.n * _thrown_away(metrics)
        self.window.add(max(failed, missing), expected, causes)
        if failed or missing:
            self._report(partition_id, failed, missing, expected, causes)
        extras = self._reward_extras(batch.keys, partition_id)
        tally = self.validation if partition_id == "val" else Tally("medix", self.deciding.name)
        tally.add(extras, judge_service.collect_stats(), encoder_service.collect_stats())
        # Dynamic sampling discards answers; their failures are in the ledger too.
        renormalised = self.spec.failure_policy == "renormalise"
        tally.count(failed=failed, unscored=missing if renormalised else max(failed, missing))
        if partition_id == "val":
            return
        metrics["medix/lone"] = float(self.lone)
        self.lone = 0
        metrics.update(tally.metrics())
        metrics.update(self.validation.metrics())
        self.validation = Tally("medix/val", self.deciding.name)
        if self.spec.split_terms and batch.keys:
            advantage.split_scores(batch.keys, partition_id, extras, self.shares)

    def _report(self, partition_id: str, failed: int, missing: int, expected: int, causes: list[str]) -> None:
        note = " (verl's own validation averages count each missing one as acc 0)" if partition_id == "val" else ""
        _logger.warning(
            "%d failures and %d missing answers among %d%s: %s", failed, missing, expected, note, "; ".join(causes)
        )

    @staticmethod
    def _reward_extras(keys: list[str], partition_id: str) -> list[dict[str, float]]:
        if not keys:
            return []
        (entries,) = _fields(keys, partition_id, "extra_fields")
        return [entry.get("reward_extra_info") or {} for entry in entries]

    def _keep_parts(self, keys: list[str], step: int, partition_id: str) -> None:
        if not self.spec.rollout_data_dir or not keys:
            return
        entries, infos, sources = _fields(keys, partition_id, "extra_fields", "extra_info", "data_source")
        extras = [entry.get("reward_extra_info") or {} for entry in entries]
        folder = Path(self.spec.rollout_data_dir).expanduser()
        keep_parts(folder, step, partition_id == "val", part_lines(keys, extras, infos, sources, self.deciding.name))

    def _dapo_filtered_keys(self, partition_id: str) -> tuple[set[str], Counter[float]]:
        """verl's filter, without the groups in which a verdict is missing.

        A renormalised answer whose deciding term failed has acc 0, so verl would treat a group of wrong and unknown
        answers as all wrong.
        """
        known = set(self._dapo_classification_cache[partition_id])  # type: ignore[attr-defined]
        filtered, counts = super()._dapo_filtered_keys(partition_id)  # type: ignore[misc]
        new = filtered - known
        if not new or self.spec.failure_policy != "renormalise":
            return filtered, counts
        cache = self._dapo_classification_cache[partition_id]  # type: ignore[attr-defined]
        for uid in new & self._groups_with_unknown(partition_id, new):
            cache[uid] = None
        kept = {uid: value for uid, value in cache.items() if value is not None}
        return set(kept), Counter(kept.values())

    def _groups_with_unknown(self, partition_id: str, uids: set[str]) -> set[str]:
        keys = [key for key in self.partitions[partition_id] if key.split("_")[0] in uids]  # type: ignore[attr-defined]
        extras = self._reward_extras(keys, partition_id)
        known = self.deciding.flag
        return {
            key.split("_")[0] for key, extra in zip(keys, extras, strict=True) if known and not extra.get(known, 1.0)
        }

    def _wait_for_next_poll(self, partition_id: str, last_debug_time: float) -> float:
        """verl's pause; checks whether the run must end, also during the wait of `hybrid_rollout` before `sample`.

        Raises:
            RunStoppedError: as `sample`.
        """
        self._stop_if_fatal()
        if self.spec.failure_policy == "abort":
            failed, causes = self._entries()
            if failed:
                self.window.add(failed, failed, causes)
        seen = tuple(
            len(keys[partition_id])
            for keys in (self.pending_keys, self.running_keys, self.finished_keys, self.failure_keys, self.partitions)  # type: ignore[attr-defined]
        )
        if seen != self.last_seen:
            self.last_seen = seen
            self.watchdog.beat(f"generating ({partition_id}), {seen[1]} prompts running")
        return float(super()._wait_for_next_poll(partition_id, last_debug_time))  # type: ignore[misc]


def _fields(keys: list[str], partition_id: str, *names: str) -> list[list[Any]]:
    """Some fields of some answers, as plain objects."""
    found = tq.kv_batch_get(keys=keys, partition_id=partition_id, select_fields=list(names))
    return [[getattr(entry, "data", entry) for entry in found[name]] for name in names]


def lone_keys(keys: Iterable[str]) -> list[str]:
    """The keys whose group has only one session; a key is `UID_SESSION_INDEX` (verl's replay_buffer.py)."""
    sessions: dict[str, set[str]] = {}
    held = list(keys)
    for key in held:
        uid, session, *_ = key.split("_")
        sessions.setdefault(uid, set()).add(session)
    return [key for key in held if len(sessions[key.split("_")[0]]) == 1]


def _thrown_away(metrics: Mapping[str, Any]) -> int:
    """Prompts that were answered but not used for training; the ledger has their unscored answers too."""
    endings = ("/evicted_samples", "/discarded_surplus_samples")
    return int(sum(value for key, value in metrics.items() if key.endswith(endings)))


class MedixReplayBuffer(_Medix, ReplayBuffer):
    """For `trainer.v1.trainer_mode=sync`, which also trains on groups that have lost an answer."""

    def _dapo_filtered_keys(self, partition_id: str) -> tuple[set[str], Counter[float]]:
        """verl's filter, also for groups that have lost an answer; groups with a single answer left are filtered out.

        verl checks whole groups only (replay_buffer.py, _dapo_filtered_keys), and would train on the rest of a group
        whose answers are all wrong.
        """
        if partition_id == "val" or self.filter_groups_metric is None:
            return super()._dapo_filtered_keys(partition_id)
        whole = self.finished_keys[partition_id]
        keys = [key for key in self.partitions[partition_id] if key.split("_")[0] in self.failure_keys[partition_id]]
        self.finished_keys[partition_id] = whole | {key.split("_")[0] for key in keys}
        try:
            filtered, counts = super()._dapo_filtered_keys(partition_id)
        finally:
            self.finished_keys[partition_id] = whole
        return filtered | {key.split("_")[0] for key in lone_keys(keys)}, counts

    def _materialize_batch(
        self, partition_id: str, uids: list[str], snapshot: dict[str, dict[str, Any]]
    ) -> KVBatchMeta:
        """verl's batch without answers that are the last of their group.

        GRPO uses mean 0 and deviation 1 for a group of one (core_algos.py, compute_grpo_outcome_advantage), so a wrong
        answer would be rewarded for its format.
        """
        batch = super()._materialize_batch(partition_id, uids, snapshot)
        lone = set(lone_keys(batch.keys)) if partition_id != "val" and self.spec.compares_groups else set()
        if not lone:
            return batch
        if len(lone) == len(batch.keys):
            raise RuntimeError("No group of this step has two answers left.")
        tq.kv_clear(partition_id=partition_id, keys=sorted(lone))
        self.lone = len(lone)
        left = [(key, tag) for key, tag in zip(batch.keys, batch.tags, strict=True) if key not in lone]
        return KVBatchMeta(partition_id=partition_id, keys=[key for key, _ in left], tags=[tag for _, tag in left])


class MedixReplayBufferAsync(_Medix, ReplayBufferAsync):
    """For `trainer.v1.trainer_mode=colocate_async` and `separate_async`."""
