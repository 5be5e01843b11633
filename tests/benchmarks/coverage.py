# SPDX-License-Identifier: Apache-2.0
"""How often the 95 % intervals hold the truth, over a grid of clusters, shares, correlations and cluster sizes.

    python tests/benchmarks/coverage.py [--rounds 2000] [--bootstrap] [--clusters 30 60 150 300]

Prints one line a cell and what lies outside 93 to 97 %. `--bootstrap` shows the cluster bootstrap in the place of the
interval that the tables show. 2,000 rounds know a coverage to about 1 percentage point.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

from medix_verl.evaluation.intervals import bootstrap_mean, clustered_mean
from medix_verl.evaluation.simulation import SIZES, coverage

SHARES = (0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95)
CORRELATIONS = (0.0, 0.3, 0.6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--bootstrap", action="store_true")
    parser.add_argument("--clusters", type=int, nargs="+", default=[30, 60, 150, 300])
    args = parser.parse_args()
    interval: Callable[..., Any] = partial(bootstrap_mean, rounds=1000) if args.bootstrap else clustered_mean
    found: list[tuple[float, str]] = []
    for clusters, share, correlation, sizes in product(args.clusters, SHARES, CORRELATIONS, SIZES):
        if sizes == "one" and correlation:
            continue
        covered = coverage(interval, clusters, share, correlation, sizes, args.rounds)
        found.append((covered, f"{clusters:4d} clusters ({sizes}), share {share}, correlation {correlation}"))
        print(f"{covered:.3f}  {found[-1][1]}", flush=True)
    print(f"{len(found)} cells, mean {sum(covered for covered, _ in found) / len(found):.4f}")
    outside = sorted(cell for cell in found if not 0.93 <= cell[0] <= 0.97)
    print(f"{len(outside)} outside 93 to 97 %:", *(f"{covered:.3f}  {name}" for covered, name in outside), sep="\n  ")


if __name__ == "__main__":
    main()
