# SPDX-License-Identifier: Apache-2.0
"""SemanticSpec: defaults, refusals, and which encoder a spec becomes."""

import pytest

from medix_verl.embedding.build import build_encoder
from medix_verl.embedding.hashing import HashingEncoder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError


def test_defaults_and_mapping() -> None:
    assert SemanticSpec.from_mapping({}) == SemanticSpec()
    assert SemanticSpec.from_mapping({"threshold": 0}).threshold == 0


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
    ],
)
def test_refusals(section: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SemanticSpec.from_mapping(section)


def test_build() -> None:
    assert isinstance(build_encoder(SemanticSpec(kind="hashing")), HashingEncoder)
    with pytest.raises(ConfigError, match="semantic.enable is false"):
        build_encoder(SemanticSpec(enable=False))
