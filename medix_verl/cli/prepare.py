# SPDX-License-Identifier: Apache-2.0
"""Make the parquet files of a data set, and whatever else a recipe needs that is not on the machine yet.

`demo` makes the data and the tiny models of the recipe medix_cpu; `medix-rl-data` turns a downloaded copy of
MBZUAI/medix-rl-data into the files of the recipe medix.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from medix_verl.cli.lines import say
from medix_verl.errors import ConfigError

__all__ = ["add_arguments", "run"]

_DEFAULT_OUT = {"demo": Path("outputs/demo"), "medix-rl-data": Path("~/data/medix")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `medix-verl prepare`."""
    parser.add_argument("source", choices=tuple(_DEFAULT_OUT), help="what to prepare")
    parser.add_argument("--out", type=Path, help="folder to write to; default: the one that the recipe reads")
    parser.add_argument("--from", dest="origin", type=Path, help="medix-rl-data: folder of the downloaded data set")
    parser.add_argument("--seed", type=int, default=0, help="demo: seed of data and models")


def run(args: argparse.Namespace) -> int:
    """Prepare one source."""
    out = (args.out or _DEFAULT_OUT[args.source]).expanduser()
    if args.source == "demo":
        if args.origin is not None:
            raise ConfigError(f"demo makes its own data, --from is for medix-rl-data: leave it out, got {args.origin}")
        from medix_verl.demo.build import build_demo

        build_demo(out, seed=args.seed, progress=say)
        print(f"the demo's data and models are in {out}")
        return 0
    if args.origin is None:
        raise ConfigError(
            "medix-rl-data needs --from FOLDER: type `hf download MBZUAI/medix-rl-data --repo-type dataset "
            "--local-dir FOLDER` (47 GB) first"
        )
    from medix_verl.data.converters.medix_rl_data import convert

    for split, path, count in convert(args.origin.expanduser(), out):
        print(f"{split}: {count} rows in {path}")
    return 0
