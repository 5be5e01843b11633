# SPDX-License-Identifier: Apache-2.0
"""The encoder around a hand-written model: micro-batches, cache, failures, several event loops."""

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from medix_verl.embedding import encoder as module
from medix_verl.embedding.encoder import SentenceEncoder
from medix_verl.embedding.model import advice, load_model, locate, root_of
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import EncoderError
from medix_verl.types import Similarity

VECTORS = {"a": (1.0, 0.0), "b": (0.0, 1.0), "c": (0.6, 0.8), "bad": (float("nan"), 0.0)}


class FakeModel:
    """Embeds the texts of VECTORS and remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()

    def encode(self, texts: Sequence[str], **_: object) -> np.ndarray:
        self.batches.append(list(texts))
        self.threads.add(threading.get_ident())
        if "explode" in texts:
            raise RuntimeError("out of\nmemory")
        return np.array([VECTORS.get(text, (1.0, 0.0)) for text in texts])


def run(model: FakeModel, *rounds: Sequence[tuple[str, str]]) -> list[list[Similarity]]:
    async def main() -> list[list[Similarity]]:
        encoder = SentenceEncoder(SemanticSpec(), model)
        answers = [await asyncio.gather(*(encoder.compare(*pair) for pair in pairs)) for pairs in rounds]
        await encoder.close()
        return answers

    return asyncio.run(main())


def test_cosines() -> None:
    [answers] = run(FakeModel(), [("a", "a"), ("a", "b"), ("a", "c"), ("c", "b")])
    assert [answer.value for answer in answers] == pytest.approx([1.0, 0.0, 0.6, 0.8])


def test_one_call_for_what_is_asked_together_and_none_for_what_is_known() -> None:
    model = FakeModel()
    run(model, [("a", "b"), ("c", "b"), ("a", "b")], [("b", "a")], [("a", "x")])
    assert model.batches == [["a", "b", "c"], ["x"]]
    assert model.threads.isdisjoint({threading.get_ident()})
    assert len(model.threads) == 1


def test_a_full_batch_does_not_wait() -> None:
    model = FakeModel()
    run(model, [(f"x{n}", "a") for n in range(module.MAX_BATCH + 1)])
    assert [len(batch) for batch in model.batches] == [module.MAX_BATCH + 1, 1]


def test_the_cache_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHE_VECTORS", 2)
    model = FakeModel()
    run(model, [("a", "b")], [("a", "c")], [("a", "b")])
    assert model.batches == [["a", "b"], ["c"], ["b"]]


def test_failures_are_reasons() -> None:
    model = FakeModel()
    [failed, after, bad] = run(model, [("a", "explode"), ("a", "b")], [("a", "b")], [("a", "bad")])
    assert failed == [Similarity(None, "the embedding model failed (RuntimeError: out of memory)")] * 2
    assert after == [Similarity(0.0)]
    assert bad == [Similarity(None, "the embedding model gave no finite vector")]


def test_a_text_that_no_tokenizer_takes_is_cleaned() -> None:
    model = FakeModel()
    run(model, [("\ud800", "x" * 9000)])
    assert model.batches == [["?", "x" * 8000]]


def test_one_encoder_for_several_event_loops() -> None:
    encoder = SentenceEncoder(SemanticSpec(), FakeModel())
    assert [asyncio.run(encoder.compare("a", "c")).value for _ in range(2)] == pytest.approx([0.6, 0.6])
    asyncio.run(encoder.close())


def test_closing_answers_what_waits_and_nothing_more() -> None:
    async def main() -> list[Similarity]:
        encoder = SentenceEncoder(SemanticSpec(), FakeModel())
        waiting = asyncio.ensure_future(encoder.compare("a", "c"))
        await asyncio.sleep(0)
        await encoder.close()
        return [await waiting, await encoder.compare("a", "b")]

    assert asyncio.run(main()) == [Similarity(pytest.approx(0.6)), Similarity(None, "the encoder is closed")]


def test_a_cancelled_caller_does_not_stop_the_others() -> None:
    async def main() -> Similarity:
        encoder = SentenceEncoder(SemanticSpec(), FakeModel())
        first = asyncio.ensure_future(encoder.compare("a", "b"))
        second = asyncio.ensure_future(encoder.compare("a", "c"))
        await asyncio.sleep(0)
        first.cancel()
        answer = await second
        await encoder.close()
        return answer

    assert asyncio.run(main()).value == pytest.approx(0.6)


def test_places_of_models() -> None:
    assert locate("org/name") == "org/name"
    with pytest.raises(EncoderError, match="'package:no_such_wheel' is missing; type: pip install no-such-wheel"):
        locate("package:no_such_wheel")
    with pytest.raises(EncoderError, match="names no MODEL_DIR; give a model folder"):
        locate("package:json")


def test_a_package_whose_folder_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("json.MODEL_DIR", "/nowhere/at/all", raising=False)
    with pytest.raises(EncoderError, match="its MODEL_DIR is no folder; reinstall the package"):
        locate("package:json")


def test_what_to_type() -> None:
    assert "hf download org/name --revision abc" in advice(SemanticSpec(model="org/name", revision="abc"))
    assert advice(SemanticSpec(model="package:x")).startswith("check the folder")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(EncoderError, match=r"cannot be imported \(.*\); type: pip install sentence-transformers"):
        load_model(SemanticSpec())


def test_the_first_cause_is_named() -> None:
    outer, inner = ImportError("outer"), RuntimeError("torchvision::nms")
    outer.__cause__ = inner
    assert root_of(outer) is inner
