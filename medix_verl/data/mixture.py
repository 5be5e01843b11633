# SPDX-License-Identifier: Apache-2.0
"""From a mixture file to the rows of an epoch: an index table, and a report of what each source gave.

The pictures are never read, only ids, sources, modalities and pass rates. The table depends on the file, the parquet
files' rows and the seed, and on nothing else. Weights are shares of an epoch's rows. A row comes at most `repeat`
times an epoch, a source gives at most its `cap`; what a source cannot give, the others share by their weights, and
the report says so. With `rows: null` the epoch is the largest in which only caps, never a lack of rows, bend a share.

The rows are drawn once, when training starts, and every epoch has the same ones: a row that was not drawn is never seen
in this run, however many epochs it has. Another `seed` draws others; weights by the files' sizes leave none out.

A file that is missing, a filter that leaves nothing and a pass rate outside 0..1 are refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medix_verl.data.mixture_spec import TEXT, CurriculumSpec, MixtureSpec, SourceSpec
from medix_verl.data.schema import check_file
from medix_verl.errors import ConfigError, DataError

__all__ = ["Given", "Plan", "build"]

RATE = "pass_rate"


@dataclass(frozen=True, slots=True)
class Given:
    """What one source has, was to give and gives."""

    path: str
    rows: int
    """In the file."""
    usable: int
    """After the filters and the band."""
    wanted: float
    """Its share of the epoch by weight, 0..1."""
    given: int
    limited_by: str
    """`cap` or `rows` where it gives less than its share for that reason; empty otherwise."""
    modalities: Mapping[str, int]
    """Of the given rows; TEXT is none."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows of an epoch, in order."""

    files: tuple[str, ...]
    table: np.ndarray
    """int64, shape (rows, 2): number of the file in `files`, number of the row in it."""
    ordered: bool
    """Whether the order carries meaning, so that a loader must not shuffle."""
    report: tuple[Given, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """What is known of the usable rows of one source; arrays of one length."""

    total: int
    numbers: np.ndarray
    modalities: np.ndarray
    rates: np.ndarray
    """NaN where there is none."""


def build(spec: MixtureSpec) -> Plan:
    """Choose and order the rows of an epoch.

    Raises:
        ConfigError: A source has no row left, or the curriculum has no pass rate to go by.
        DataError: A file cannot be used.
    """
    read = [read_rows(source, spec.curriculum) for source in spec.sources]
    if spec.curriculum.needs_rates and all(np.isnan(rows.rates).all() for rows in read):
        raise ConfigError(
            f"curriculum: no row of the sources has a {RATE}; add it as a column or to meta, or remove the curriculum"
        )
    weights = np.array([source.weight for source in spec.sources], dtype=np.float64)
    supply = [len(rows.numbers) * source.repeat for rows, source in zip(read, spec.sources, strict=True)]
    limits = np.array([min(n, s.cap or n) for n, s in zip(supply, spec.sources, strict=True)], dtype=np.int64)
    capped = limits < np.array(supply)
    total = spec.rows if spec.rows is not None else largest(weights, limits, capped)
    counts = allot(weights, limits, total)
    chosen = [draw(rows, int(n), spec, number) for number, (rows, n) in enumerate(zip(read, counts, strict=True))]
    order = arrange(chosen, read, spec)
    shares = weights / weights.sum()
    report = tuple(
        describe(spec.sources[k], read[k], chosen[k], float(shares[k]), total, bool(capped[k]))
        for k in range(len(read))
    )
    return Plan(tuple(s.path for s in spec.sources), order, spec.curriculum.order != "shuffled", report)


def read_rows(source: SourceSpec, curriculum: CurriculumSpec) -> Rows:
    """Read what the choice goes by, without the pictures."""
    import pyarrow.parquet as pq

    total = check_file(source.path)
    with pq.ParquetFile(source.path) as file:
        names = ["id", "data_source", "modality"]
        if curriculum.needs_rates:
            names += ["meta", RATE] if RATE in file.schema_arrow.names else ["meta"]
        table = file.read(columns=names).to_pydict()
    modalities = np.array([tag or TEXT for tag in table["modality"]], dtype=object)
    rates = np.array(pass_rates(table, source.path), dtype=np.float64) if curriculum.needs_rates else nothing(total)
    keep = in_band(rates, curriculum)
    if source.modalities is not None:
        keep &= np.isin(modalities.astype(str), source.modalities)
    if source.data_sources is not None:
        keep &= np.isin(np.array(table["data_source"], dtype=str), source.data_sources)
    if not keep.any():
        got = f"modalities {sorted(set(modalities))}, data_sources {sorted(set(table['data_source']))}"
        raise ConfigError(f"source {source.path}: none of its {total} rows is left (it has {got}); widen its filters")
    numbers = np.flatnonzero(keep)
    return Rows(total, numbers, modalities[numbers], rates[numbers])


def nothing(rows: int) -> np.ndarray:
    return np.full(rows, np.nan)


def pass_rates(table: dict[str, list[Any]], path: str) -> list[float]:
    """The rows' pass rates, NaN where there is none: the column, else `pass_rate` in meta."""
    rates = []
    column = table.get(RATE) or [None] * len(table["id"])
    for name, value, meta in zip(table["id"], column, table["meta"], strict=True):
        if value is None and meta is not None and RATE in meta:
            value = read_meta(meta, name, path).get(RATE)
        if value is None:
            rates.append(float("nan"))
        elif isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise DataError(f"{path}: row {name!r}: {RATE} is {value!r}; it must be a number from 0 to 1, or null")
        else:
            rates.append(float(value))
    return rates


def read_meta(text: str, name: str, path: str) -> dict[str, Any]:
    try:
        meta = json.loads(text)
    except ValueError as cause:
        raise DataError(f"{path}: row {name!r}: meta is no JSON; write a JSON object such as {{}}") from cause
    return meta if isinstance(meta, dict) else {}


def in_band(rates: np.ndarray, curriculum: CurriculumSpec) -> np.ndarray:
    known = ~np.isnan(rates)
    inside: np.ndarray = np.ones(len(rates), dtype=bool)
    if curriculum.band is not None:
        low, high = curriculum.band
        inside = (rates >= low) & (rates <= high) | ~known
    return inside & known if curriculum.needs_rates and curriculum.unknown == "drop" else inside


def allot(weights: np.ndarray, limits: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers of rows by weight, none above its limit; their sum is `total` or all limits together."""
    given = shared(weights, limits, total)
    counts: np.ndarray = np.floor(given + 1e-9).astype(np.int64)
    missing = round(float(given.sum())) - int(counts.sum())
    # Largest remainders first; ties go to the earlier one.
    for number in np.argsort(-(given - counts), kind="stable"):
        if missing > 0 and counts[number] < limits[number]:
            counts[number] += 1
            missing -= 1
    return counts


def shared(weights: np.ndarray, limits: np.ndarray, total: int) -> np.ndarray:
    """`total` by weight, where what one cannot give goes to the others by theirs; parts of a row too."""
    given: np.ndarray = np.zeros(len(weights), dtype=np.float64)
    free: np.ndarray = np.ones(len(weights), dtype=bool)
    rest = float(min(total, int(limits.sum())))
    while free.any():
        share = rest * weights / weights[free].sum()
        full = free & (share >= limits)
        if not full.any():
            given[free] = share[free]
            break
        given[full] = limits[full]
        rest -= float(limits[full].sum())
        free &= ~full
    return given


def largest(weights: np.ndarray, limits: np.ndarray, capped: np.ndarray) -> int:
    """The largest epoch in which every source that no cap bounds can give its whole share."""
    binding = ~capped if not capped.all() else capped
    low, high = 1, int(limits.sum())
    while low < high:
        middle = (low + high + 1) // 2
        asked = shared(weights, np.where(binding, np.int64(middle), limits), middle)
        if (asked[binding] <= limits[binding] + 1e-6).all():
            low = middle
        else:
            high = middle - 1
    return low


def draw(rows: Rows, count: int, spec: MixtureSpec, number: int) -> np.ndarray:
    """Positions, in `rows`, of `count` rows; a row comes again only when all others of its kind have come as often."""
    random = np.random.default_rng([spec.seed, number])
    kinds: Sequence[str] = [""]
    if spec.balance == "modality":
        kinds = sorted(set(rows.modalities))
    groups = [np.flatnonzero((rows.modalities == kind) | (kind == "")) for kind in kinds]
    limits = np.array([len(group) for group in groups], dtype=np.int64) * spec.sources[number].repeat
    counts = allot(np.ones(len(groups)), limits, count)
    parts = [cycled(group, int(n), random) for group, n in zip(groups, counts, strict=True)]
    return np.concatenate(parts)


def cycled(group: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    passes = [random.permutation(group) for _ in range(-(-count // len(group)))]
    return np.concatenate([*passes, group[:0]])[:count]


def arrange(chosen: list[np.ndarray], read: list[Rows], spec: MixtureSpec) -> np.ndarray:
    """The table in the order of the curriculum; ties, and rows without a pass rate, are spread by the seed."""
    files = np.concatenate([np.full(len(part), number) for number, part in enumerate(chosen)])
    numbers = np.concatenate([rows.numbers[part] for rows, part in zip(read, chosen, strict=True)])
    random = np.random.default_rng([spec.seed, len(chosen)])
    mixed = random.permutation(len(numbers))
    table = np.stack([files, numbers], axis=1)[mixed].astype(np.int64)
    if spec.curriculum.order == "shuffled":
        return table
    rates = np.concatenate([rows.rates[part] for rows, part in zip(read, chosen, strict=True)])[mixed]
    known = np.flatnonzero(~np.isnan(rates))
    key = random.random(len(rates))
    # A pass rate of 1 is easy.
    sign = -1.0 if spec.curriculum.order == "easy_to_hard" else 1.0
    ranked = known[np.argsort(sign * rates[known], kind="stable")]
    key[ranked] = (np.arange(len(ranked)) + 0.5) / max(len(ranked), 1)
    return table[np.argsort(key, kind="stable")]


def describe(source: SourceSpec, rows: Rows, part: np.ndarray, share: float, total: int, capped: bool) -> Given:
    short = len(part) < int(share * total)
    return Given(
        path=source.path,
        rows=rows.total,
        usable=len(rows.numbers),
        wanted=share,
        given=len(part),
        limited_by=("cap" if capped else "rows") if short else "",
        modalities=dict(sorted(Counter(str(tag) for tag in rows.modalities[part]).items())),
    )
