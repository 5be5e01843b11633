# SPDX-License-Identifier: Apache-2.0
"""How long a judge takes, and how many answers it leaves unscored, behind a server that limits its rate.

    python tests/benchmarks/rate_limit.py --answers 300 --per-second 10 --concurrent 64

The server is the mock judge, a process of its own: it answers 429 to what is too much in any second, with a
Retry-After header and without. The judge has its default settings, but for what is asked for here. At best the answers
take (answers - per_second) / per_second seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections import Counter

from medix_verl.judge.judge import Question
from medix_verl.judge.pool import JudgePool
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Reference, Verdict


async def judged(url: str, answers: int, concurrent: int) -> list[Verdict]:
    """Ask distinct questions, `concurrent` at once."""
    pool = JudgePool(JudgeSpec(kind="openai", url=url, model="m", max_concurrent=concurrent))
    try:
        questions = (Question(f"finding {place}", Reference("another")) for place in range(answers))
        return await asyncio.gather(*(pool.ask(question) for question in questions))
    finally:
        await pool.close()


def measure(args: argparse.Namespace, header: bool) -> str:
    """One line of the table."""
    words = [sys.executable, "-m", "medix_verl.judge.mock", "--per-second", str(args.per_second), "--latency-ms", "50"]
    words += ["--retry-after", "1"] if header else []
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        start = time.monotonic()
        verdicts = asyncio.run(judged(url, args.answers, args.concurrent))
        took = time.monotonic() - start
        server.terminate()
    kinds = Counter(verdict.failure.value for verdict in verdicts if verdict.failure is not None)
    causes = "".join(f", {count} {kind}" for kind, count in kinds.items())
    named = "with Retry-After: 1" if header else "without Retry-After"
    return f"{named}: {took:.1f} s, {sum(kinds.values())} of {len(verdicts)} unscored{causes}"


def main() -> None:
    """Measure both servers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=300)
    parser.add_argument("--per-second", type=int, default=10)
    parser.add_argument("--concurrent", type=int, default=64)
    args = parser.parse_args()
    for header in (True, False):
        print(measure(args, header), flush=True)


if __name__ == "__main__":
    main()
