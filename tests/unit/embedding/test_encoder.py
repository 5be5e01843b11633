# SPDX-License-Identifier: Apache-2.0
"""The encoder around a hand-written model: micro-batches, cache, failures, several event loops."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from medix_verl.embedding.encoder import EncoderStats, SentenceEncoder
from medix_verl.embedding.local import LocalEmbedder
from medix_verl.embedding.model import advice, check_backend, load_model, locate, options, root_of
from medix_verl.embedding.service import Answer, EncoderService
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import EncoderError
from medix_verl.types import Failure, Similarity

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


def encoder_of(model: FakeModel, spec: SemanticSpec | None = None) -> SentenceEncoder:
    spec = spec or SemanticSpec()
    return SentenceEncoder(spec, LocalEmbedder(model, spec.batch_size))


def run(
    model: FakeModel, *rounds: Sequence[tuple[str, str]], spec: SemanticSpec | None = None
) -> list[list[Similarity]]:
    async def main() -> list[list[Similarity]]:
        encoder = encoder_of(model, spec)
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


def test_a_full_batch_does_not_wait_for_the_deadline() -> None:
    spec = SemanticSpec(batch_size=4, deadline_ms=60_000)
    [answers] = run(FakeModel(), [(f"x{n}", "a") for n in range(4)], spec=spec)
    assert [answer.value for answer in answers] == [1.0] * 4


def test_what_comes_while_the_model_is_busy_is_one_batch() -> None:
    started, go = threading.Event(), threading.Event()

    class SlowModel(FakeModel):
        def encode(self, texts: Sequence[str], **options: object) -> np.ndarray:
            started.set()
            assert go.wait(10)
            return super().encode(texts, **options)

    async def main(model: FakeModel) -> None:
        encoder = encoder_of(model, SemanticSpec(deadline_ms=0))
        first = asyncio.ensure_future(encoder.compare("a", "b"))
        await asyncio.to_thread(started.wait, 10)
        rest = [asyncio.ensure_future(encoder.compare(f"x{n}", "b")) for n in range(20)]
        await asyncio.sleep(0.05)
        go.set()
        await asyncio.gather(first, *rest)
        await encoder.close()

    model = SlowModel()
    asyncio.run(main(model))
    assert [len(batch) for batch in model.batches] == [2, 20]


def test_many_pairs_in_one_question_keep_their_order() -> None:
    async def answers(service: EncoderService, pairs: list[tuple[str, str, bool]]) -> list[tuple[int, Answer]]:
        return [answer async for group in service.answer(pairs) for answer in group]

    async def main() -> dict[int, Answer]:
        spec = SemanticSpec(batch_size=1)
        service = EncoderService(spec, (), encoder_of(FakeModel(), spec))
        found = dict(await answers(service, [("a", "a", False), ("a", "b", False), ("a", "c", False)]))
        assert await answers(service, []) == []
        await service.close()
        return found

    found = asyncio.run(main())
    assert [found[place][0] for place in range(3)] == pytest.approx([1.0, 0.0, 0.6])


def test_a_flood_is_cut_into_batches() -> None:
    model = FakeModel()
    spec = SemanticSpec(batch_size=1)
    [answers] = run(model, [(f"x{n}", "a") for n in range(100)], spec=spec)
    assert len(answers) == 100
    assert max(len(batch) for batch in model.batches) <= 33


def test_the_cache_forgets_the_oldest() -> None:
    model = FakeModel()
    run(model, [("a", "b")], [("a", "c")], [("a", "b")], spec=SemanticSpec(cache_size=2))
    assert model.batches == [["a", "b"], ["c"], ["b"]]


def test_the_cache_keeps_what_is_asked_again_and_again() -> None:
    model = FakeModel()
    small = SemanticSpec(cache_size=4)
    run(model, [("a", "b")], [("c", "d")], [("a", "b")], [("e", "f")], [("a", "b")], [("c", "d")], spec=small)
    assert model.batches == [["a", "b"], ["c", "d"], ["e", "f"], ["c", "d"]]


def test_what_was_done_is_counted_once() -> None:
    async def main() -> None:
        encoder = encoder_of(FakeModel())
        await asyncio.gather(*(encoder.compare(*pair) for pair in [("a", "b"), ("c", "b"), ("a", "bad")]))
        await encoder.compare("a", "explode")
        stats = encoder.take_stats()
        assert (stats.asked, stats.embedded, stats.cache_hits, stats.batches, stats.failures) == (4, 4, 2, 2, 2)
        assert 0 < stats.latency_p50_ms <= stats.latency_p95_ms
        assert encoder.take_stats() == EncoderStats()
        await encoder.close()

    asyncio.run(main())


def test_failures_are_reasons() -> None:
    model = FakeModel()
    [failed, after, bad] = run(model, [("a", "explode"), ("a", "b")], [("a", "b")], [("a", "bad")])
    assert (
        failed == [Similarity(None, "the embedding model failed (RuntimeError: out of memory)", Failure.INTERNAL)] * 2
    )
    assert after == [Similarity(0.0)]
    assert bad == [Similarity(None, "the embedding model gave no finite vector", Failure.INTERNAL)]


def test_a_text_that_no_tokenizer_takes_is_cleaned() -> None:
    model = FakeModel()
    run(model, [("\ud800", "x" * 9000)])
    assert model.batches == [["?", "x" * 8000]]


def test_one_encoder_for_several_event_loops() -> None:
    encoder = encoder_of(FakeModel())
    assert [asyncio.run(encoder.compare("a", "c")).value for _ in range(2)] == pytest.approx([0.6, 0.6])
    asyncio.run(encoder.close())


def test_closing_answers_what_waits_and_nothing_more() -> None:
    async def main() -> list[Similarity]:
        encoder = encoder_of(FakeModel())
        waiting = asyncio.ensure_future(encoder.compare("a", "c"))
        await asyncio.sleep(0)
        await encoder.close()
        return [await waiting, await encoder.compare("a", "b")]

    assert asyncio.run(main()) == [
        Similarity(pytest.approx(0.6)),
        Similarity(None, "the encoder is closed", Failure.INTERNAL),
    ]


def test_a_cancelled_caller_does_not_stop_the_others() -> None:
    async def main() -> Similarity:
        encoder = encoder_of(FakeModel())
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
    with pytest.raises(EncoderError, match="its MODEL_DIR is not a folder; reinstall the package"):
        locate("package:json")


def test_what_to_type() -> None:
    assert "hf download org/name --revision abc" in advice(SemanticSpec(model="org/name", revision="abc"))
    assert advice(SemanticSpec(model="package:x")).startswith("check the folder")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(EncoderError, match=r"cannot be imported \(.*\); type: pip install sentence-transformers"):
        load_model(SemanticSpec(model=str(tmp_path)))


def test_a_backend_without_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medix_verl.embedding.model.find_spec", lambda name: None)
    with pytest.raises(EncoderError, match=r"onnxruntime, optimum is missing; .*'sentence-transformers\[onnx\]'"):
        check_backend(SemanticSpec(backend="onnx"))
    check_backend(SemanticSpec())


def test_what_the_backends_are_told() -> None:
    assert options(SemanticSpec(backend="onnx", device="cuda:1")) == {"provider": "CUDAExecutionProvider"}
    assert options(SemanticSpec(backend="openvino")) == {}


def test_the_first_cause_is_named() -> None:
    outer, inner = ImportError("outer"), RuntimeError("torchvision::nms")
    outer.__cause__ = inner
    assert root_of(outer) is inner
