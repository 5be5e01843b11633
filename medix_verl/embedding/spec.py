# SPDX-License-Identifier: Apache-2.0
"""The recipe's `semantic` section, frozen and checked: embedding model, where it runs, and how a cosine becomes a term.

Nothing is loaded here. A spec is sent to the shared worker and logged: it contains plain values, and the name of the
environment variable with an API key, not the key.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Any

from pydantic import PlainValidator

from medix_verl.errors import ConfigError
from medix_verl.openai_client import check_urls
from medix_verl.runtime.dispatch import BREAKERS
from medix_verl.specs import Amount, Choice, Count, Natural, Number, Positive, Refused, Section, Share, Text, spec

__all__ = ["BACKENDS", "CURVES", "DTYPES", "KINDS", "MODES", "SemanticSpec"]

KINDS = ("sentence_transformers", "hashing", "openai")
MODES = ("hard", "soft")
CURVES = ("linear", "logistic")
BACKENDS = ("torch", "onnx", "openvino")
DTYPES = ("float32", "bfloat16", "float16")
DEVICE = re.compile(r"cpu|cuda(:\d+)?")
CurveEnd = Annotated[float, Number(-10.0, 10.0)]
"""The 0.1 or 0.9 point of a fitted logistic curve may be outside the range of a cosine."""


def read_device(value: Any) -> Any:
    """Check the name of a device.

    Raises:
        Refused: It is not a valid device name.
    """
    if not isinstance(value, str) or not DEVICE.fullmatch(value):
        raise Refused(value, "accepted: cpu, cuda, cuda:N")
    return value


@spec("semantic")
class SemanticSpec(Section):
    """Which encoder compares answer and reference, and how its cosine becomes a term in [0, 1]."""

    enable: bool = True
    """False removes the semantic term from the reward and distributes its weight among the others."""
    kind: Annotated[str, Choice(KINDS)] = "sentence_transformers"
    """`sentence_transformers`, `openai` (a server at `url`), or `hashing` (no model: for tests)."""
    model: Text = "abhinand/MedEmbed-large-v0.1"
    """A Hugging Face id, a local folder, or `package:NAME` for the folder MODEL_DIR of an installed Python package; for
    kind `openai`, the model's name on the server."""
    revision: Text | None = None
    """Commit, branch or tag of the model on the hub."""
    device: Annotated[str, PlainValidator(read_device)] = "cpu"
    """`cpu`, `cuda` or `cuda:N`."""
    backend: Annotated[str, Choice(BACKENDS)] = "torch"
    """Runtime of the model: `torch`, or `onnx` and `openvino` with sentence-transformers' extra of that name."""
    dtype: Annotated[str, Choice(DTYPES)] = "float32"
    """Weights of the torch backend; `bfloat16` is about 1.3 times as fast on a CPU with avx512_bf16."""
    mode: Annotated[str, Choice(MODES)] = "hard"
    """`hard`: 1 from `threshold` on, else 0, as published; `soft`: `curve` between `low` and `high`."""
    threshold: Annotated[float, Number(-1.0, 1.0)] = 0.8
    """Smallest cosine at which the two texts count as similar, in mode `hard`."""
    curve: Annotated[str, Choice(CURVES)] = "linear"
    """`linear`: 0 up to `low`, 1 from `high` on; `logistic`: 0.1 at `low`, 0.9 at `high`."""
    low: CurveEnd = 0.5
    """Lower end of the curve; `medix-verl calibrate` fits both ends to labelled pairs."""
    high: CurveEnd = 0.9
    """Upper end of the curve."""
    contrast: bool = True
    """An answer that contradicts the reference in a closed aspect (side, negation, number, unit, stage, sequence,
    direction, ...; medix_verl.embedding.contrast), or is another option, keeps `contrast_worth` of the term. False uses
    the encoder only, as published."""
    contrast_worth: Share = 0.0
    """Share of the term that such an answer keeps; at 0 the encoder is not called."""
    worker: bool = True
    """One shared encoder for all reward processes of a Ray run; false loads a model into each process."""
    own_process: bool = False
    """Without a shared worker: run the model in a child process, so that it does not compete with the judge's calls for
    the GIL. `medix-verl score` sets it."""
    threads: Count | None = None
    """torch threads of the process with the model; None uses half the machine's cores, at most 16."""
    batch_size: Count = 128
    """Largest number of texts in one pass or request; a batch starts early once this many pairs wait."""
    deadline_ms: Amount = 5.0
    """Milliseconds that a pair waits for others to form a batch."""
    cache_size: Count = 100_000
    """Number of cached vectors; the least recently used is evicted first."""
    trust_remote_code: bool = False
    """Whether code that comes with the model may run."""
    url: Annotated[str | tuple[str, ...], PlainValidator(partial(check_urls, setting="semantic.url"))] | None = None
    """Kind `openai`: base address of a server with its version, such as http://host:8001/v1; or a list of them."""
    api_key_env: Text | None = None
    """Name of the environment variable that contains the server's API key; None sends no key."""
    timeout_s: Positive = 60.0
    """Time limit of one request in seconds."""
    max_retries: Natural = 3
    """Retries after the first attempt, for transient failures."""
    max_concurrent: Count = 32
    """Concurrent requests of up to `batch_size` texts, over all servers."""
    max_per_minute: Count | None = None
    """Requests in any minute, over all servers; None sets no limit."""
    breaker: Annotated[str, Choice(BREAKERS)] = "wait"
    """As in the judge's section: what happens when a server keeps failing."""
    breaker_failures: Count = 8
    """Consecutive failures that trigger the breaker."""
    breaker_seconds: Positive = 15.0
    """For `wait`: seconds until one request tries the server again."""

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ConfigError(f"semantic.low is {self.low!r} and high {self.high!r}; set low below high")
        if self.backend != "torch" and self.dtype != "float32":
            raise ConfigError(
                f"semantic.dtype is {self.dtype!r} with backend {self.backend!r}; type semantic.dtype=float32, "
                "or semantic.backend=torch"
            )
        if self.kind == "openai" and self.enable:
            if self.url is None:
                raise ConfigError(
                    "semantic.kind is 'openai' and semantic.url is not set; set it to http://host:port/v1"
                )
            if self.model.startswith("package:"):
                raise ConfigError(
                    f"semantic.model is {self.model!r} with kind 'openai'; set it to the name that the server lists: "
                    "curl URL/models"
                )

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses in `url`: none, one or several."""
        if self.url is None:
            return ()
        return (self.url,) if isinstance(self.url, str) else self.url
