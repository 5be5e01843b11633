# SPDX-License-Identifier: Apache-2.0
"""`medix-verl score IN.jsonl --out OUT.jsonl`: score answers in a file with the training reward.

Each input line has `response` and `ground_truth` (which may begin with <TAG>), and perhaps `id`, `question`,
`modality`, `options` and `synonyms`. A line of MIMIC, or with `"credentialed": true`, goes to no judge that is not
local. One line goes out for each line in, in the same order. Every input line is
checked before the first one is scored, and the output takes its name only when it is complete. An answer that the
judge or the encoder could not score has `null` in it and is counted in a warning; it never becomes a 0. A command that
is stopped leaves nothing; what a killed one leaves, the next one into the same file removes.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

from medix_verl.cli.judge_flags import add_credentialed_flags, add_judge_flags
from medix_verl.cli.score_input import Line, count_lines, read_lines
from medix_verl.cli.score_spec import read_spec
from medix_verl.errors import ConfigError, DataError, EncoderError
from medix_verl.rewards.composite import CompositeReward
from medix_verl.rewards.keys import to_row
from medix_verl.runtime.files import atomic_write
from medix_verl.runtime.processes import exit_on_signals, run_until_signal
from medix_verl.types import RewardBreakdown

__all__ = ["add_parser", "run"]

CHUNK = 512
"""Lines that are in memory at once."""
STOPS = (signal.SIGTERM, signal.SIGHUP)
"""What ends a command and lets it clear up; a terminal that is closed sends the second one."""


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
    # What lets credentialed data out must be typed in full.
    parser.allow_abbrev = False
    add_judge_flags(parser)
    add_credentialed_flags(parser)
    parser.set_defaults(judge=None)
    parser.add_argument("--semantic", choices=("on", "off"), help="the similarity term (default: on)")
    parser.add_argument("--semantic-model", metavar="NAME", help="hub id, folder, or package:NAME of the encoder")
    parser.add_argument("--threshold", type=float, metavar="COSINE", help="similarity from which on it counts")
    parser.add_argument("--limit-concurrency", type=int, metavar="N", help="judge requests at once (default: 256)")


def run(args: argparse.Namespace) -> int:
    """Score the file.

    Raises:
        ConfigError: The flags do not fit together, the output cannot go where it should, or a line is credentialed
            and the judge is not local.
        DataError: An input line cannot be used; nothing has been scored then.
        EncoderError: The embedding model is not on this machine.
    """
    check_places(args.input, args.out)
    reward = CompositeReward(read_spec(args))
    total = count_lines(args.input, reward.check_row)
    failed, cause = write_whole(args.out, args.input, reward, total)
    if total == 0:
        print(f"medix-verl: warning: {args.input} has no line, and so has {args.out}", file=sys.stderr)
    if failed:
        print(f"medix-verl: warning: {failed} of {total} answers unscored: {cause}", file=sys.stderr)
    return 0


def check_places(source: Path, out: Path) -> None:
    """Refuse places that would fail after the work, or that would overwrite the input."""
    if not source.is_file():
        raise DataError(f"{source} is not a file; give the JSONL file with the answers")
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; give the name of a file in it")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {out}: its folder does not exist; type: mkdir -p {out.parent}")
    if out.exists() and out.samefile(source):
        raise ConfigError(f"--out {out} is the input file; give another name")


def write_whole(out: Path, source: Path, reward: CompositeReward, total: int) -> tuple[int, str]:
    """Score into a file beside `out` and give it its name at the end, or leave nothing.

    Returns:
        How many answers are unscored, and the first cause.
    """
    try:
        with stoppable(out), atomic_write(out) as part, part.open("w", encoding="utf-8", newline="\n") as target:
            return run_until_signal(score_all(source, target, reward, total), *STOPS)
    except EncoderError as error:
        raise EncoderError(f"{error}; or score without it: --semantic off") from error


@contextmanager
def stoppable(out: Path) -> Iterator[None]:
    """Leave through `finally` on STOPS."""
    try:
        with exit_on_signals(*STOPS):
            yield
    except SystemExit:
        print(f"medix-verl: stopped; {out} was not written, type the same command again", file=sys.stderr)
        raise


async def score_all(source: Path, target: IO[str], reward: CompositeReward, total: int) -> tuple[int, str]:
    """Score chunk after chunk, in order."""
    failed, cause = 0, ""
    with progress(total) as bar:
        try:
            for chunk in chunks(read_lines(source)):
                breakdowns = await reward.score_many([(line.response, line.reference) for line in chunk])
                for line, breakdown in zip(chunk, breakdowns, strict=True):
                    target.write(write_row(line, breakdown))
                    failed += breakdown.score is None
                    cause = cause or breakdown.reason
                bar.update(len(chunk))
        finally:
            await reward.close()
    return failed, cause


def chunks(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Cut the stream of lines into lists of at most CHUNK."""
    while chunk := list(islice(lines, CHUNK)):
        yield chunk


def write_row(line: Line, breakdown: RewardBreakdown) -> str:
    """One output line; pure ASCII, because an answer may hold lone surrogates that no UTF-8 file can."""
    return json.dumps({"id": line.id, **to_row(breakdown)}, allow_nan=False) + "\n"


def progress(total: int) -> Any:
    """A bar on a terminal's stderr, for work of more than two seconds."""
    from tqdm import tqdm

    return tqdm(total=total, delay=2, disable=not sys.stderr.isatty(), file=sys.stderr, unit="answer")
