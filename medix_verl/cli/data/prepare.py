# SPDX-License-Identifier: Apache-2.0
"""Prepare a training file from a data set: convert, check every picture, drop duplicates and leaks, report.

    medix-verl prepare --list
    medix-verl prepare slake --split train --out train.parquet --decontaminate-against test.parquet --card train.html
    medix-verl prepare my_converter.py --source FOLDER --split train --out train.parquet
    medix-verl prepare medmcqa --split train --out train.parquet --sft
    medix-verl prepare demo

NAME is a set of `--list`, `own` or `dicom` for your own data, a converter's module or .py file, or `demo` (data and
tiny models of the recipe medix_cpu). To resume a stopped run, type the same command again.
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
from medix_verl.cli.lists import list_flag
from medix_verl.errors import ConfigError
from medix_verl.runtime.processes import exit_on_signals

if TYPE_CHECKING:
    from medix_verl.data.prepare.job import Job
    from medix_verl.data.sft.rows import SftSpec

__all__ = ["add_arguments", "run"]

DEMO_OUT = Path("outputs/demo")
ALLOW_IDENTIFIED = "allow-identified"
WORDS_SHOWN = 5
KEEP_NAMES = "keep-names"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `medix-verl prepare`."""
    # No abbreviations: --allow-identified must be typed in full.
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
    list_flag(parser, "--decontaminate-against", of=Path, metavar="A,B", help="evaluation files")
    parser.add_argument(
        "--quality", type=Path, metavar="FILE.yaml", help="what is refused, flagged and dropped, as for `check`"
    )
    parser.add_argument("--card", type=Path, metavar="FILE.html", help="write a dataset card")
    parser.add_argument("--limit", type=int, metavar="N", help="read only the first N rows of the set")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes that check pictures; default: the cores, at most 8"
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const="auto",
        metavar="HOST:PORT",
        help="check pictures on a Ray cluster; without an address on the one that is there",
    )
    add_counting(parser)
    parser.add_argument(
        "--sft", action="store_true", help="write OUT.sft.parquet too, for verl's SFT trainer: +recipe=medix_sft"
    )
    parser.add_argument(
        "--sft-prompt",
        metavar="NAME",
        help="of that file: medix (default), or medix_thinking where the chat template opens the thinking",
    )
    parser.add_argument(
        "--sft-chars", type=int, metavar="N", help="longest rationale in a row's own words; default: 600"
    )
    parser.add_argument(
        "--set", dest="options", action="append", default=[], metavar="KEY=VALUE", help="an option of the set"
    )
    parser.add_argument(
        "--column",
        dest="columns",
        action="append",
        default=[],
        metavar="OURS=THEIRS",
        help="own, dicom: a column's name",
    )
    parser.add_argument(
        "--allow-lost", type=int, default=0, metavar="N", help="rows that may be lost for their encoding"
    )
    parser.add_argument(
        "--explain", action="store_true", help="own, dicom: show the columns of the table, with an example"
    )
    parser.add_argument(
        "--split-by",
        metavar="WAY",
        help="own, dicom: divide a table by a hash of its patient, picture or row; none: do not",
    )
    parser.add_argument("--val-share", metavar="SHARE", help="with --split-by: share of val; default: 0.1")
    parser.add_argument("--test-share", metavar="SHARE", help="with --split-by: share of test; default: 0")
    parser.add_argument("--allow-identified", action="store_true", help="dicom: take files that hold patient data")
    parser.add_argument("--keep-names", action="store_true", help="own, dicom: keep file names, which may be patients'")
    parser.add_argument("--seed", type=int, help="demo: seed of data and models")


def add_counting(parser: argparse.ArgumentParser) -> None:
    """Declare the limit on prompt length and how tokens are counted."""
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
    """Prepare one file or the demo, or show the list."""
    if args.list:
        show_list()
        return 0
    if args.name is None:
        raise ConfigError("prepare needs the NAME of a data set; `medix-verl prepare --list` shows them")
    if args.explain:
        return explain(args.name)
    if args.name == "demo":
        return run_demo(args)
    from medix_verl.data.prepare.prepare import prepare

    job = job_of(args)
    with stoppable():
        report = prepare(job, say)
    show(job, report)
    return 0


def explain(name: str) -> int:
    """Show the columns that a user's own table may have."""
    from medix_verl.data.converters.own.columns import EXPLAINED, explanation

    if name not in EXPLAINED:
        raise ConfigError(
            f"--explain is for {' and '.join(EXPLAINED)}, got {name}; --list shows the options of every set"
        )
    print(explanation(name))
    return 0


def run_demo(args: argparse.Namespace) -> int:
    if args.source is not None or args.split is not None:
        raise ConfigError("demo makes its own data; leave out --source and --split")
    from medix_verl.demo.build import BuildSpec, build_demo

    out = (args.out or DEMO_OUT).expanduser()
    build_demo(out, BuildSpec(seed=args.seed or 0), progress=say)
    print(f"the demo's data and models are in {out}")
    if (how := sft_of(args)) is not None:
        from medix_verl.demo.sft import write_demo_sft

        for found in write_demo_sft(out, how if args.sft_prompt else None).values():
            show_sft(out / "sft", found)
    return 0


def job_of(args: argparse.Namespace) -> Job:
    """The job that the arguments describe."""
    from medix_verl.data.prepare.checks import QualitySpec, read_quality
    from medix_verl.data.prepare.job import Job

    if args.seed is not None:
        raise ConfigError("--seed is for the demo; nothing in a preparation is random: leave it out")
    if args.out is None:
        raise ConfigError(f"--out is missing; give the file to write, such as --out {args.split or 'train'}.parquet")
    options = read_options(args.options)
    if args.allow_identified:
        options[ALLOW_IDENTIFIED] = "yes"
    if args.keep_names:
        options[KEEP_NAMES] = "yes"
    typed = {"split_by": args.split_by, "val_share": args.val_share, "test_share": args.test_share}
    if args.columns:
        typed["columns"] = "".join(f"{word}\n" for word in args.columns)
    options |= {key: value for key, value in typed.items() if value is not None}
    return Job(
        name=args.name,
        split=args.split or "train",
        out=args.out.expanduser(),
        place=args.source,
        revision=args.revision,
        images=args.images,
        limit=args.limit,
        workers=min(8, len(os.sched_getaffinity(0))) if args.workers is None else args.workers,
        bounded=True,
        ray=args.ray,
        options=options,
        against=tuple(path.expanduser() for path in args.decontaminate_against),
        card=None if args.card is None else args.card.expanduser(),
        max_prompt_tokens=args.max_prompt_tokens,
        model=args.model,
        patch_size=args.patch_size,
        allow_lost=args.allow_lost,
        quality=QualitySpec() if args.quality is None else read_quality(args.quality.expanduser()),
        sft=sft_of(args),
    )


def sft_of(args: argparse.Namespace) -> SftSpec | None:
    """How the file for supervised fine-tuning is written; None without --sft."""
    from medix_verl.data.sft.rows import SftSpec

    typed = {"prompt": args.sft_prompt, "max_chars": args.sft_chars}
    given = {key: value for key, value in typed.items() if value is not None}
    if given and not args.sft:
        raise ConfigError("--sft-prompt and --sft-chars are of the file that --sft writes; type --sft as well")
    return SftSpec(**given) if args.sft else None


def read_options(words: list[str]) -> dict[str, str]:
    """`KEY=VALUE` words as a mapping."""
    options: dict[str, str] = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not key:
            raise ConfigError(f"--set {word!r} is no KEY=VALUE; write for example --set language=en")
        if key in (ALLOW_IDENTIFIED, KEEP_NAMES):
            raise ConfigError(f"--set {word!r}: patient data is allowed only by the flag --{key}")
        if key in options:
            raise ConfigError(f"--set {key} is given twice; give it once")
        options[key] = value
    return options


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn SIGTERM into an orderly exit; after it or Ctrl-C, print how to resume."""
    try:
        with exit_on_signals(signal.SIGTERM):
            yield
    except (KeyboardInterrupt, SystemExit):
        say("stopped; what is finished is kept: type the same command again to go on")
        raise


def show(job: Job, report: Mapping[str, Any]) -> None:
    """Print the report in a few lines."""
    rows = report["rows"]
    print(f"{job.out}: {rows['written']} rows of {rows['read']}")
    for reason, count in report["reasons"].items():
        name = report["examples"][reason][0]["id"]
        print(f"  left out: {count} {reason}, for example {name}")
    for flag, count in report["flags"].items():
        print(f"  flagged: {count} {flag}")
    for line in unknown_words(report["unknown_modality_words"]):
        print(line)
    for found in report["collisions"]:
        if not found["dropped"]:
            print(f"  kept though {found['kind']} in {found['file'] or 'the file itself'}: {found['rows']}")
    if "sft" in report:
        show_sft(job.out.parent, report["sft"])
    if rows["written"] < rows["read"]:
        print(f"  every row that is left out: {job.out.with_name(job.out.stem + '.dropped.jsonl')}")
    if report["credentialed"]:
        print("  credentialed: the rows must not leave this machine, nor go to a judge elsewhere")
    print(f"  report: {job.out.with_name(job.out.stem + '.report.json')}" + (f", card: {job.card}" if job.card else ""))


def show_sft(folder: Path, found: Mapping[str, Any]) -> None:
    """Print the counts of the file for supervised fine-tuning, and what was left out."""
    whose = ", ".join(f"{count} {origin}" for origin, count in found["rationales"].items())
    print(f"{folder / found['file']}: {found['rows']['written']} rows for SFT; rationales: {whose}")
    for reason, count in found["explanations not used"].items():
        print(f"  made by rule though there is an explanation: {count}, {reason}")
    for reason, count in found["left out"].items():
        print(f"  left out: {count}, {reason}, for example {found['examples'][reason][0]}")


def unknown_words(words: Mapping[str, int]) -> Iterator[str]:
    """Unknown modality words, most frequent first, and what to do."""
    if words:
        some = ", ".join(f"{word!r} ({count})" for word, count in list(words.items())[:WORDS_SHOWN])
        more = f" and {len(words) - WORDS_SHOWN} more" if len(words) > WORDS_SHOWN else ""
        yield f"  unknown words for a modality, taken as OTHER: {some}{more}; write CT, MRI, X-ray and the like"


def show_list() -> None:
    """Print a block for each data set: what it is and what it needs."""
    from medix_verl.data.converters.registry import find, names, options_of

    for name in names():
        try:
            converter = find(name)
        except ConfigError as cause:  # one of another package: the others are still listed
            print(f"{name}: cannot be used: {cause}")
            continue
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
            flag = key in (ALLOW_IDENTIFIED, KEEP_NAMES)
            typed = f"--{key}" if flag else f"--set {key}={option.default or '...'}"
            print(f"    {typed}: {option.about}" + ("" if flag else accepted))
    print("demo: data and tiny models of the recipe medix_cpu")
