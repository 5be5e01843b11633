# SPDX-License-Identifier: Apache-2.0
"""The card: its counts add up, it is harmless and stands alone, and it shows no credentialed row."""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from helpers.wheels import scikit_image
from medix_verl.data.io.parquet import write_samples
from medix_verl.data.prepare.card import (
    ANSWER_CHARS,
    PICTURES_A_ROW,
    ROWS_A_MODALITY,
    RowCounts,
    count_rows,
    in_order,
    interval,
    interval_names,
    render_card,
    write_card,
)
from medix_verl.errors import DataError
from medix_verl.types import MODALITIES, ImageRef, Sample

pictures = scikit_image()

EYE = Image.fromarray(pictures.retina())
REPORT = {
    "set": "slake",
    "title": "SLAKE",
    "licence": "CC BY 4.0",
    "credentialed": False,
    "source": {"place": "BoKelvin/SLAKE", "commit": "abc123"},
    "against": ["test.parquet"],
    "rows": {"read": 14, "refused": 2, "dropped": 2, "written": 10},
    "reasons": {"picture corrupt": 2, "duplicate: same-image": 2},
    "flags": {"answer-unknown": 3},
    "collisions": [{"file": "test.parquet", "kind": "same-image", "dropped": True, "rows": 2}],
    "examples": {"picture corrupt": [{"id": "s-13", "detail": "row 's-13': <b>cut off</b>"}]},
}


def png(width: int = 60, height: int = 40) -> bytes:
    buffer = io.BytesIO()
    EYE.resize((width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def rows(count: int, modality: str | None = "CT_SCAN") -> list[Sample]:
    meta = {"licence": "CC BY 4.0", "answer_type": "open", "image_id": ["eye.png"]}
    shown = (ImageRef(bytes=png()),) if modality else ()
    return [
        Sample(f"{modality}-{n}", "slake", f"Question {n}?", "x" * (n + 1), modality, shown, meta=meta)
        for n in range(count)
    ]


class Reader(HTMLParser):
    """Tags, attributes and visible text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def test_the_card_says_what_is_there(tmp_path: Path) -> None:
    both = [*rows(7), *rows(3, None)]
    write_samples(both, tmp_path / "train.parquet")
    write_card(tmp_path / "deep" / "card.html", tmp_path / "train.parquet", REPORT)
    page = read(tmp_path / "deep" / "card.html")
    text = " ".join(page.text.split())
    for expected in (
        "Rows 10", "SLAKE", "Pictures 7 (1 distinct", "CC BY 4.0 (10 rows)", "14 / 2 / 2", "CT_SCAN 7 70.0 %",
        "60 x 40 7 100.0 %", "open 10", "1-5 8 80.0 %", "6-10 2", "picture corrupt 2", "s-13", "answer-unknown",
        "text only 3 30.0 %", "test.parquet same-image 2 dropped", "Question 0?", "BoKelvin/SLAKE at abc123",
    ):  # fmt: skip
        assert re.sub(r"\s+", "", expected) in re.sub(r"\s+", "", text), expected
    assert page.tags["img"] == ROWS_A_MODALITY and page.tags["article"] == 2 * ROWS_A_MODALITY
    assert list(tmp_path.rglob("*.part")) == []


@pytest.mark.parametrize(
    "field", ["question", "answer", "id", "data_source", "split", "modality", "licence", "options"]
)
def test_a_row_with_markup_is_harmless(tmp_path: Path, field: str) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\"' {{ 7 * 7 }} </style>"
    sample = rows(1)[0]
    if field == "licence":
        sample = replace(sample, meta={"licence": evil, "answer_type": evil})
    elif field == "options":
        sample = replace(sample, options=(evil, "x"))
    elif field != "modality":
        sample = replace(sample, **{field: evil})
    write_samples([sample], tmp_path / "t.parquet")
    report = {**REPORT, "title": evil, "reasons": {evil: 1}, "examples": {evil: [{"id": evil, "detail": evil}]}}
    write_card(tmp_path / "c.html", tmp_path / "t.parquet", report)
    page = read(tmp_path / "c.html")
    assert page.tags["script"] == 0 and page.tags["img"] == 1
    assert evil in page.text and "49" not in page.text
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_nothing_is_fetched(tmp_path: Path) -> None:
    write_samples(rows(2), tmp_path / "t.parquet")
    write_card(tmp_path / "c.html", tmp_path / "t.parquet", REPORT)
    page = read(tmp_path / "c.html")
    links = [value for name, value in page.attributes if name in {"src", "href"}]
    assert links and all(value and value.startswith("data:image/jpeg;base64,") for value in links)
    assert page.tags["link"] == page.tags["script"] == 0
    assert "default-src 'none'" in (tmp_path / "c.html").read_text()
    assert "url(" not in (tmp_path / "c.html").read_text()


def test_credentialed_rows_are_counted_and_not_shown(tmp_path: Path) -> None:
    secret = [replace(one, question="Patient 17", meta={"credentialed": True}) for one in rows(2)]
    write_samples([*secret, *rows(1, None)], tmp_path / "t.parquet")
    write_card(tmp_path / "c.html", tmp_path / "t.parquet", {})
    page = read(tmp_path / "c.html")
    assert "Patient 17" not in page.text and page.tags["img"] == 0 and page.tags["article"] == 1
    assert "must not leave this machine" in page.text
    report = {**REPORT, "credentialed": True}
    write_card(tmp_path / "c.html", tmp_path / "t.parquet", report)
    page = read(tmp_path / "c.html")
    assert page.tags["article"] == 0 and "cut off" not in page.text and "picture corrupt" in page.text


def test_without_a_report_nothing_is_claimed(tmp_path: Path) -> None:
    write_samples(rows(1), tmp_path / "t.parquet")
    write_card(tmp_path / "c.html", tmp_path / "t.parquet", {})
    text = " ".join(read(tmp_path / "c.html").text.split())
    assert "Not compared with any evaluation file" in text and text.count("Not known: there is no report.") == 2
    assert "No row collides" not in text
    clean = {**REPORT, "collisions": [], "reasons": {}, "flags": {}, "examples": {}}
    write_card(tmp_path / "c.html", tmp_path / "t.parquet", clean)
    text = " ".join(read(tmp_path / "c.html").text.split())
    assert "No row collides with another." in text and "Not compared" not in text


def test_a_card_of_a_check_says_that_the_rows_are_still_there(tmp_path: Path) -> None:
    write_samples(rows(1), tmp_path / "t.parquet")
    write_card(tmp_path / "c.html", tmp_path / "t.parquet", {**REPORT, "checked": True})
    text = " ".join(read(tmp_path / "c.html").text.split())
    assert "Rows that should not be in it" in text and "to be dropped" in text and "Rows that are not in it" not in text


def test_the_card_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    long = [replace(one, question="q" * 5000, images=one.images * 9) for one in rows(3)]
    write_samples([*long, *rows(100, "X_RAY"), *rows(100, None)], tmp_path / "t.parquet")
    counts = count_rows(tmp_path / "t.parquet")
    assert {name: len(kept) for name, kept in counts.shown.items()} == dict.fromkeys(counts.shown, ROWS_A_MODALITY)
    shown = counts.rows_to_show()
    assert [row.pictures for row in shown if row.sample.modality == "CT_SCAN"] == [9] * 3
    assert all(len(row.thumbnails) <= PICTURES_A_ROW for row in shown)
    text = render_card(counts, REPORT, "t.parquet")
    assert "q" * 601 not in text and "(5,000 characters)" in text and "and 5 more" in text
    assert len(text) < 500_000


def test_the_same_rows_are_shown_whatever_their_order(tmp_path: Path) -> None:
    write_samples(rows(20), tmp_path / "a.parquet")
    write_samples(rows(20)[::-1], tmp_path / "b.parquet")
    first, second = (count_rows(tmp_path / name).rows_to_show() for name in ("a.parquet", "b.parquet"))
    assert first == second


def test_every_modality_is_shown_before_any_twice(tmp_path: Path) -> None:
    write_samples([one for tag in MODALITIES for one in rows(3, tag)], tmp_path / "t.parquet")
    shown = [row.sample.modality for row in count_rows(tmp_path / "t.parquet").rows_to_show()]
    assert len(shown) == 18 and set(shown) == set(MODALITIES)


def test_an_unreadable_picture_is_counted(tmp_path: Path) -> None:
    write_samples([replace(rows(1)[0], images=(ImageRef(path="gone.png"),))], tmp_path / "t.parquet")
    write_card(tmp_path / "c.html", tmp_path / "t.parquet", {})
    text = read(tmp_path / "c.html").text
    assert "Unreadable pictures" in text and "unreadable picture" in text


def test_a_card_of_no_file_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "c.html").write_text("old")
    with pytest.raises(DataError, match="no such file"):
        write_card(tmp_path / "c.html", tmp_path / "gone.parquet", {})
    assert (tmp_path / "c.html").read_text() == "old"


@given(st.integers(0, 5000))
def test_every_number_has_its_interval(value: int) -> None:
    name = interval(max(value, 1), ANSWER_CHARS)
    assert name in interval_names(ANSWER_CHARS)
    low, _, high = name.partition("-")
    assert value > 1000 if name == "over 1000" else int(low) <= max(value, 1) <= int(high)


def test_a_histogram_keeps_its_inner_gaps() -> None:
    assert in_order(Counter({"1-5": 2, "11-20": 1}), interval_names(ANSWER_CHARS)) == [
        ("1-5", 2),
        ("6-10", 0),
        ("11-20", 1),
    ]
    assert in_order(Counter(), interval_names(ANSWER_CHARS)) == []
    assert "No row" not in render_card(RowCounts(), {}, "empty")
