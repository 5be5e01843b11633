# SPDX-License-Identifier: Apache-2.0
"""Plan the rows of an epoch from a mixture file: an index table, and a report of each source's contribution.

Pictures are never read, only ids, sources, modalities and pass rates. The table depends only on the mixture file, the
rows of the parquet files and the seed. Weights are shares of an epoch's rows. A row occurs at most `repeat` times per
epoch, and a source contributes at most `cap` rows. Rows that a source cannot supply are taken from the others in
proportion to their weights, and the report says so. With `rows: null` the epoch has the largest size at which only
caps, never a lack of rows, change a share.

The rows are drawn once, when training starts, and every epoch uses the same rows: a row that was not drawn is never
used in this run, however many epochs it has. A different `seed` draws different rows; weights proportional to file
sizes leave no row out.

A missing file, a filter that matches no row and a pass rate outside 0..1 are refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medix_verl.data.mixture.spec import TEXT, UNTAGGED, CurriculumSpec, MixtureSpec, SourceSpec
from medix_verl.data.schema import check_file, path_columns
from medix_verl.errors import ConfigError, DataError

__all__ = ["Given", "Plan", "build"]

RATE = "pass_rate"


@dataclass(frozen=True, slots=True)
class Given:
    """Contribution of one source."""

    path: str
    rows: int
    """Rows in the file."""
    usable: int
    """Rows after the filters and the band."""
    wanted: float
    """Its share of the epoch by weight, 0..1."""
    given: int
    limited_by: str
    """`cap` or `rows` if that made it contribute less than its share; empty otherwise."""
    modalities: Mapping[str, int]
    """Counts of the contributed rows; TEXT: no picture, UNTAGGED: pictures without a modality."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows of an epoch, in order."""

    files: tuple[str, ...]
    table: np.ndarray
    """int64, shape (rows, 2): index of the file in `files`, index of the row in that file."""
    ordered: bool
    """Whether the order matters, so that a loader must not shuffle."""
    report: tuple[Given, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """The usable rows of one source; arrays of the same length."""

    total: int
    numbers: np.ndarray
    modalities: np.ndarray
    rates: np.ndarray
    """NaN if the row has no pass rate."""


def build(spec: MixtureSpec) -> Plan:
    """Choose and order the rows of an epoch.

    Raises:
        ConfigError: A source has no row left, or the curriculum needs pass rates and no row has one.
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
    """Read the columns needed for selection, without the pictures."""
    import pyarrow.parquet as pq

    total = check_file(source.path)
    with pq.ParquetFile(source.path) as file:
        names = ["id", "data_source", "modality", *path_columns(file)]
        if curriculum.needs_rates:
            names += ["meta", RATE] if RATE in file.schema_arrow.names else ["meta"]
        table = file.read(columns=names).to_pydict()
    shown = table.get("images") or [None] * total
    kinds = [tag or (UNTAGGED if pictures else TEXT) for tag, pictures in zip(table["modality"], shown, strict=True)]
    modalities = np.array(kinds, dtype=object)
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
    """The rows' pass rates: from the column, else from `pass_rate` in meta; NaN if there is none."""
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
        raise DataError(f"{path}: row {name!r}: meta is not JSON; write a JSON object such as {{}}") from cause
    return meta if isinstance(meta, dict) else {}


def in_band(rates: np.ndarray, curriculum: CurriculumSpec) -> np.ndarray:
    known = ~np.isnan(rates)
    inside: np.ndarray = np.ones(len(rates), dtype=bool)
    if curriculum.band is not None:
        low, high = curriculum.band
        inside = (rates >= low) & (rates <= high) | ~known
    return inside & known if curriculum.needs_rates and curriculum.unknown == "drop" else inside


def allot(weights: np.ndarray, limits: np.ndarray, total: int) -> np.ndarray:
    """Integer row counts by weight, within the limits; their sum is `total`, or the sum of limits if that is lower."""
    given = shared(weights, limits, total)
    counts: np.ndarray = np.floor(given + 1e-9).astype(np.int64)
    missing = round(float(given.sum())) - int(counts.sum())
    # Largest remainders first; on ties the earlier source.
    for number in np.argsort(-(given - counts), kind="stable"):
        if missing > 0 and counts[number] < limits[number]:
            counts[number] += 1
            missing -= 1
    return counts


def shared(weights: np.ndarray, limits: np.ndarray, total: int) -> np.ndarray:
    """Split `total` by weight within the limits, as fractions of rows; excess is shared by the others by weight."""
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
    """The largest epoch in which every source that is not limited by a cap supplies its whole share."""
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
    """Positions of `count` rows in `rows`; a row is repeated only after all others of its kind were drawn as often."""
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
    """The table in curriculum order; ties and rows without a pass rate are placed at random by the seed."""
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
    # A pass rate of 1 is the easiest.
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
