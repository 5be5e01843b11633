# SPDX-License-Identifier: Apache-2.0
"""Make a training file of a data set: convert, check every picture, drop duplicates and leaks, report.

    medix-verl prepare --list
    medix-verl prepare slake --split train --out train.parquet --decontaminate-against test.parquet --card train.html
    medix-verl prepare my_converter.py --source FOLDER --split train --out train.parquet
    medix-verl prepare demo

NAME is one of `--list`, `own` or `dicom` for data of your own, a converter's module or .py file, or `demo` (data and
tiny models of the recipe medix_cpu). A run that was stopped goes on where it was when the same command is typed again.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.cli.lines import say
from medix_verl.errors import ConfigError
from medix_verl.runtime.processes import exit_on_signals

if TYPE_CHECKING:
    from medix_verl.data.job import Job

__all__ = ["add_arguments", "run"]

DEMO_OUT = Path("outputs/demo")
ALLOW_IDENTIFIED = "allow-identified"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `medix-verl prepare`."""
    # Not abbreviated: --allow-identified must be typed in full by whoever wants it.
    parser.allow_abbrev = False
    parser.add_argument("name", nargs="?", metavar="NAME", help="what to prepare: see --list")
    parser.add_argument("--list", action="store_true", help="show the data sets and what each needs")
    parser.add_argument("--source", metavar="PLACE", help="folder, file or hub id; default: the set's own hub id")
    parser.add_argument("--revision", help="branch, tag or commit of the hub repository")
    parser.add_argument("--split", help="train, val or test; default: train")
    parser.add_argument("--out", type=Path, help="the .parquet file to write (demo: a folder)")
    parser.add_argument(
        "--images", choices=("embed", "files"), default="embed", help="pictures inside the file, or beside"
    )
    parser.add_argument(
        "--decontaminate-against", type=Path, nargs="+", default=[], metavar="FILE", help="evaluation files"
    )
    parser.add_argument(
        "--quality", type=Path, metavar="FILE.yaml", help="what is refused, flagged and dropped, as for `check`"
    )
    parser.add_argument("--card", type=Path, metavar="FILE.html", help="write a dataset card")
    parser.add_argument("--limit", type=int, metavar="N", help="read only the first N rows of the set")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes that check pictures; default: the cores, at most 8"
    )
    add_counting(parser)
    parser.add_argument(
        "--set", dest="options", action="append", default=[], metavar="KEY=VALUE", help="an option of the set"
    )
    parser.add_argument("--allow-identified", action="store_true", help="dicom: take files that hold patient data")
    parser.add_argument("--seed", type=int, help="demo: seed of data and models")


def add_counting(parser: argparse.ArgumentParser) -> None:
    """Declare how long a prompt may be, and by what it is counted."""
    parser.add_argument("--max-prompt-tokens", type=int, metavar="N", help="refuse rows whose prompt is longer")
    parser.add_argument(
        "--model", help="whose tokens --max-prompt-tokens counts; default: an estimate, rather too high"
    )
    parser.add_argument(
        "--patch-size",
        type=int,
        metavar="PIXELS",
        help="of that estimate: 16 for Qwen3-VL (default), 14 for Qwen2.5-VL; a --model brings its own",
    )


def run(args: argparse.Namespace) -> int:
    """Prepare one file, the demo, or show the list."""
    if args.list:
        show_list()
        return 0
    if args.name is None:
        raise ConfigError("prepare needs the NAME of a data set; `medix-verl prepare --list` shows them")
    if args.name == "demo":
        return run_demo(args)
    from medix_verl.data.prepare import prepare

    job = job_of(args)
    with stoppable():
        report = prepare(job, say)
    show(job, report)
    return 0


def run_demo(args: argparse.Namespace) -> int:
    if args.source is not None or args.split is not None:
        raise ConfigError("demo makes its own data; leave out --source and --split")
    from medix_verl.demo.build import build_demo

    out = (args.out or DEMO_OUT).expanduser()
    build_demo(out, seed=args.seed or 0, progress=say)
    print(f"the demo's data and models are in {out}")
    return 0


def job_of(args: argparse.Namespace) -> Job:
    """What was typed, as the data room reads it."""
    from medix_verl.data.checks import QualitySpec, read_quality
    from medix_verl.data.job import Job

    if args.seed is not None:
        raise ConfigError("--seed is for the demo; nothing in a preparation is random: leave it out")
    if args.out is None:
        raise ConfigError(f"--out is missing; give the file to write, such as --out {args.split or 'train'}.parquet")
    options = read_options(args.options)
    if args.allow_identified:
        options[ALLOW_IDENTIFIED] = "yes"
    return Job(
        name=args.name,
        split=args.split or "train",
        out=args.out.expanduser(),
        place=args.source,
        revision=args.revision,
        images=args.images,
        limit=args.limit,
        workers=min(8, len(os.sched_getaffinity(0))) if args.workers is None else args.workers,
        options=options,
        against=tuple(path.expanduser() for path in args.decontaminate_against),
        card=None if args.card is None else args.card.expanduser(),
        max_prompt_tokens=args.max_prompt_tokens,
        model=args.model,
        patch_size=args.patch_size,
        quality=QualitySpec() if args.quality is None else read_quality(args.quality.expanduser()),
    )


def read_options(words: list[str]) -> dict[str, str]:
    """`KEY=VALUE` words as a mapping."""
    options: dict[str, str] = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not key:
            raise ConfigError(f"--set {word!r} is no KEY=VALUE; write for example --set language=en")
        if key == ALLOW_IDENTIFIED:
            raise ConfigError(f"--set {word!r}: patient data is allowed only by the flag --{ALLOW_IDENTIFIED}")
        if key in options:
            raise ConfigError(f"--set {key} is given twice; give it once")
        options[key] = value
    return options


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn SIGTERM into an orderly end, and say how to go on after it and after Ctrl-C."""
    try:
        with exit_on_signals(signal.SIGTERM):
            yield
    except (KeyboardInterrupt, SystemExit):
        say("stopped; what is finished is kept: type the same command again to go on")
        raise


def show(job: Job, report: Mapping[str, Any]) -> None:
    """The report in a few lines."""
    rows = report["rows"]
    print(f"{job.out}: {rows['written']} rows of {rows['read']}")
    for reason, count in report["reasons"].items():
        name = report["examples"][reason][0]["id"]
        print(f"  left out: {count} {reason}, for example {name}")
    for flag, count in report["flags"].items():
        print(f"  flagged: {count} {flag}")
    for found in report["collisions"]:
        if not found["dropped"]:
            print(f"  kept though {found['kind']} in {found['file'] or 'the file itself'}: {found['rows']}")
    if rows["written"] < rows["read"]:
        print(f"  every row that is left out: {job.out.with_name(job.out.stem + '.dropped.jsonl')}")
    if report["credentialed"]:
        print("  credentialed: the rows must not leave this machine, nor go to a judge elsewhere")
    print(f"  report: {job.out.with_name(job.out.stem + '.report.json')}" + (f", card: {job.card}" if job.card else ""))


def show_list() -> None:
    """One block a data set: what it is, and what it needs."""
    from medix_verl.data.converters.registry import find, names, options_of

    for name in names():
        converter = find(name)
        spec = converter.SPEC
        pictures = "pictures" if spec.pictures else "text only"
        print(f"{name}: {spec.about}")
        splits = ", ".join(f"{split} {spec.rows[split]:,}" if split in spec.rows else split for split in spec.splits)
        print(f"    {pictures}, {spec.task} answers; rows: {splits}; licence: {spec.licence}")
        print(f"    source: {spec.hub_id or 'local, give --source'}" + (f"; needs {spec.files}" if spec.files else ""))
        if spec.credential:
            print(f"    credential: {spec.credential}")
        for key, option in options_of(converter).items():
            accepted = f" ({', '.join(option.accepted)})" if option.accepted else ""
            typed = f"--{key}" if key == ALLOW_IDENTIFIED else f"--set {key}={option.default or '...'}"
            print(f"    {typed}: {option.about}" + ("" if key == ALLOW_IDENTIFIED else accepted))
    print("demo: data and tiny models of the recipe medix_cpu")
