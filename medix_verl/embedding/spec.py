# SPDX-License-Identifier: Apache-2.0
"""The recipe's `semantic` section, frozen and checked: which embedding model, where it runs, what a cosine is worth.

Nothing is loaded here. A spec travels to the shared worker, so it holds plain values only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medix_verl.errors import ConfigError
from medix_verl.specs import check_choice, check_flag, check_integer, check_number, check_text, read_mapping

__all__ = ["BACKENDS", "CURVES", "DTYPES", "KINDS", "MODES", "SemanticSpec"]

KINDS = ("sentence_transformers", "hashing")
MODES = ("hard", "soft")
CURVES = ("linear", "logistic")
BACKENDS = ("torch", "onnx", "openvino")
DTYPES = ("float32", "bfloat16", "float16")
DEVICE = re.compile(r"cpu|cuda(:\d+)?")


@dataclass(frozen=True, slots=True)
class SemanticSpec:
    """Which encoder compares answer and reference, and how its cosine becomes a term in [0, 1]."""

    enable: bool = True
    """False takes the semantic term out of the reward and shares its weight among the others."""
    kind: str = "sentence_transformers"
    """`sentence_transformers`, or `hashing` (no model: for tests and the unit ring)."""
    model: str = "abhinand/MedEmbed-large-v0.1"
    """A Hugging Face id, a local folder, or `package:NAME` for the folder MODEL_DIR of an installed Python package."""
    revision: str | None = None
    """Commit, branch or tag of the model on the hub."""
    device: str = "cpu"
    """`cpu`, `cuda` or `cuda:N`."""
    backend: str = "torch"
    """What runs the model: `torch`, or `onnx` and `openvino` with sentence-transformers' extra of that name."""
    dtype: str = "float32"
    """Weights of the torch backend; `bfloat16` is about 1.3 times as fast on a CPU that has it (avx512_bf16)."""
    mode: str = "hard"
    """`hard`: 1 from `threshold` on, else 0, as published; `soft`: `curve` between `low` and `high`."""
    threshold: float = 0.8
    """Cosine from which on the two texts count as similar, in mode `hard`."""
    curve: str = "linear"
    """`linear`: 0 up to `low`, 1 from `high` on; `logistic`: 0.1 at `low`, 0.9 at `high`."""
    low: float = 0.5
    """Lower end of the curve; `medix-verl calibrate` fits both ends to labelled pairs."""
    high: float = 0.9
    """Upper end of the curve."""
    worker: bool = True
    """One shared encoder for all reward processes of a Ray run; false loads a model into each of them."""
    own_process: bool = False
    """Where no shared worker is asked: the model in a child process, so that it and the judge's calls do not wait for
    one interpreter. `medix-verl score` has it so."""
    threads: int | None = None
    """torch threads of the process that holds the model; None takes half the machine's cores, at most 16."""
    batch_size: int = 128
    """Texts of one pass of the model, and pairs that wait before a batch starts early."""
    deadline_ms: float = 5.0
    """Milliseconds that a pair waits for others."""
    cache_size: int = 100_000
    """Vectors that are kept; the least recently used goes first."""
    trust_remote_code: bool = False
    """Whether code that comes with the model may run here."""

    def __post_init__(self) -> None:
        for name in ("enable", "worker", "own_process", "trust_remote_code"):
            check_flag(f"semantic.{name}", getattr(self, name))
        for name, menu in (("kind", KINDS), ("mode", MODES), ("curve", CURVES), ("backend", BACKENDS)):
            check_choice(f"semantic.{name}", getattr(self, name), menu)
        check_choice("semantic.dtype", self.dtype, DTYPES)
        check_text("semantic.model", self.model)
        check_text("semantic.revision", self.revision, optional=True)
        self._check_numbers()
        if not isinstance(self.device, str) or not DEVICE.fullmatch(self.device):
            raise ConfigError(f"semantic.device is {self.device!r}; accepted: cpu, cuda, cuda:N")
        if self.backend != "torch" and self.dtype != "float32":
            raise ConfigError(
                f"semantic.dtype is {self.dtype!r} with backend {self.backend!r}; type semantic.dtype=float32, "
                "or semantic.backend=torch"
            )

    def _check_numbers(self) -> None:
        check_number("semantic.threshold", self.threshold, low=-1.0, high=1.0)
        # A fitted logistic curve may reach 0.1 or 0.9 beyond what a cosine can be.
        check_number("semantic.low", self.low, low=-10.0, high=10.0)
        check_number("semantic.high", self.high, low=-10.0, high=10.0)
        if self.low >= self.high:
            raise ConfigError(f"semantic.low is {self.low!r} and high {self.high!r}; set low below high")
        if self.threads is not None:
            check_integer("semantic.threads", self.threads, low=1)
        check_integer("semantic.batch_size", self.batch_size, low=1)
        check_number("semantic.deadline_ms", self.deadline_ms)
        check_integer("semantic.cache_size", self.cache_size, low=1)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> SemanticSpec:
        """Read a recipe's `semantic` section; see medix_verl.specs.read_mapping for what is refused."""
        return read_mapping(cls, mapping, "semantic")
