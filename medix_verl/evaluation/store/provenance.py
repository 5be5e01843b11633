# SPDX-License-Identifier: Apache-2.0
"""Records what an evaluation's results depend on besides its settings: checkpoint, server, rows and prompt.

It is stored in eval.json; `--resume` stops if any of it has changed and names the difference. A server describes its
model in its list (vLLM: the folder or hub id behind the name); for a server that lists only a name, see
medix_verl.evaluation.store.identity.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medix_verl.data.prompts import prompt_sha256
from medix_verl.data.schema import to_row
from medix_verl.evaluation.models.source import KEY_SETTING, Model
from medix_verl.evaluation.settings import setting
from medix_verl.evaluation.tasks.expected import SourceFacts
from medix_verl.evaluation.tasks.pictures import Item
from medix_verl.evaluation.tasks.table import TaskSpec
from medix_verl.openai_client import OpenAIClient, RequestError, read_key

__all__ = ["IDENTITY", "checkpoint_facts", "place_of", "rows_sha256", "server_facts", "source_facts"]

ASK_S = 10.0
IDENTITY = ("root", "parent", "meta", "revision", "digest", "quantization")
"""Keys of a model in a server's list that would differ for another model under the same name."""
OF_A_MODEL = (*IDENTITY, "max_model_len", "owned_by")
"""Keys that are stored; `created` is not, because vLLM sets it to the current time."""
SAMPLE_BYTES = 1 << 16
"""Bytes read at the start, middle and end of each file; enough, because training changes every tensor."""


def rows_sha256(items: Iterable[Item]) -> str:
    """Hash of a task's questions, including everything that a judge may use; independent of their order."""
    total = hashlib.sha256()
    for line in sorted(row_text(item) for item in items):
        total.update(line.encode("ascii"))
    return total.hexdigest()


def row_text(item: Item) -> str:
    """One question as a line of JSON, with the hashes of its pictures."""
    row = {**to_row(item.sample), "images": [picture.hash for picture in item.pictures]}
    return json.dumps(row, sort_keys=True, ensure_ascii=True, default=str) + "\n"


def place_of(task: TaskSpec, source: Path | None) -> str:
    """Where a task's questions come from: an absolute path, or a hub id."""
    return str(task.hub_id) if source is None else str(source.expanduser().resolve())


def source_facts(task: TaskSpec, source: Path | None, facts: SourceFacts, items: Iterable[Item]) -> dict[str, Any]:
    """The manifest's entry for the source of a task's questions."""
    return {
        "place": place_of(task, source),
        "revision": facts.revision,
        "digest": facts.digest,
        "rows_sha256": rows_sha256(items),
        **({"prompt_sha256": prompt_sha256(task.prompt)} if task.prompt else {}),
    }


def checkpoint_facts(model: Model) -> dict[str, Any]:
    """Identity of the weights of a locally served model: a folder's hash, or the hub's commit.

    Empty for a running server, and for a hub model that is not downloaded yet.
    """
    if model.url is not None:
        return {}
    folder = Path(model.name)
    if folder.is_dir():
        return {"sha256": folder_sha256(folder)}
    from huggingface_hub import try_to_load_from_cache

    with contextlib.suppress(ValueError):
        found = try_to_load_from_cache(model.name, "config.json")
        if isinstance(found, str):
            return {"revision": Path(found).parent.name}
    return {}


def folder_sha256(folder: Path) -> str:
    """Hash over the names, sizes and samples of the content of a checkpoint's files."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        size = path.stat().st_size
        total.update(f"{path.name}\t{size}\n".encode("utf-8", "surrogateescape"))
        with path.open("rb") as source:
            for start in sorted({0, max(0, size // 2), max(0, size - SAMPLE_BYTES)}):
                source.seek(start)
                total.update(source.read(SAMPLE_BYTES))
    return total.hexdigest()


def server_facts(url: str, name: str, api_key_env: str | None = None) -> dict[str, Any]:
    """A server's list of models, its entry for the model, and its version; request errors are ignored."""
    return asyncio.run(ask_server(url, name, read_key(api_key_env, setting(KEY_SETTING))))


async def ask_server(url: str, name: str, key: str | None) -> dict[str, Any]:
    """Request the list of models and the version (vLLM: at the base URL without /v1)."""
    facts: dict[str, Any] = {"url": url, "models": [], "model": {}, "version": None}
    # A server without a readable list is still used.
    with contextlib.suppress(RequestError, ValueError, KeyError, TypeError, AttributeError):
        async with OpenAIClient(url, key, timeout_s=ASK_S, setting="MODEL") as client:
            listed = json.loads(client.hide_key((await client.get("/models")).decode("utf-8", "replace")))["data"]
        facts["models"] = [str(item["id"]) for item in listed]
        facts["model"] = next((model_facts(item) for item in listed if str(item["id"]) == name), {})
    with contextlib.suppress(RequestError, ValueError, KeyError, TypeError):
        async with OpenAIClient(url.removesuffix("/v1"), key, timeout_s=ASK_S, setting="MODEL") as client:
            facts["version"] = str(json.loads(client.hide_key((await client.get("/version")).decode()))["version"])[:80]
    return facts


def model_facts(listed: Mapping[str, Any]) -> dict[str, Any]:
    """The stored keys of one entry in a list of models."""
    return {name: listed[name] for name in OF_A_MODEL if listed.get(name) is not None}
