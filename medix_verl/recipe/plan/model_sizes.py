# SPDX-License-Identifier: Apache-2.0
"""Model sizes for the planner: from models.json, or counted from the model's files on this machine.

A model in a folder or in the local hub cache is counted from the headers of its safetensors files, independent of its
architecture. Nothing is downloaded, and no weight is read.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medix_verl.errors import ConfigError

__all__ = ["ModelSize", "known_models", "model_size", "read_folder"]

DATA = Path(__file__).parent / "models.json"
LONGEST_HEADER = 100_000_000
"""Maximum header size in bytes; the same limit as in safetensors."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The sizes that determine a model's memory."""

    parameters: int
    """All parameters, including the vision tower."""
    hidden: int
    layers: int
    kv_heads: int
    head_dim: int
    intermediate: int
    """Width of the feed-forward part; in a mixture of experts, of one expert."""
    vocab: int
    tied: bool = False
    """Whether embedding and output matrix are shared."""
    kv_layers: int = 0
    """Layers with a key-value cache that grows with the sequence; 0: all."""
    tables: int = 0
    """Parameters of further embedding tables (Gemma 4 has one per layer)."""
    experts: int = 0
    experts_per_token: int = 0
    vision: int = 0
    """Parameters of the vision tower."""
    vision_hidden: int = 0
    vision_layers: int = 0
    vision_intermediate: int = 0

    @property
    def vocabulary(self) -> int:
        """Parameters of embeddings and output matrix."""
        return self.vocab * self.hidden * (1 if self.tied else 2) + self.tables

    @property
    def layer(self) -> int:
        """Parameters of one layer of the language model."""
        return (self.parameters - self.vision - self.vocabulary) // self.layers

    @property
    def root(self) -> int:
        """Parameters in FSDP2's root group: a tied embedding, and the tower's parameters outside its layers."""
        of_layer = 4 * self.vision_hidden**2 + 2 * self.vision_hidden * self.vision_intermediate
        rest = max(0, self.vision - self.vision_layers * of_layer)
        return rest + (self.vocabulary if self.tied else 0)

    @property
    def expert_parameters(self) -> int:
        """Parameters of all experts in all layers."""
        return self.layers * self.experts * 3 * self.hidden * self.intermediate

    @property
    def active_width(self) -> int:
        """Feed-forward width that one token uses."""
        return self.intermediate * max(1, self.experts_per_token)

    def cache_bytes(self, tensor_parallel: int) -> int:
        """Bytes of the key-value cache for one token on one GPU, in bfloat16."""
        heads = max(1, math.ceil(self.kv_heads / tensor_parallel))
        return 2 * (self.kv_layers or self.layers) * heads * self.head_dim * 2


def known_models() -> dict[str, ModelSize]:
    """The models of models.json."""
    listed = json.loads(DATA.read_text(encoding="utf-8"))["models"]
    return {name: ModelSize(**fields) for name, fields in listed.items()}


def model_size(name: str) -> ModelSize:
    """Size of a model, given its folder or its hub id.

    Raises:
        ConfigError: The model is neither in models.json nor on this machine.
    """
    known = known_models()
    folder = Path(name).expanduser()
    if folder.is_dir():
        return read_folder(folder)
    if name in known:
        return known[name]
    cached = _cached(name)
    if cached is None:
        raise ConfigError(
            f"the size of {name} is not known and it is not on this machine; known are {', '.join(known)}; type "
            f"hf download {name}, or actor_rollout_ref.model.path=FOLDER"
        )
    return read_folder(cached)


def read_folder(folder: Path) -> ModelSize:
    """Compute a model's size from its config.json and the headers of its safetensors files.

    Raises:
        ConfigError: A file is missing or malformed, or config.json has no value for a needed key.
    """
    path = folder / "config.json"
    config = _config(path)
    text = config.get("text_config") or config
    tower = config.get("vision_config") or {}
    shapes = dict(_shapes(folder))
    if not shapes:
        raise ConfigError(f"{folder} has no *.safetensors file to count; type a folder with a model's weights")
    vision = sum(math.prod(shape) for name, shape in shapes.items() if "visual" in name or "vision" in name)
    experts = int(text.get("num_experts") or 0)
    heads = _number(text, "num_attention_heads", path)
    hidden = _number(text, "hidden_size", path)
    return ModelSize(
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        hidden=hidden,
        layers=_number(text, "num_hidden_layers", path),
        kv_heads=int(text.get("num_key_value_heads") or heads),
        head_dim=int(text.get("head_dim") or hidden // heads),
        intermediate=_number(text, "moe_intermediate_size" if experts else "intermediate_size", path),
        vocab=_number(text, "vocab_size", path),
        tied=not any("lm_head" in name for name in shapes),
        kv_layers=sum(kind != "linear_attention" for kind in text.get("layer_types") or []),
        experts=experts,
        experts_per_token=int(text.get("num_experts_per_tok") or 0) if experts else 0,
        vision=vision,
        vision_hidden=int(tower.get("hidden_size") or 0),
        vision_layers=int(tower.get("depth") or tower.get("num_hidden_layers") or 0),
        vision_intermediate=int(tower.get("intermediate_size") or 0),
    )


def _config(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({type(error).__name__}); type a folder with a model") from error


def _number(config: Mapping[str, Any], key: str, path: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int) or value <= 0:
        raise ConfigError(f"{path} has {key}={value!r}; a positive number is needed to plan with this model")
    return value


def _shapes(folder: Path) -> Iterator[tuple[str, list[int]]]:
    header: Any
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with path.open("rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                header = json.loads(stream.read(length)) if length <= LONGEST_HEADER else {"": None}
            yield from ((name, entry["shape"]) for name, entry in header.items() if name != "__metadata__")
        except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{path} is not a safetensors file ({type(error).__name__}); download it again"
            ) from error


def _cached(name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None
