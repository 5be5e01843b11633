# SPDX-License-Identifier: Apache-2.0
"""Where the CPU time of one answer goes, part by part, and what int8, bfloat16 and a served encoder change.

    python tests/benchmarks/profile_answer.py [--answers 1500] [--encoders float32 bfloat16 int8 served]

Every part is timed by itself on the same distinct answers, in processor time of this process (and, for the encoder, on
one thread): parsing; equality and guards; the judge (prompt, request, HTTP, verdict; a mock judge in a process of its
own); tokenising; the model's passes; then the whole reward, of which the rest is terms, batching and the event loop.
int8 is torch's dynamic quantisation of the linear layers, which is no setting of ours. The served encoder is a fake
/v1/embeddings server in a process of its own, whose own time is not counted: it would be another machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import multiprocessing
import struct
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from answers import ENCODER, make_answers, mock_judge

from medix_verl.embedding.encoder import Encoder, SentenceEncoder, build_encoder
from medix_verl.embedding.local import LocalEmbedder, load_embedder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.judge.judge import GuardedJudge, Question, build_judge
from medix_verl.judge.spec import JudgeSpec
from medix_verl.response import parse_response
from medix_verl.rewards.composite import CompositeReward
from medix_verl.rewards.reading import parse_ground_truth
from medix_verl.rewards.spec import RewardSpec
from medix_verl.types import Reference

ENCODERS = ("float32", "bfloat16", "int8", "served")
HIDDEN = 384


def spent(work: Callable[[], Any], count: int) -> float:
    """Milliseconds of processor time an answer."""
    begun = time.process_time()
    work()
    return (time.process_time() - begun) * 1000 / count


def judged(judge: GuardedJudge, asked: Sequence[tuple[str, Reference]]) -> Callable[[], Any]:
    """Ask the judge alone, all at once."""

    async def run() -> None:
        await asyncio.gather(*(judge.ask_judge(Question(text, known)) for text, known in asked))
        await judge.close()

    return lambda: asyncio.run(run())


class Timed:
    """An embedder's two halves, timed apart."""

    def __init__(self, embedder: LocalEmbedder) -> None:
        self.tokens = self.passes = 0.0
        preprocess, run = embedder.model.preprocess, embedder.run
        embedder.model.preprocess = lambda texts: self.note("tokens", preprocess, texts)
        embedder.run = lambda part: self.note("passes", run, part)  # type: ignore[method-assign]

    def note(self, name: str, call: Callable[[Any], Any], argument: Any) -> Any:
        begun = time.thread_time()
        found = call(argument)
        setattr(self, name, getattr(self, name) + time.thread_time() - begun)
        return found


def local(kind: str) -> tuple[Encoder, Timed]:
    """An encoder in this process, on one thread."""
    import torch

    spec = SemanticSpec(model=ENCODER, threads=1, dtype="bfloat16" if kind == "bfloat16" else "float32")
    embedder = load_embedder(spec)
    if kind == "int8":
        for layer in embedder.model.modules():
            layer.__dict__.pop("forward", None)  # the oneDNN way of float32
        embedder.model = torch.ao.quantization.quantize_dynamic(embedder.model, {torch.nn.Linear}, dtype=torch.qint8)
    return SentenceEncoder(spec, embedder), Timed(embedder)


def serve(pipe: Any) -> None:
    """A fake embeddings server: any text has a vector that depends on its length."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            rows = []
            for place, text in enumerate(body["input"]):
                vector: Any = [1.0 + (len(text) * (at + 1)) % 7 for at in range(HIDDEN)]
                if body.get("encoding_format") == "base64":
                    vector = base64.b64encode(struct.pack(f"<{HIDDEN}f", *vector)).decode()
                rows.append({"index": place, "object": "embedding", "embedding": vector})
            raw = json.dumps({"object": "list", "data": rows, "model": "fake"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pipe.send(server.server_port)
    server.serve_forever()


def whole(judge: JudgeSpec, encoder: Encoder | None, answers: Sequence[tuple[str, Reference]]) -> float:
    """Milliseconds an answer of the whole reward; without an encoder the semantic term is off."""

    async def run() -> float:
        spec = RewardSpec(judge=judge, semantic=SemanticSpec(enable=encoder is not None, model=ENCODER))
        reward = CompositeReward(spec, encoder=encoder)
        await reward.score_many([("<answer>warm</answer>", parse_ground_truth("up"))])
        begun = time.process_time()
        found = await reward.score_many(list(answers))
        taken = time.process_time() - begun
        await reward.close()
        assert all(item.score is not None for item in found)
        return taken * 1000 / len(answers)

    return asyncio.run(run())


def encoder_rows(kinds: Sequence[str], judge: JudgeSpec, answers: Sequence[tuple[str, Reference]]) -> None:
    """One line for each kind of encoder."""
    bare = whole(judge, None, answers)
    print(f"{'encoder':10} {'whole':>8} {'passes':>8} {'tokens':>8} {'all else':>8} {'share of the passes':>20}")
    print(f"{'(none)':10} {bare:8.3f} {'':8} {'':8} {bare:8.3f}")
    for kind in kinds:
        if kind == "served":
            here, there = multiprocessing.Pipe()
            server = multiprocessing.Process(target=serve, args=(there,), daemon=True)
            server.start()
            url = f"http://127.0.0.1:{here.recv()}/v1"
            taken = whole(judge, build_encoder(SemanticSpec(kind="openai", url=url, model="fake")), answers)
            server.terminate()
            print(f"{kind:10} {taken:8.3f} {'':8} {'':8} {taken:8.3f}")
            continue
        encoder, timed = local(kind)
        taken = whole(judge, encoder, answers)
        passes, tokens = timed.passes * 1000 / len(answers), timed.tokens * 1000 / len(answers)
        rest = taken - passes - tokens
        print(f"{kind:10} {taken:8.3f} {passes:8.3f} {tokens:8.3f} {rest:8.3f} {passes / taken:20.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=1500)
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=ENCODERS)
    args = parser.parse_args()
    made = make_answers(args.answers)
    known = [parse_ground_truth(answer.ground_truth, question=answer.question) for answer in made]
    parsed = [parse_response(answer.response) for answer in made]
    asked = [(str(item.answer), reference) for item, reference in zip(parsed, known, strict=True)]
    with mock_judge() as url:
        spec = JudgeSpec(kind="openai", url=url, model="mock-judge", cache="none")
        guarded = build_judge(spec)
        print(f"{args.answers} distinct answers; milliseconds of processor time an answer")
        print(f"parsing              {spent(lambda: [parse_response(item.response) for item in made], len(made)):8.3f}")
        checks = spent(lambda: [guarded.without_asking(*pair) for pair in asked], len(made))
        print(f"equality and guards  {checks:8.3f}")
        print(f"the judge            {spent(judged(guarded, asked), len(made)):8.3f}")
        encoder_rows(args.encoders, spec, list(zip((item.response for item in made), known, strict=True)))


if __name__ == "__main__":
    main()
