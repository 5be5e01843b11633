# SPDX-License-Identifier: Apache-2.0
"""Selects the prompt, thinking mode and chat template arguments that a model was trained with, if they are recorded.

For a folder, they are read from its own file or from the record of its run; for a server, from the folder in its list
of models, if that is on this machine. The user's settings take precedence; differences are reported, and so is a
missing record.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from medix_verl.chat_template import template_thinking
from medix_verl.data.trained_with import TrainedWith, read_trained_with
from medix_verl.errors import ConfigError
from medix_verl.evaluation.models.generation import GenerationSpec
from medix_verl.evaluation.models.source import Model

__all__ = ["Asked", "as_trained"]

DEFAULT = "medix"


@dataclass(frozen=True, slots=True)
class Asked:
    """The resolved settings for asking a model."""

    template: str
    thinking: str
    """none, open or closed."""
    generation: GenerationSpec
    notes: tuple[str, ...] = ()
    """Notes for the user."""


def as_trained(model: Model, template: str | None, thinking: str, generation: GenerationSpec) -> Asked:
    """The user's settings, completed with those that the model was trained with.

    Args:
        model: The model.
        template: Name of a prompt template; None if the user gave none.
        thinking: none, open or closed; `auto` if the user gave none.
        generation: The user's settings.

    Raises:
        ConfigError: The model was trained with a prompt that this version does not have.
        DataError: The model's own file cannot be read.
    """
    place = folder_of(model)
    known = None if place is None else read_trained_with(place)
    notes = []
    if known is None:
        if template is None:
            finding = f"nothing beside {model.name} says with which prompt it was trained"
            notes.append(f"{finding}; {DEFAULT!r} is used: type --prompt NAME if it was another")
        known = TrainedWith()
    elif template is not None and template != known.prompt:
        notes.append(f"--prompt {template}, and {model.name} was trained with {known.prompt}: its score will be lower")
    elif not known.is_known_prompt:
        fault = f"{model.name} was trained with the prompt {known.prompt!r}, of which this version has "
        if template is None:
            raise ConfigError(f"{fault}no such text; install the version of medix-verl that has it, or type --prompt")
        notes.append(f"{fault}another text")
    given = generation.chat_template_kwargs or known.chat_template_kwargs or {}
    extra = generation.extra_body
    if known.special_tokens == "keep":
        # Decode as in training; the server never includes the end-of-turn token in the text.
        extra = {"skip_special_tokens": False, **extra}
    generation = replace(generation, chat_template_kwargs=given, extra_body=extra)
    read = known.thinking if thinking == "auto" else thinking
    if read == "auto":
        found = None if place is None and model.url is not None else template_thinking(str(place or model.name), given)
        if found is None and model.url is None:
            absent = f"the chat template of {model.name} is not on this machine"
            notes.append(f"{absent}; type --thinking open if it opens the thinking")
        read = "none" if found is None else found.value
    return Asked(template or known.prompt, read, generation, tuple(notes))


def folder_of(model: Model) -> Path | None:
    """The model's folder on this machine; None if it is elsewhere or unknown."""
    from medix_verl.evaluation.store.provenance import server_facts

    named = model.name
    if model.url is not None:
        named = str(server_facts(model.url, model.name, model.api_key_env)["model"].get("root") or "")
    place = Path(named)
    return place if named.startswith("/") and place.is_dir() else None
