# SPDX-License-Identifier: Apache-2.0
"""How many answers a second the composite reward scores against a judge of known speed, beside the official function.

    python tests/benchmarks/throughput.py --official CLONE_OF_MEDIX_R1
    python tests/benchmarks/throughput.py --sizes 1000 10000 50000

Both sides get the same distinct answers, the same mock judge (a process of its own) and the same encoder, each in a
fresh process whose model is loaded and warm before the clock starts. The official function is imported from the clone
and not changed: its encoder and the default address of its judge are replaced around it. Without --official only ours.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from answers import ENCODER, Answer, Meter, ask_mock, make_answers, mock_judge

OFFICIAL = Path("training") / "examples" / "reward_function" / "medical.py"
WARM = 8
"""Answers that are scored before the clock starts."""


def ours(url: str, answers: list[Answer], args: argparse.Namespace) -> dict[str, Any]:
    """Score with CompositeReward, built as `medix-verl score` builds it."""
    from medix_verl.embedding.spec import SemanticSpec
    from medix_verl.judge.spec import JudgeSpec
    from medix_verl.rewards.composite import CompositeReward
    from medix_verl.rewards.reading import parse_ground_truth
    from medix_verl.rewards.spec import RewardSpec

    judge = {"kind": "openai", "url": url, "model": "mock-judge", "max_concurrent": args.slots}
    semantic = {"model": ENCODER, "dtype": args.dtype, "threads": args.threads, "own_process": True}
    spec = RewardSpec(judge=JudgeSpec.from_mapping(judge), semantic=SemanticSpec.from_mapping(semantic))
    pairs = [(a.response, parse_ground_truth(a.ground_truth, question=a.question)) for a in answers]

    async def run() -> dict[str, Any]:
        reward = CompositeReward(spec)
        try:
            await reward.score_many(pairs[:WARM])
            ask_mock(url, "/reset")
            with Meter() as meter:
                scores = await reward.score_many(pairs[WARM:])
        finally:
            await reward.close()
        return {**meter.result(len(scores)), "unscored": sum(score.score is None for score in scores)}

    return asyncio.run(run())


def official(url: str, answers: list[Answer], clone: Path) -> dict[str, Any]:
    """Score with the official function, imported from its clone."""
    import sentence_transformers

    from medix_verl.embedding.model import locate, no_progress_bar

    real = sentence_transformers.SentenceTransformer
    sentence_transformers.SentenceTransformer = lambda *_, **__: real(locate(ENCODER), device="cpu")
    spec = importlib.util.spec_from_file_location("official_reward", clone / OFFICIAL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with no_progress_bar():
        spec.loader.exec_module(module)
    module.chat_with_vllm.__defaults__ = ("mock-judge", f"{url}/chat/completions")
    inputs = [{"response": answer.response, "ground_truth": answer.ground_truth} for answer in answers]
    module.compute_score(inputs[:WARM])
    ask_mock(url, "/reset")
    with Meter() as meter:
        scores = module.compute_score(inputs[WARM:])
    return {**meter.result(len(scores)), "unscored": 0}


def measure(side: str, url: str, count: int, args: argparse.Namespace) -> dict[str, Any]:
    """Run one side in a fresh process, and see that every answer reached the mock once."""
    words = ["--side", side, "--url", url, "--answers", str(count), "--slots", str(args.slots), "--dtype", args.dtype]
    words += ["--threads", str(args.threads)]
    words += ["--official", str(args.official)] if args.official else []
    done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    stats = ask_mock(url, "/stats")
    result["calls"], result["distinct"], result["at_once"] = (
        stats[k] for k in ("requests", "distinct", "in_flight_peak")
    )
    ask_mock(url, "/reset")
    return result


def show(name: str, result: dict[str, Any]) -> None:
    """One line of the table."""
    print(
        f"{name:10} {result['answers']:7d} answers {result['seconds']:8.2f} s {result['rate']:9.1f} /s "
        f"{result['cpu_ms']:7.2f} CPU ms an answer, peak {result['peak_mb']:6.0f} MB (+{result['grown_mb']:.0f}); "
        f"judge: {result['calls']} calls, {result['distinct']} distinct, {result['at_once']} at once; "
        f"unscored {result['unscored']}",
        flush=True,
    )


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, help="folder of a clone of the official repository")
    parser.add_argument("--answers", type=int, default=2560)
    parser.add_argument("--official-answers", type=int, default=2560)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--dtype", default="float32", help="of our encoder; the official one's is float32")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="of our encoder; the official one takes all cores too"
    )
    parser.add_argument("--sizes", type=int, nargs="+", help="only ours, at each of these sizes")
    parser.add_argument("--json", type=Path, help="where the numbers go, besides the table")
    parser.add_argument("--side", choices=("ours", "official"), help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.official and not (args.official / OFFICIAL).is_file():
        parser.error(f"--official {args.official} has no {OFFICIAL}; give the folder of a clone of MediX-R1")
    return args


def main() -> int:
    """Measure, and print a table; or, in a process that `measure` started, one side's numbers as JSON."""
    args = parse()
    if args.side:
        answers = make_answers(args.answers + WARM)
        if args.side == "ours":
            print(json.dumps(ours(args.url, answers, args)))
        else:
            print(json.dumps(official(args.url, answers, args.official)))
        return 0
    results: dict[str, Any] = {}
    with mock_judge("--latency-ms", str(args.latency_ms), "--slots", str(args.slots)) as url:
        for size in args.sizes or [args.answers]:
            results[f"ours {size}"] = measure("ours", url, size, args)
            show("ours", results[f"ours {size}"])
        if args.official and not args.sizes:
            results["official"] = measure("official", url, args.official_answers, args)
            show("official", results["official"])
            ratio = results[f"ours {args.answers}"]["rate"] / results["official"]["rate"]
            results["ratio"] = ratio
            print(f"ratio      {ratio:.1f} times the official reward function")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
