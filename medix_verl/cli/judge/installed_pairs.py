# SPDX-License-Identifier: Apache-2.0
"""`--pairs ontology`: labelled pairs of an installed ontology instead of a file, for every command that reads pairs."""

from __future__ import annotations

import argparse

from medix_verl.cli.lines import say
from medix_verl.data.ontology import load_ontology
from medix_verl.errors import ConfigError
from medix_verl.evaluation.audit.ontology_pairs import ontology_pairs
from medix_verl.evaluation.audit.pairs import Case, read_pairs

__all__ = ["add_pairs_flags", "find_pairs"]

COUNT = 1000


def add_pairs_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; each command declares the positional argument `pairs` and `--seed` itself."""
    where = "in the place of PAIRS.jsonl: terms of the Human Phenotype Ontology (pip install 'medix-verl[ontology]')"
    parser.add_argument("--pairs", dest="installed", choices=("ontology",), help=where)
    count = f"pairs of each kind that --pairs ontology takes, right and wrong (default: {COUNT})"
    parser.add_argument("--count", metavar="N", type=int, help=count)


def find_pairs(args: argparse.Namespace) -> list[Case]:
    """The pairs that the flags select; empty if none are selected.

    Raises:
        ConfigError: The flags cannot be combined.
        DataError: A line cannot be used, or the ontology has fewer pairs than asked for.
        SetupError: The ontology is not installed.
    """
    if args.installed is None:
        if args.count is not None:
            raise ConfigError("--count was given without --pairs; type --pairs ontology")
        return [] if args.pairs is None else read_pairs(args.pairs)
    if args.pairs is not None:
        raise ConfigError(f"got {args.pairs} and --pairs {args.installed}; give one of the two")
    ontology = load_ontology()
    say(f"pairs of the {ontology.notice}")
    return ontology_pairs(ontology, COUNT if args.count is None else args.count, args.seed)
