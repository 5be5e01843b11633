# SPDX-License-Identifier: Apache-2.0
"""The prompt settings of a model's training: prompt template, thinking mode, and arguments of the chat template.

A run's record (medix_run.json) contains them among other things. An exported model has only these settings, in
medix_model.json next to its weights, so that an evaluation can use the same prompt as training. The record itself is
not copied, because it contains local paths and models are shared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from medix_verl.data.prompts import is_template, prompt_sha256
from medix_verl.errors import DataError
from medix_verl.runtime.files import write_json
from medix_verl.specs import Choice, Section, Text, spec

__all__ = ["MODEL_FILE", "RUN_FILE", "TrainedWith", "read_trained_with", "write_trained_with"]

MODEL_FILE = "medix_model.json"
RUN_FILE = "medix_run.json"
STEP = "global_step_"
"""Prefix of verl's checkpoint folders, which are in the same folder as the run's record."""


@spec(MODEL_FILE)
class TrainedWith(Section):
    """The prompt settings used in training."""

    prompt: Text = "medix"
    """data.medix.prompt"""
    prompt_sha256: Text | None = None
    """Hash of the template's text at training time; None if the record does not contain it."""
    thinking: Annotated[str, Choice(("auto", "none", "open", "closed"))] = "auto"
    """reward.medix.thinking"""
    special_tokens: Text = "refuse"
    """reward.medix.special_tokens"""
    chat_template_kwargs: Mapping[str, Any] | None = None
    """data.apply_chat_template_kwargs"""

    @property
    def is_known_prompt(self) -> bool:
        """Whether the template exists and its text has not changed."""
        same = is_template(self.prompt) and self.prompt_sha256 in (None, prompt_sha256(self.prompt))
        return bool(same)


def of_config(config: Mapping[str, Any]) -> TrainedWith:
    """The settings in a run's configuration."""

    def at(*keys: str) -> Any:
        found: Any = config
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    given = {
        "prompt": at("data", "medix", "prompt"),
        "thinking": at("reward", "medix", "thinking"),
        "special_tokens": at("reward", "medix", "special_tokens"),
        "chat_template_kwargs": at("data", "apply_chat_template_kwargs"),
    }
    return TrainedWith(**{name: value for name, value in given.items() if value})


def read_trained_with(folder: Path) -> TrainedWith | None:
    """Read a model's settings, from its own file or else from the record of its run; None if there is neither.

    Raises:
        DataError: The file cannot be read.
    """
    own = folder / MODEL_FILE
    place = folder.resolve()
    runs = [step.parent for step in (place, *place.parents) if step.name.startswith(STEP)]
    places = (place, place / "checkpoints", *runs)
    records = [place / RUN_FILE for place in places]
    path = next((path for path in (own, *records) if path.is_file()), None)
    if path is None:
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return TrainedWith.from_mapping(found) if path == own else of_config(found["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}); remove it, and say --prompt and --thinking") from error


def write_trained_with(record: Path, folder: Path) -> None:
    """Write a run's settings into a model's folder; does nothing if the run has no record.

    Args:
        record: The run's folder.
        folder: The model's folder.
    """
    known = read_trained_with(record)
    if known is not None:
        digest = prompt_sha256(known.prompt) if is_template(known.prompt) else None
        write_json(folder / MODEL_FILE, {**asdict(known), "prompt_sha256": digest})  # type: ignore[call-overload]
