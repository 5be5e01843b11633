# SPDX-License-Identifier: Apache-2.0
"""Which rows an epoch has: shares, caps, filters, balance, curriculum, and that the seed alone decides the rest."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.data.io.parquet import write_samples
from medix_verl.data.mixture.plan import Plan, allot, build, largest
from medix_verl.data.mixture.spec import CurriculumSpec, MixtureSpec, SourceSpec
from medix_verl.errors import ConfigError, DataError
from medix_verl.types import ImageRef, Sample


def file(
    path: Path,
    rows: int,
    modalities: tuple[str | None, ...] = (None,),
    rates: list[Any] | None = None,
    source: str = "s",
) -> str:
    metas = [{} for _ in range(rows)] if rates is None else [{"pass_rate": rate} for rate in rates]
    samples = [
        Sample(f"{path.stem}-{n}", source, "What?", "this", modalities[n % len(modalities)], meta=metas[n])
        for n in range(rows)
    ]
    write_samples(samples, path)
    return str(path)


def given_by(plan: Plan) -> list[int]:
    counts = Counter(plan.table[:, 0].tolist())
    assert [item.given for item in plan.report] == [counts[number] for number in range(len(plan.files))]
    return [item.given for item in plan.report]


def test_weights_are_shares(tmp_path: Path) -> None:
    a, b = file(tmp_path / "a.parquet", 90), file(tmp_path / "b.parquet", 1000)
    plan = build(MixtureSpec((SourceSpec(a, 3), SourceSpec(b, 1))))
    assert given_by(plan) == [90, 30]
    assert [item.wanted for item in plan.report] == [0.75, 0.25]
    assert [item.limited_by for item in plan.report] == ["", ""]
    assert len({tuple(row) for row in plan.table.tolist()}) == 120, "no row comes twice"


def test_a_given_number_of_rows(tmp_path: Path) -> None:
    """What a source cannot give, the others share; the report says who fell short."""
    a, b = file(tmp_path / "a.parquet", 10), file(tmp_path / "b.parquet", 100)
    plan = build(MixtureSpec((SourceSpec(a, 1), SourceSpec(b, 1)), rows=60))
    assert given_by(plan) == [10, 50]
    assert [item.limited_by for item in plan.report] == ["rows", ""]
    assert given_by(build(MixtureSpec((SourceSpec(a), SourceSpec(b)), rows=500))) == [10, 100]


def test_a_cap_bends_the_shares(tmp_path: Path) -> None:
    a, b = file(tmp_path / "a.parquet", 500), file(tmp_path / "b.parquet", 100)
    plan = build(MixtureSpec((SourceSpec(a, 1, cap=20), SourceSpec(b, 1))))
    assert given_by(plan) == [20, 100]
    assert [item.limited_by for item in plan.report] == ["cap", ""]
    both = MixtureSpec((SourceSpec(a, 1, cap=20), SourceSpec(b, 1, cap=10)))
    assert given_by(build(both)) == [10, 10], "where every source is capped, the shares hold"
    assert given_by(build(MixtureSpec((SourceSpec(a, cap=9999), SourceSpec(b))))) == [100, 100]


def test_rows_repeat_only_where_allowed(tmp_path: Path) -> None:
    a, b = file(tmp_path / "a.parquet", 10), file(tmp_path / "b.parquet", 30)
    plan = build(MixtureSpec((SourceSpec(a, repeat=3), SourceSpec(b))))
    assert given_by(plan) == [30, 30]
    assert set(Counter(plan.table[plan.table[:, 0] == 0][:, 1].tolist()).values()) == {3}
    part = build(MixtureSpec((SourceSpec(a, repeat=3),), rows=15))
    assert sorted(Counter(part.table[:, 1].tolist()).values()) == [1] * 5 + [2] * 5


def test_filters(tmp_path: Path) -> None:
    a = file(tmp_path / "a.parquet", 9, modalities=("X_RAY", "CT_SCAN", None))
    one = build(MixtureSpec((SourceSpec(a, modalities=("X_RAY", "TEXT")),)))
    assert sorted(one.table[:, 1].tolist()) == [0, 2, 3, 5, 6, 8]
    assert one.report[0].modalities == {"TEXT": 3, "X_RAY": 3}
    assert (one.report[0].rows, one.report[0].usable) == (9, 6)
    with pytest.raises(ConfigError, match=r"none of its 9 rows is left \(it has .*data_sources \['s'\]\)"):
        build(MixtureSpec((SourceSpec(a, data_sources=("slake",)),)))
    with pytest.raises(ConfigError, match="none of its 9 rows is left"):
        build(MixtureSpec((SourceSpec(a, modalities=("SPECT",)),)))


def test_a_picture_without_a_tag_is_no_text(tmp_path: Path) -> None:
    shown = (ImageRef(bytes=b"x"),)
    rows = [Sample(f"p{n}", "s", "What?", "this", images=shown) for n in range(3)]
    write_samples([*rows, Sample("t", "s", "What?", "this")], tmp_path / "a.parquet")
    path = str(tmp_path / "a.parquet")
    assert build(MixtureSpec((SourceSpec(path),))).report[0].modalities == {"TEXT": 1, "UNTAGGED": 3}
    assert build(MixtureSpec((SourceSpec(path, modalities=("TEXT",)),))).table[:, 1].tolist() == [3]
    assert len(build(MixtureSpec((SourceSpec(path, modalities=("UNTAGGED",)),))).table) == 3
    even = build(MixtureSpec((SourceSpec(path, repeat=2),), rows=4, balance="modality"))
    assert even.report[0].modalities == {"TEXT": 2, "UNTAGGED": 2}


def test_balance(tmp_path: Path) -> None:
    tags = ("X_RAY",) * 8 + ("CT_SCAN",) + ("SPECT",)
    a = file(tmp_path / "a.parquet", 100, modalities=tags)
    plan = build(MixtureSpec((SourceSpec(a),), rows=40, balance="modality"))
    assert plan.report[0].modalities == {"CT_SCAN": 10, "SPECT": 10, "X_RAY": 20}
    even = build(MixtureSpec((SourceSpec(a),), rows=30, balance="modality"))
    assert even.report[0].modalities == {"CT_SCAN": 10, "SPECT": 10, "X_RAY": 10}
    unbalanced = build(MixtureSpec((SourceSpec(a),), rows=100))
    assert unbalanced.report[0].modalities["X_RAY"] == 80


def test_the_seed_decides(tmp_path: Path) -> None:
    a, b = file(tmp_path / "a.parquet", 40), file(tmp_path / "b.parquet", 40)
    sources = (SourceSpec(a), SourceSpec(b))
    tables = [build(MixtureSpec(sources, seed=seed, rows=50)).table for seed in (3, 3, 4)]
    assert np.array_equal(tables[0], tables[1]) and not np.array_equal(tables[0], tables[2])
    assert not build(MixtureSpec(sources)).ordered


@pytest.mark.parametrize(("order", "expected"), [("easy_to_hard", [0.9, 0.6, 0.3]), ("hard_to_easy", [0.3, 0.6, 0.9])])
def test_a_curriculum_orders_the_rows_of_all_sources(tmp_path: Path, order: str, expected: list[float]) -> None:
    a = file(tmp_path / "a.parquet", 20, rates=[0.3, 0.9] * 10)
    b = file(tmp_path / "b.parquet", 20, rates=[0.6] * 20)
    plan = build(MixtureSpec((SourceSpec(a), SourceSpec(b)), curriculum=CurriculumSpec(order)))
    rates = [0.6 if number == 1 else (0.3, 0.9)[row % 2] for number, row in plan.table.tolist()]
    assert plan.ordered
    assert [rate for k, rate in enumerate(rates) if k == 0 or rates[k - 1] != rate] == expected
    firsts = plan.table[:10]
    assert sorted(firsts[:, 1].tolist()) != firsts[:, 1].tolist(), "ties are spread"


def test_a_band_and_unknown_rates(tmp_path: Path) -> None:
    a = file(tmp_path / "a.parquet", 40, rates=[0.0, 0.5, 1.0, None] * 10)
    kept = build(MixtureSpec((SourceSpec(a),), curriculum=CurriculumSpec(band=(0.1, 0.9))))
    assert {row % 4 for row in kept.table[:, 1].tolist()} == {1, 3} and not kept.ordered
    dropped = build(MixtureSpec((SourceSpec(a),), curriculum=CurriculumSpec(band=(0.1, 0.9), unknown="drop")))
    assert {row % 4 for row in dropped.table[:, 1].tolist()} == {1}
    ordered = build(MixtureSpec((SourceSpec(a),), curriculum=CurriculumSpec("easy_to_hard")))
    places = [place for place, row in enumerate(ordered.table[:, 1].tolist()) if row % 4 == 3]
    assert len(places) == 10 and min(places) < 20 <= max(places), "unknown rates are spread evenly"


def test_a_pass_rate_column(tmp_path: Path) -> None:
    path = Path(file(tmp_path / "a.parquet", 4, rates=[0.1] * 4))
    table = pq.read_table(path)
    pq.write_table(table.append_column("pass_rate", pa.array([0.8, 0.2, None, 0.4])), path)
    plan = build(MixtureSpec((SourceSpec(str(path)),), curriculum=CurriculumSpec("easy_to_hard")))
    assert plan.table[:, 1].tolist() == [0, 3, 1, 2], "the column, and meta where the column is null"


def test_what_cannot_be_built(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.parquet: no such file"):
        build(MixtureSpec((SourceSpec(str(tmp_path / "none.parquet")),)))
    bare = file(tmp_path / "a.parquet", 3)
    with pytest.raises(ConfigError, match="no row of the sources has a pass_rate"):
        build(MixtureSpec((SourceSpec(bare),), curriculum=CurriculumSpec("easy_to_hard")))
    wrong = file(tmp_path / "b.parquet", 3, rates=[0.5, 1.5, 0.5])
    with pytest.raises(DataError, match="row 'b-1': pass_rate is 1.5; it must be a number from 0 to 1"):
        build(MixtureSpec((SourceSpec(wrong),), curriculum=CurriculumSpec(band=(0, 1))))
    text = file(tmp_path / "c.parquet", 2, rates=["high", 0.5])
    with pytest.raises(DataError, match="pass_rate is 'high'"):
        build(MixtureSpec((SourceSpec(text),), curriculum=CurriculumSpec(band=(0, 1))))
    path = Path(file(tmp_path / "d.parquet", 1))
    table = pq.read_table(path)
    broken = table.set_column(table.schema.get_field_index("meta"), "meta", pa.array(["{'pass_rate': 1"]))
    pq.write_table(broken, path)
    with pytest.raises(DataError, match="row 'd-0': meta is not JSON"):
        build(MixtureSpec((SourceSpec(str(path)),), curriculum=CurriculumSpec(band=(0, 1))))


sizes = st.lists(st.tuples(st.floats(0.01, 100), st.integers(1, 10_000), st.booleans()), min_size=1, max_size=6)


@given(sizes, st.integers(1, 100_000))
def test_shares_always_add_up(items: list[tuple[float, int, bool]], total: int) -> None:
    weights, limits = np.array([w for w, _, _ in items]), np.array([n for _, n, _ in items])
    counts = allot(weights, limits, total)
    assert counts.sum() == min(total, limits.sum())
    assert (counts >= 0).all() and (counts <= limits).all()
    free = counts < limits
    if free.sum() > 1:
        rates = counts[free] / weights[free]
        assert (rates.max() - rates.min()) * weights[free].min() <= 2 + 1e-6, (
            "those with rows left agree with the weights"
        )


@given(sizes)
def test_the_largest_epoch_keeps_the_shares(items: list[tuple[float, int, bool]]) -> None:
    weights, limits = np.array([w for w, _, _ in items]), np.array([n for _, n, _ in items])
    capped = np.array([c for _, _, c in items])
    total = largest(weights, limits, capped)
    assert 1 <= total <= limits.sum()
    if not capped.any() and total > 1:
        exact = total * weights / weights.sum()
        assert (exact <= limits + 1).all(), "nobody has to give more than it has"
