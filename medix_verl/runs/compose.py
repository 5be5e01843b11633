# SPDX-License-Identifier: Apache-2.0
"""Makes a run's record from its configuration, before anything of it has started. Refuses nothing: a run that could
not be described must still run, so what cannot be had is None.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import medix_verl.runs
from medix_verl.runs.record import Identity, RunRecord
from medix_verl.runs.secrets import find_secrets, hide_variables, scrub
from medix_verl.runs.surroundings import commits, identify, list_files, versions

__all__ = ["compose_record", "resolved"]

LARGEST = 1e300
"""A weight above it, and one that is no number, is left out of the record."""
_RECIPE = re.compile(r"^\+{1,2}recipe(?:@[^=]*)?=(?P<names>.*)$", re.DOTALL)


def compose_record(config: Any, words: Sequence[str], environment: Mapping[str, str] | None = None) -> RunRecord:
    """The record of a run that is about to start, its data files not hashed yet.

    Args:
        config: verl's configuration, not resolved (an OmegaConf node, without the key `hydra`).
        words: The overrides as typed.
        environment: Whose secrets must not be in it; None is this process's.
    """
    values = resolved(config)
    secrets, keys = find_secrets(values, os.environ if environment is None else environment, words)
    record = describe(values, words)
    clean: list[str] = scrub(list(words), secrets)
    data = tuple(replace(file, path=scrub(file.path, secrets)) for file in record.data)
    withheld = [word.split("=", 1)[0].lstrip("+~") for word, kept in zip(words, clean, strict=True) if word != kept]
    return replace(
        record,
        overrides=tuple(clean),
        config=scrub(values, secrets),
        data=data,
        model=scrubbed(record.model, secrets),
        judge=scrubbed(record.judge, secrets),
        encoder=scrubbed(record.encoder, secrets),
        withheld=tuple(dict.fromkeys([*withheld, *keys])),
    )


def scrubbed(identity: Identity, secrets: set[str]) -> Identity:
    return replace(identity, name=scrub(identity.name, secrets), url=scrub(identity.url, secrets))


def resolved(config: Any) -> dict[str, Any]:
    """The configuration with every reference followed, but those to the environment."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    raw = OmegaConf.to_container(config, resolve=False)
    assert isinstance(raw, dict)
    hidden = hide_variables(raw)
    try:
        values = OmegaConf.to_container(OmegaConf.create(hidden), resolve=True)
    except OmegaConfBaseException:
        values = hidden  # a reference without a target, which the run itself will stumble over
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}


def describe(values: Mapping[str, Any], words: Sequence[str]) -> RunRecord:
    """The record with whatever secrets the configuration has."""
    data = section(values, "data")
    return RunRecord(
        started=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        overrides=tuple(words),
        recipes=tuple(recipes(words)),
        config=values,
        versions=versions(),
        commits=commits([Path.cwd(), Path(medix_verl.runs.__file__).parent]),
        data=tuple(list_files(texts(data.get("train_files")), texts(data.get("val_files")))),
        model=identify(section(values, "actor_rollout_ref", "model").get("path")),
        judge=judge_of(values),
        encoder=encoder_of(values),
        seed=data.get("seed") if isinstance(data.get("seed"), int) else None,
        terms=terms_of(values),
        directory=str(Path.cwd()),
    )


def recipes(words: Sequence[str]) -> list[str]:
    """The names that `+recipe=NAME` or `+recipe=[A,B]` gives."""
    return [
        name for word in words if (match := _RECIPE.match(word)) for name in re.findall(r"[\w./-]+", match["names"])
    ]


def judge_of(values: Mapping[str, Any]) -> Identity:
    """Who judges."""
    judge = section(values, "reward", "medix", "judge")
    kind = str(judge.get("kind") or "none")
    if kind == "verl":
        return identify(section(values, "reward", "reward_model").get("model_path"), kind)
    if kind == "openai":
        urls = texts(judge.get("url"))
        return identify(judge.get("model"), kind, ", ".join(urls) or None)
    return Identity(kind, revision=f"medix-verl {versions()['medix-verl']}" if kind == "rule" else None)


def encoder_of(values: Mapping[str, Any]) -> Identity:
    """Who compares meanings."""
    semantic = section(values, "reward", "medix", "semantic")
    if not semantic or semantic.get("enable") is False:
        return Identity("off")
    return identify(semantic.get("model"), str(semantic.get("kind") or "unknown"))


def terms_of(values: Mapping[str, Any]) -> dict[str, float]:
    """The terms of the reward and their weights; one whose weight the configuration leaves out is not here."""
    reward = section(values, "reward", "medix")
    weights = {**section(reward, "weights"), "format": reward.get("format_weight")}
    weights |= {name: section(reward, "terms", name).get("weight") for name in section(reward, "terms")}
    numbers = {str(name): weight for name, weight in weights.items() if isinstance(weight, (int, float))}
    return {name: float(weight) for name, weight in numbers.items() if abs(weight) < LARGEST}


def section(values: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """A section of the configuration; an empty one where there is none."""
    for key in path:
        found = values.get(key)
        values = found if isinstance(found, Mapping) else {}
    return values


def texts(value: Any) -> list[str]:
    """One text or a list of them, as a list."""
    if value is None:
        return []
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else [str(value)]
