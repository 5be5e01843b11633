# SPDX-License-Identifier: Apache-2.0
"""What the reward adds to the judge's own latency when verl asks for it: verl's RewardLoopWorker, 8 of them, under Ray.

    python tests/benchmarks/reward_loop.py --in-flight 1 64 1024

Composes the recipe medix_cpu with an openai judge at the mock judge, starts verl's workers as its trainer does, and
calls them one answer at a time, as its agent loops do. Every answer is distinct, so as many calls must reach the mock,
whatever the number of workers. The least possible time of n answers in flight is their number of turns through the
judge's slots, times its latency; the overhead is what comes on top. Answers that need no judge, sent the same way, show
how much of it is verl's and Ray's own. The semantic term is off unless --semantic is given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from answers import Answer, ask_mock, make_answers, mock_judge

ROUNDS = {1: 20, 64: 6}
"""How often each number in flight is tried; 3 times where nothing is said."""
WARM = 64


def compose(args: argparse.Namespace, url: str) -> Any:
    """The recipe, with the judge at the mock."""
    from hydra import compose, initialize_config_module

    words = [
        "+recipe=medix_cpu",
        f"medix.demo='{args.demo.resolve()}'",
        f"reward.num_workers={args.workers}",
        "reward.medix.judge.kind=openai",
        f"reward.medix.judge.url={url}",
        "reward.medix.judge.model=mock-judge",
        f"reward.medix.judge.max_concurrent={args.slots}",
        f"reward.medix.semantic.enable={str(args.semantic).lower()}",
    ]
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", words)


def trajectory(tokenizer: Any, answer: Answer) -> Any:
    """One finished rollout as an agent loop hands it over."""
    import torch
    from verl import DataProto

    ids = tokenizer(answer.response, add_special_tokens=False)["input_ids"]
    extra = {"id": answer.question, "question": answer.question, "modality": "X_RAY", "split": "train"}
    return DataProto.from_dict(
        tensors={"responses": torch.tensor([ids]), "attention_mask": torch.ones(1, 8 + len(ids), dtype=torch.long)},
        non_tensors={
            "reward_model": np.array([{"style": "model", "ground_truth": answer.ground_truth}], dtype=object),
            "extra_info": np.array([extra], dtype=object),
        },
    )


async def ask_all(workers: list[Any], rows: list[Any]) -> tuple[float, list[float]]:
    """Ask for all rows at once; the whole time, and the time of each answer."""

    async def ask(row: Any) -> float:
        begin = time.perf_counter()
        result = await random.choice(workers).compute_score.remote(row)
        assert 0 <= result["reward_score"] <= 1
        return time.perf_counter() - begin

    begin = time.perf_counter()
    times = await asyncio.gather(*(ask(row) for row in rows))
    return time.perf_counter() - begin, list(times)


def start_workers(config: Any, count: int) -> list[Any]:
    """Start verl's reward workers as actors; see RewardLoopManager._init_reward_loop_workers."""
    import ray
    from verl.experimental.reward_loop.reward_loop import RewardLoopWorker

    remote = ray.remote(RewardLoopWorker)
    workers = [remote.options(name=f"reward_loop_worker_{index}").remote(config, None) for index in range(count)]
    ray.get([worker.__ray_ready__.remote() for worker in workers], timeout=300)
    return workers


def measure(workers: list[Any], rows: list[Any], idle: Any, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Try each number in flight, several times; `idle` is a row that needs no judge."""
    remaining = iter(rows)
    asyncio.run(ask_all(workers, [next(remaining) for _ in range(WARM)]))
    results = []
    for level in args.in_flight:
        transport_ms = min(asyncio.run(ask_all(workers, [idle] * level))[0] for _ in range(3)) * 1000
        tries = [
            asyncio.run(ask_all(workers, [next(remaining) for _ in range(level)])) for _ in range(ROUNDS.get(level, 3))
        ]
        least_ms = -(-level // args.slots) * args.latency_ms
        walls = sorted(wall * 1000 for wall, _ in tries)
        each = np.array([seconds * 1000 for _, times in tries for seconds in times])
        median = walls[len(walls) // 2]
        result = {"in_flight": level, "least_ms": least_ms, "wall_ms": median, "best_wall_ms": walls[0]}
        result |= {"transport_ms": transport_ms}
        result |= {"overhead_ms": median - least_ms, "overhead_ms_an_answer": (median - least_ms) / level}
        result |= {f"answer_p{share}_ms": float(np.percentile(each, share)) for share in (50, 95)}
        results.append(result)
        print(
            f"{level:5d} in flight: {median:8.1f} ms (least possible {least_ms:.0f}), overhead {median - least_ms:.1f} "
            f"ms, of it {transport_ms:.1f} without a judge; {result['overhead_ms_an_answer']:.2f} ms an answer; "
            f"an answer takes p50 {result['answer_p50_ms']:.1f} ms, p95 {result['answer_p95_ms']:.1f} ms",
            flush=True,
        )
    return results


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("outputs/demo"), help="folder of the demo's data and models")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 64, 1024])
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--slots", type=int, default=256, help="of the mock, and the judge's max_concurrent")
    parser.add_argument("--semantic", action="store_true", help="with the semantic term, by the recipe's encoder")
    parser.add_argument("--json", type=Path, help="where the numbers go, besides the table")
    args = parser.parse_args()
    if not (args.demo / "policy").is_dir():
        parser.error(f"{args.demo} has no policy; type: medix-verl prepare demo --out {args.demo}")
    return args


def main() -> int:
    """Measure, and compare what was asked with what reached the judge."""
    args = parse()

    import ray
    from verl.utils import hf_tokenizer

    count = WARM + sum(level * ROUNDS.get(level, 3) for level in args.in_flight)
    ray.init(num_cpus=32, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
    try:
        with mock_judge("--latency-ms", str(args.latency_ms), "--slots", str(args.slots)) as url:
            config = compose(args, url)
            tokenizer = hf_tokenizer(str(args.demo / "policy"))
            workers = start_workers(config, args.workers)
            rows = [trajectory(tokenizer, answer) for answer in make_answers(count)]
            idle = trajectory(tokenizer, replace(make_answers(1)[0], response="no answer block here"))
            results = measure(workers, rows, idle, args)
            stats = ask_mock(url, "/stats")
    finally:
        ray.shutdown()
    print(
        f"{count} distinct answers, {stats['requests']} calls reached the judge, {stats['distinct']} of them distinct"
    )
    if args.json:
        args.json.write_text(json.dumps({"levels": results, "answers": count, "judge": stats}, indent=1) + "\n")
    return 0 if stats["requests"] == count else 1


if __name__ == "__main__":
    sys.exit(main())
