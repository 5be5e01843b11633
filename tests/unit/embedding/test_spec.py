# SPDX-License-Identifier: Apache-2.0
"""SemanticSpec: defaults, refusals, and which encoder a spec becomes."""

import pytest

from medix_verl.embedding.encoder import build_encoder
from medix_verl.embedding.hashing import HashingEncoder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError


def test_defaults_and_mapping() -> None:
    assert SemanticSpec.from_mapping({}) == SemanticSpec()
    assert SemanticSpec.from_mapping({"threshold": 0}).threshold == 0
    assert SemanticSpec.from_mapping({"device": "cuda:1"}).device == "cuda:1"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"treshold": 0.7}, "semantic has an unknown key 'treshold'.*did you mean 'threshold'"),
        ({"enable": "on"}, "semantic.enable is 'on'; set it to true or false"),
        ({"kind": "hash"}, "semantic.kind is 'hash'; accepted: sentence_transformers, hashing"),
        ({"model": ""}, "semantic.model is ''"),
        ({"revision": 3}, "semantic.revision is 3"),
        ({"device": None}, "semantic.device is None"),
        ({"threshold": 1.1}, "semantic.threshold is 1.1; .* at least -1 and at most 1"),
        ({"trust_remote_code": 1}, "semantic.trust_remote_code is 1"),
        ({"device": "tpu"}, "semantic.device is 'tpu'; accepted: cpu, cuda, cuda:N"),
        ({"backend": "onx"}, "semantic.backend is 'onx'; accepted: torch, onnx, openvino; did you mean 'onnx'"),
        ({"dtype": "bf16"}, "semantic.dtype is 'bf16'; accepted: float32, bfloat16, float16"),
        ({"backend": "onnx", "dtype": "bfloat16"}, "with backend 'onnx'; type semantic.dtype=float32"),
        ({"mode": "smooth"}, "semantic.mode is 'smooth'; accepted: hard, soft"),
        ({"curve": "step"}, "semantic.curve is 'step'; accepted: linear, logistic"),
        ({"low": 0.9, "high": 0.9}, "semantic.low is 0.9 and high 0.9; set low below high"),
        ({"low": None}, "semantic.low is None"),
        ({"high": 11}, "semantic.high is 11"),
        ({"worker": "yes"}, "semantic.worker is 'yes'"),
        ({"threads": 0}, "semantic.threads is 0"),
        ({"batch_size": 0}, "semantic.batch_size is 0"),
        ({"deadline_ms": -1}, "semantic.deadline_ms is -1"),
        ({"cache_size": 0}, "semantic.cache_size is 0"),
    ],
)
def test_refusals(section: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SemanticSpec.from_mapping(section)


def test_build() -> None:
    assert isinstance(build_encoder(SemanticSpec(kind="hashing")), HashingEncoder)
    with pytest.raises(ConfigError, match="semantic.enable is false"):
        build_encoder(SemanticSpec(enable=False))
