# SPDX-License-Identifier: Apache-2.0
"""Makes a run's record from its configuration, before the run starts.

Never refuses a run: information that is not available is None.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import medix_verl.runs
from medix_verl.errors import MedixError
from medix_verl.recipe.data_files import list_files
from medix_verl.recipe.identity import Identity, encoder_of, identify, judge_of, prompts_of, section, texts, versions
from medix_verl.recipe.lock import texts_of
from medix_verl.runs.logs import log_paths
from medix_verl.runs.record import RunRecord
from medix_verl.runs.surroundings import commits
from medix_verl.secrets import find_secrets, reads_environment, scrub

__all__ = ["compose_record", "resolved"]

LARGEST = 1e300
"""Weights with a larger magnitude, and values that are not numbers, are left out of the record."""
_RECIPE = re.compile(r"^\+{1,2}recipe(?:@[^=]*)?=(?P<names>.*)$", re.DOTALL)


def compose_record(config: Any, words: Sequence[str], environment: Mapping[str, str] | None = None) -> RunRecord:
    """The record of a run that is about to start; its data files are not hashed yet.

    Args:
        config: verl's configuration, not resolved (an OmegaConf node, without the key `hydra`).
        words: The overrides as typed.
        environment: Environment whose secrets are removed; None uses that of this process.
    """
    variables = os.environ if environment is None else environment
    values = resolved(config)
    secrets, keys = find_secrets(values, variables, words)
    record = replace(describe(values, words, variables), prompts=prompts_of(config), texts=_texts(recipes(words)))
    clean: list[str] = scrub(list(words), secrets)
    data = tuple(replace(file, path=scrub(file.path, secrets)) for file in record.data)
    withheld = [word.split("=", 1)[0].lstrip("+~") for word, kept in zip(words, clean, strict=True) if word != kept]
    return replace(
        record,
        overrides=tuple(clean),
        config=scrub(values, secrets),
        texts=scrub(record.texts, secrets),
        data=data,
        logs=scrub(dict(record.logs), secrets),
        model=scrubbed(record.model, secrets),
        judge=scrubbed(record.judge, secrets),
        encoder=scrubbed(record.encoder, secrets),
        withheld=tuple(dict.fromkeys([*withheld, *keys])),
    )


def _texts(names: Sequence[str]) -> dict[str, str]:
    """The recipes' texts; empty if a folder of recipes is broken, which stops the run elsewhere."""
    try:
        return texts_of(names)
    except (MedixError, OSError):
        return {}


def scrubbed(identity: Identity, secrets: set[str]) -> Identity:
    return replace(identity, name=scrub(identity.name, secrets), url=scrub(identity.url, secrets))


def resolved(config: Any) -> dict[str, Any]:
    """The configuration with all references resolved, except those to the environment."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    raw = OmegaConf.to_container(config, resolve=False)
    assert isinstance(raw, dict)
    written: dict[str, str] = {}
    kept = _put_by(raw, written)
    try:
        values = OmegaConf.to_container(OmegaConf.create(kept), resolve=True)
    except OmegaConfBaseException:
        values = kept  # a reference without a target, which the run itself will report
    found = _put_back(values, written)
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}


def _put_by(values: Any, written: dict[str, str]) -> Any:
    """Replace each text that reads the environment by a mark; stores the texts by mark in `written`."""
    if isinstance(values, dict):
        return {key: _put_by(value, written) for key, value in values.items()}
    if isinstance(values, list):
        return [_put_by(value, written) for value in values]
    if not isinstance(values, str) or not reads_environment(values):
        return values
    mark = f"medix-variable-{len(written)}-{uuid.uuid4().hex}"
    written[mark] = values
    return mark


def _put_back(values: Any, written: Mapping[str, str]) -> Any:
    if isinstance(values, dict):
        return {key: _put_back(value, written) for key, value in values.items()}
    if isinstance(values, list):
        return [_put_back(value, written) for value in values]
    if isinstance(values, str):
        for mark, text in written.items():
            values = values.replace(mark, text)
    return values


def describe(values: Mapping[str, Any], words: Sequence[str], environment: Mapping[str, str]) -> RunRecord:
    """The record, with any secrets of the configuration."""
    data = section(values, "data")
    return RunRecord(
        started=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        overrides=tuple(words),
        recipes=tuple(recipes(words)),
        config=values,
        versions=versions(),
        commits=commits([Path.cwd(), Path(medix_verl.runs.__file__).parent]),
        data=tuple(list_files(texts(data.get("train_files")), texts(data.get("val_files")))),
        model=identify((section(values, "actor_rollout_ref", "model") or section(values, "model")).get("path")),
        judge=judge_of(values),
        encoder=encoder_of(values),
        seed=data.get("seed") if isinstance(data.get("seed"), int) else None,
        terms=terms_of(values),
        directory=str(Path.cwd()),
        logs=log_paths(values, environment),
    )


def recipes(words: Sequence[str]) -> list[str]:
    """The names in `+recipe=NAME` or `+recipe=[A,B]`."""
    return [
        name for word in words if (match := _RECIPE.match(word)) for name in re.findall(r"[\w./-]+", match["names"])
    ]


def terms_of(values: Mapping[str, Any]) -> dict[str, float]:
    """The terms of the reward and their weights; terms without a weight in the configuration are left out."""
    reward = section(values, "reward", "medix")
    weights = {**section(reward, "weights"), "format": reward.get("format_weight")}
    weights |= {name: section(reward, "terms", name).get("weight") for name in section(reward, "terms")}
    numbers = {str(name): weight for name, weight in weights.items() if isinstance(weight, (int, float))}
    return {name: float(weight) for name, weight in numbers.items() if abs(weight) < LARGEST}
