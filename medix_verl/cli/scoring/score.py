# SPDX-License-Identifier: Apache-2.0
"""`medix-verl score IN.jsonl --out OUT.jsonl`: score answers in a file with the training reward.

Each input line has `response` and `ground_truth` (which may begin with <TAG>), and may have `id`, `question`,
`modality`, `options`, `synonyms`, `label` (the right option's letter) and, for a judge that sees pictures, `images`
(paths relative to the file's folder, or data URIs). `prompt` (the model's full input, chat template applied) or
`thinking` (none, open or closed) says whether the thinking is open where the response begins; --thinking sets it for
all lines. A line of MIMIC, or with `"credentialed": true`, is sent to a local judge only. One line is written for each
line read, in the same order. All input is checked before the first line is scored, and the output file appears only
when it is complete. An answer that the judge or the encoder could not score gets `null`, never 0, and is counted in a
warning. The last line says how many answers have a score, and why the others have none. If no answer could be judged,
it is an error, and the exit status is 1. A stopped command leaves no files; those of a killed one are removed by the
next command with the same output file.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from medix_verl.cli.judge.judge_flags import add_credentialed_flags, add_judge_flags
from medix_verl.cli.scoring.score_input import Line, count_lines, read_lines
from medix_verl.cli.scoring.score_spec import read_spec
from medix_verl.errors import ConfigError, DataError, EncoderError
from medix_verl.judge.panel import agreement_lines, agreement_of
from medix_verl.rewards.composite import CompositeReward
from medix_verl.rewards.keys import to_row
from medix_verl.rewards.spec import THINKING
from medix_verl.runtime.files import atomic_write
from medix_verl.runtime.processes import exit_on_signals, run_until_signal
from medix_verl.types import RewardBreakdown

__all__ = ["add_parser", "run"]

CHUNK = 512
"""Lines in memory at once."""
STOPS = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end the command with a clean-up; SIGHUP is sent when a terminal is closed."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its flags."""
    parser = subparsers.add_parser(
        "score",
        help="score answers in a JSONL file with the training reward",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="IN.jsonl", type=Path, help="one JSON object a line")
    parser.add_argument("--out", metavar="OUT.jsonl", type=Path, required=True, help="where the scores go")
    reward = "reward of this recipe, or list with commas (default: the published weights and rules of medix)"
    parser.add_argument("--recipe", metavar="NAME", help=reward)
    # Flags that allow credentialed data to be sent elsewhere must be typed in full.
    parser.allow_abbrev = False
    add_judge_flags(parser)
    add_credentialed_flags(parser)
    parser.set_defaults(judge=None)
    parser.add_argument("--semantic", choices=("on", "off"), help="the similarity term (default: on)")
    parser.add_argument("--semantic-model", metavar="NAME", help="hub id, folder, or package:NAME of the encoder")
    parser.add_argument("--threshold", type=float, metavar="COSINE", help="similarity from which on it counts")
    thinking = "what the prompts say of the thinking (default: the recipe's word, or auto: each line's own `prompt`)"
    parser.add_argument("--thinking", choices=THINKING, help=thinking)
    parser.add_argument("--limit-concurrency", type=int, metavar="N", help="judge requests at once (default: 256)")


def run(args: argparse.Namespace) -> int:
    """Score the file.

    Raises:
        ConfigError: The flags cannot be combined, the output cannot be written there, or a line is credentialed and
            the judge is not local.
        DataError: An input line cannot be used; nothing was scored.
        EncoderError: The embedding model is not on this machine.
    """
    check_places(args.input, args.out)
    reward = CompositeReward(read_spec(args))
    total = count_lines(args.input, reward.check_row)
    tally = write_whole(args.out, args.input, reward, total)
    for line in agreement_lines(agreement_of(reward.judge)):
        print(f"medix-verl: {' '.join(line.split())}", file=sys.stderr)
    if total == 0:
        print(f"medix-verl: warning: {args.input} has no line, and so has {args.out}", file=sys.stderr)
    elif not tally.judged:
        message = f"none of {total} answers could be judged, and {args.out} has no verdict: {tally.cause}"
        print(f"medix-verl: error: {message}", file=sys.stderr)
        return 1
    elif tally.unscored:
        print(f"medix-verl: warning: {tally.unscored} of {total} answers unscored: {tally.cause}", file=sys.stderr)
    print(tally.summary())
    return 0


@dataclass
class Tally:
    """Counts of scored and unscored answers."""

    answers: int = 0
    scored: int = 0
    judged: int = 0
    """Answers for which the term that decides right and wrong has a value."""
    total: float = 0.0
    """Sum of the scores."""
    failures: Counter[str] = field(default_factory=Counter)
    """Unscored answers by the kind of their first failure."""
    cause: str = ""
    """The first failure, in words."""

    @property
    def unscored(self) -> int:
        """Answers without a score."""
        return self.answers - self.scored

    def add(self, breakdown: RewardBreakdown) -> None:
        """Count one answer."""
        self.answers += 1
        self.judged += breakdown.acc is not None
        self.cause = self.cause or breakdown.reason
        if breakdown.score is not None:
            self.scored += 1
            self.total += breakdown.score
        else:
            self.failures[next(iter(breakdown.failures.values())).failure.value] += 1

    def summary(self) -> str:
        """One line: `298 answers scored, mean 0.7312; 2 unscored: 1 rate_limited, 1 refused`."""
        mean = f", mean {self.total / self.scored:.4f}" if self.scored else ""
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.failures.items()))
        return f"{self.scored} answers scored{mean}; {self.unscored} unscored" + (f": {kinds}" if kinds else "")


def check_places(source: Path, out: Path) -> None:
    """Refuse paths that would fail after the work, or overwrite the input."""
    if not source.is_file():
        raise DataError(f"{source} is not a file; give the JSONL file with the answers")
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; give the name of a file in it")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {out}: its folder does not exist; type: mkdir -p {out.parent}")
    if out.exists() and out.samefile(source):
        raise ConfigError(f"--out {out} is the input file; give another name")


def write_whole(out: Path, source: Path, reward: CompositeReward, total: int) -> Tally:
    """Score into a temporary file next to `out` and rename it at the end; on failure remove it."""
    try:
        with stoppable(out), atomic_write(out) as part, part.open("w", encoding="utf-8", newline="\n") as target:
            return run_until_signal(score_all(source, target, reward, total), *STOPS)
    except EncoderError as error:
        raise EncoderError(f"{error}; or score without it: --semantic off") from error


@contextmanager
def stoppable(out: Path) -> Iterator[None]:
    """Exit through `finally` on STOPS."""
    try:
        with exit_on_signals(*STOPS):
            yield
    except SystemExit:
        print(f"medix-verl: stopped; {out} was not written, type the same command again", file=sys.stderr)
        raise


async def score_all(source: Path, target: IO[str], reward: CompositeReward, total: int) -> Tally:
    """Score the chunks in order."""
    tally = Tally()
    with progress(total) as bar:
        try:
            for chunk in chunks(read_lines(source)):
                breakdowns = await reward.score_many([(line.response, line.reference, line.thinking) for line in chunk])
                for line, breakdown in zip(chunk, breakdowns, strict=True):
                    target.write(write_row(line, breakdown))
                    tally.add(breakdown)
                bar.update(len(chunk))
        finally:
            await reward.close()
    return tally


def chunks(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Split the stream of lines into lists of at most CHUNK."""
    while chunk := list(islice(lines, CHUNK)):
        yield chunk


def write_row(line: Line, breakdown: RewardBreakdown) -> str:
    """One output line; pure ASCII, because an answer may contain lone surrogates, which UTF-8 cannot encode."""
    return json.dumps({"id": line.id, **to_row(breakdown)}, allow_nan=False) + "\n"


def progress(total: int) -> Any:
    """A progress bar on stderr of a terminal, if the work takes more than two seconds."""
    from tqdm import tqdm

    return tqdm(total=total, delay=2, disable=not sys.stderr.isatty(), file=sys.stderr, unit="answer")
