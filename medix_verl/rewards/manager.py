# SPDX-License-Identifier: Apache-2.0
"""MedixRewardManager: verl's reward manager over the composite reward.

A recipe selects it with `reward.reward_manager.{source: importlib, module.path: pkg://medix_verl.rewards.manager}`.
It only converts between verl's DataProto and our types. An answer that cannot be scored raises UnscoredError: verl's V1
trainer then drops the trajectory and, in sync mode, trains on the rest of the group (the async modes replace the whole
group). A score of 0 would instead train the policy as if an outage were a wrong answer. Each failure is recorded in the
run's ledger, under every policy; a run with too many failures is stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from PIL import Image
from verl import DataProto
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from medix_verl.chat_template import LAST_TOKENS, ReplyReader, contradiction, read_template, refuse_unknown
from medix_verl.credentialed import is_credentialed
from medix_verl.errors import ConfigError, MedixError, UnscoredError
from medix_verl.judge.pictures import ref_of_pixels
from medix_verl.rewards.composite import CompositeReward
from medix_verl.rewards.keys import to_verl
from medix_verl.rewards.ledger import report_fatal, report_unscored
from medix_verl.rewards.metrics import BusyClock
from medix_verl.rewards.reading import parse_ground_truth
from medix_verl.rewards.spec import MANAGER, RewardSpec, unused_function
from medix_verl.thinking import Thinking
from medix_verl.types import ImageRef, Reference

__all__ = ["MedixRewardManager", "compute_score"]

_logger = logging.getLogger(__name__)


class MedixRewardManager(RewardManagerBase):
    """Scores one trajectory per call; verl calls it concurrently in each of its `reward.num_workers` processes."""

    composite: type[CompositeReward] = CompositeReward
    """The reward; a subclass may set another one (see examples/add_a_reward_term.py)."""

    def __init__(
        self,
        config: DictConfig,
        tokenizer: Any,
        compute_score: Any = None,
        reward_router_address: str | None = None,
        reward_model_tokenizer: Any = None,
    ) -> None:
        super().__init__(config, tokenizer, compute_score)
        block: Any = OmegaConf.to_container(config.reward.get("medix") or OmegaConf.create({}), resolve=True)
        served_model = config.reward.reward_model.get("model_path")
        try:
            function = config.reward.get("custom_reward_function") or {}
            if function.get("path") not in (None, MANAGER):
                raise ConfigError(unused_function(function.get("path"), function.get("name")))
            spec = RewardSpec.from_mapping(block)
            if not block:
                _logger.warning(
                    "reward.medix is not set: the judge is %s; type +recipe=medix_reward to set it", spec.judge.kind
                )
            self.shows_pictures = spec.judge.shows_pictures
            self.replies = ReplyReader(tokenizer, spec.special_tokens)
            self.template_says = self._check_template(spec.thinking)
            self.reward = self.composite.from_spec(spec, served_url=reward_router_address, served_model=served_model)
        except MedixError as error:
            # verl notices a failed start of a reward process only at its first use, and without the cause.
            report_fatal(str(error))
            raise
        self.clock = BusyClock()

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Score the last output of one trajectory.

        Args:
            data: rows of one trajectory; batch `responses` (rows, length) and `attention_mask` (rows, prompt +
                response length), optionally `prompts` (rows, prompt length), non-tensor `reward_model` and `extra_info`
                (dicts), optionally `prompt_len` (tokens of each prompt).

        Returns:
            `reward_score` in [0, 1] and `reward_extra_info`, with the same numeric keys for every answer.

        Raises:
            UnscoredError: the judge or the encoder failed on this answer.
            ConfigError: the row is credentialed and the judge is not local; the run is stopped.
        """
        item = data[-1:]
        self.clock.enter()
        try:
            thinking = self._thinking(item)
            # A user's composite may have a `score` of two arguments, which is sufficient for most prompts.
            more = {} if thinking is Thinking.NONE else {"thinking": thinking}
            breakdown = await self.reward.score(self._decode(item), self._reference(item), **more)
        except ConfigError as error:
            # For verl this is one failed trajectory, and the run would continue without it.
            report_fatal(str(error))
            report_unscored(str(error))
            raise
        finally:
            busy_s = self.clock.leave()
        if breakdown.reason:
            report_unscored(breakdown.reason)
        if breakdown.score is None:
            raise UnscoredError(f"answer {_sample_id(item)} is unscored: {breakdown.reason}")
        timing = {"reward_busy_s": busy_s, "thinking_open": float(self.reward.thinking(thinking) is Thinking.OPEN)}
        return {"reward_score": breakdown.score, "reward_extra_info": {**to_verl(breakdown), **timing}}

    def _decode(self, item: DataProto) -> str:
        responses = item.batch["responses"][0]
        length = int(item.batch["attention_mask"][0][-responses.shape[-1] :].sum())
        return self.replies.text(responses[:length])

    def _thinking(self, item: DataProto) -> Thinking:
        """The thinking state that the answer's own prompt sets.

        Raises:
            ConfigError: The prompt ends with an unknown mark, and the recipe does not set `thinking`.
        """
        if self.reward.spec.thinking != "auto":
            return Thinking(self.reward.spec.thinking)
        if "prompts" not in item.batch.keys():  # noqa: SIM118 - a TensorDict has no other membership test
            return self.template_says
        prompt = item.batch["prompts"][0]
        if "prompt_len" in item.non_tensor_batch:
            # After several turns, prompts are padded on the right, and the mask is that of the longest.
            prompt = prompt[: int(item.non_tensor_batch["prompt_len"][0])]
        else:
            prompt = prompt[item.batch["attention_mask"][0][: prompt.shape[-1]].bool()]
        return refuse_unknown(self.replies.prompt_end(prompt[-LAST_TOKENS:].tolist()))

    def _check_template(self, thinking: str) -> Thinking:
        """Return the template's thinking state; refuse a template with an unknown thinking mark, before generation."""
        given = self.config.data.get("apply_chat_template_kwargs") or OmegaConf.create({})
        settings: Any = OmegaConf.to_container(given, resolve=True)
        own = self.config.actor_rollout_ref.model.get("custom_chat_template")
        try:
            _, end = read_template(self.tokenizer, {**settings, **({"chat_template": own} if own else {})})
        except ConfigError as error:
            # A processor may have the template. If there is none, verl reports it when it renders the first prompt.
            _logger.warning("the chat template was not checked: %s", error)
            return Thinking.NONE
        if wrong := contradiction(thinking, end):
            _logger.warning(wrong)
        return refuse_unknown(end) if thinking == "auto" else Thinking.NONE

    def _reference(self, item: DataProto) -> Reference:
        return _reference(item, _pictures(item) if self.shows_pictures else ())


def compute_score(*_args: Any, **_kwargs: Any) -> float:
    """Never called. If no function is named, verl bypasses the reward manager in a run with a served judge.

    See verl/experimental/reward_loop/reward_loop.py, RewardLoopWorker.compute_score.
    """
    raise NotImplementedError("the score comes from MedixRewardManager.run_single")


def _reference(item: DataProto, images: Sequence[ImageRef] = ()) -> Reference:
    extra = item.non_tensor_batch["extra_info"][0] or {}
    tolerance = extra.get("tolerance")
    return parse_ground_truth(
        str(item.non_tensor_batch["reward_model"][0]["ground_truth"]),
        modality=extra.get("modality"),
        question=extra.get("question"),
        synonyms=tuple(extra.get("synonyms") or ()),
        options=tuple(extra["options"]) if extra.get("options") else None,
        tolerance=None if tolerance is None else float(tolerance),
        credentialed_row=_credentialed_row(item),
        label=extra.get("label"),
        images=images,
    )


def _pictures(item: DataProto) -> list[ImageRef]:
    """The row's pictures, from the messages of its prompt (see medix_verl.data.pictures.messages).

    Raises:
        ConfigError: The messages are missing, or contain a picture in another form.
    """
    messages = item.non_tensor_batch["raw_prompt"][0] if "raw_prompt" in item.non_tensor_batch else None
    if messages is None:
        raise ConfigError(
            "judge.images is true and the rows have no raw_prompt with their pictures; use data.custom_cls of the "
            "recipe medix (MedixDataset), or type reward.medix.judge.images=false"
        )
    contents = [message["content"] for message in messages]
    parts = [part for content in contents if not isinstance(content, str) for part in content]
    return [_picture(part["image"]) for part in parts if part.get("type") == "image"]


def _picture(image: Any) -> ImageRef:
    """One picture, in the form in which the row has it: `encoded`, `files` or `pixels`."""
    if isinstance(image, bytes):
        return ImageRef(bytes=image)
    if isinstance(image, str):
        return ImageRef(path=image)
    if isinstance(image, Image.Image):
        return ref_of_pixels(image)
    raise ConfigError(
        f"judge.images is true and a picture of the prompt is a {type(image).__name__}; accepted: bytes, a path, or a "
        "PIL picture, as data.custom_cls of the recipe medix gives them"
    )


def _credentialed_row(item: DataProto) -> str | None:
    """The name of a credentialed row, for messages; None for other rows."""
    source = str(item.non_tensor_batch["data_source"][0]) if "data_source" in item.non_tensor_batch else None
    if not is_credentialed(source, item.non_tensor_batch["extra_info"][0] or {}):
        return None
    return f"row {_sample_id(item)!r} of {source or 'an unnamed data source'}"


def _sample_id(item: DataProto) -> str:
    extra = item.non_tensor_batch["extra_info"][0] or {}
    return str(extra.get("id", extra.get("index", "?")))
