# SPDX-License-Identifier: Apache-2.0
"""A user's own table: what becomes a row, and what is refused, by its line."""

from __future__ import annotations

import io
import json
import re
import runpy
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medix_verl.data.converters import own
from medix_verl.data.converters.base import Refused, resolve_options
from medix_verl.data.schema import from_row, to_row
from medix_verl.data.source import Source
from medix_verl.errors import ConfigError, DataError
from medix_verl.types import ImageRef, Sample

files = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "dicom_files.py")))


def png(level: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (32, 32), level).save(buffer, format="PNG")
    return buffer.getvalue()


def read(place: Path, split: str = "train", **options: str) -> list[Sample | Refused]:
    return list(own.read(Source(place, options=resolve_options("own", own.OPTIONS, options)), split))


def lines(place: Path, *rows: object, name: str = "mine.jsonl") -> Path:
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


def row(**values: object) -> dict[str, object]:
    return {"question": "What is seen?", "answer": "a nodule", **values}


def test_a_whole_row(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.png").write_bytes(png(1))
    (tmp_path / "b.png").write_bytes(png(2))
    lines(
        tmp_path,
        row(
            id=17, images=["p/a.png", "b.png"], modality="chest x-ray", options=["a nodule", "nothing"], patient_id=5,
            synonyms=["nodule"], tolerance=0.1,
        ),
    )  # fmt: skip
    assert read(tmp_path, licence="CC0-1.0") == [
        Sample(
            id="17",
            data_source="own/mine",
            question="What is seen?",
            answer="a nodule",
            modality="X_RAY",
            images=(ImageRef(bytes=png(1)), ImageRef(bytes=png(2))),
            options=("a nodule", "nothing"),
            meta={
                "licence": "CC0-1.0",
                "answer_type": "closed",
                "image_id": ["p/a.png", "b.png"],
                "modality_word": "chest x-ray",
                "patient_id": "5",
                "synonyms": ["nodule"],
                "tolerance": 0.1,
            },
        )
    ]


def test_a_csv_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    head = "question,answer,image,options,tolerance,answer_type\n"
    (tmp_path / "mine.csv").write_text(
        f'{head}"Which, of\nthese?",B1,a.png,A1|B1,0.5,\nWhy?,so,,"[""so"",""x""]",,open\n'
    )
    first, second = read(tmp_path / "mine.csv")
    assert isinstance(first, Sample) and isinstance(second, Sample)
    assert (first.question, first.options, first.meta["tolerance"]) == ("Which, of\nthese?", ("A1", "B1"), 0.5)
    assert (second.options, second.images, second.meta["answer_type"]) == (("so", "x"), (), "open")


def test_a_pass_rate_is_a_number_wherever_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("question,answer,pass_rate\nWhy?,so,0.25\nHow?,so,often\nWhere?,here,\n")
    first, second, third = read(tmp_path / "mine.csv")
    assert isinstance(first, Sample) and first.meta["pass_rate"] == 0.25 and isinstance(first.meta["pass_rate"], float)
    assert isinstance(second, Refused) and second.detail == (
        "line 3: pass_rate is 'often'; accepted: a number from 0 to 1, the share of right answers"
    )
    assert isinstance(third, Sample) and "pass_rate" not in third.meta


def test_ids_are_made_of_the_content_and_stay(tmp_path: Path) -> None:
    one, other = lines(tmp_path / "1", row(), row(), row(answer="x")), lines(tmp_path / "2", row(answer="x"), row())
    ids = [item.id for item in read(one)]
    assert len(set(ids)) == 3 and all(name.startswith("own-") for name in ids)
    assert [item.id for item in read(other)] == [ids[2], ids[0]]


def test_splits_by_column_or_by_file(tmp_path: Path) -> None:
    rows = [row(id="a", split="train"), row(id="b", split="Validation"), row(id="c", split="testing")]
    both = lines(tmp_path / "column", *rows, row(id="d", split="holdout"))
    assert [item.id for item in read(both, "val")] == ["b", "d"]
    refused = read(both, "test")[1]
    assert isinstance(refused, Refused) and refused.reason == "unknown split"
    assert "line 4: split is 'holdout'; accepted: train, val, test, training" in refused.detail
    lines(tmp_path / "files", row(id="t"), name="train.jsonl")
    lines(tmp_path / "files", row(id="v"), name="val.jsonl")
    assert [item.id for item in read(tmp_path / "files", "val")] == ["v"]
    with pytest.raises(DataError, match="line 2: some rows have a split and some have none; give every row a split"):
        read(lines(tmp_path / "mixed", row(split="train"), row()))


def test_pictures_from_another_folder_and_from_an_archive(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(png(3))
    with zipfile.ZipFile(tmp_path / "pictures" / "more.zip", "w") as archive:
        archive.writestr("deep/b.png", png(4))
    table = lines(tmp_path / "t", row(image="a.png"), row(image="deep/b.png"))
    found = read(table, images_from=str(tmp_path / "pictures"))
    assert [item.images[0].bytes for item in found if isinstance(item, Sample)] == [png(3), png(4)]
    with pytest.raises(DataError, match="images_from is 'nowhere': no such folder"):
        read(table, images_from="nowhere")


@pytest.mark.parametrize(
    ("values", "reason", "detail"),
    [
        ({"image": "gone.png"}, "no picture", "line 2: there is no file gone.png"),
        ({"image": "../up.png"}, "no picture", "leaves the data set's folder"),
        ({"image": 5}, "bad value", "line 2: image is 5; accepted: the name of a picture file"),
        ({"image": "a", "images": ["b"]}, "bad value", "both image and images are given"),
        ({"images": [1]}, "bad value", r"images is \[1\]; accepted: a JSON list of texts, or texts with [|] between"),
        ({"images": "[broken"}, "bad value", "images is '.broken'; accepted: a JSON list"),
        ({"answer": " "}, "no answer", "line 2: the answer is missing"),
        ({"question": None}, "no question", "line 2: the question is missing"),
        ({"options": ["x", "y"]}, "answer outside options", "line 2: 'a nodule' is none of"),
        ({"options": ["a nodule"]}, "too few options", "line 2: only"),
        ({"options": "[" * 100_000}, "bad value", "accepted: a JSON list of texts"),
        ({"options": [1, 2]}, "bad value", "options is .1, 2.; accepted"),
        ({"answer_type": "free"}, "bad value", "answer_type is 'free'; accepted: open, closed"),
        ({"pass_rate": "often"}, "bad value", "line 2: pass_rate is 'often'; accepted: a number from 0 to 1"),
        ({"pass_rate": 1.5}, "bad value", "pass_rate is 1.5"),
        ({"pass_rate": True}, "bad value", "pass_rate is True"),
        ({"pass_rate": "nan"}, "bad value", "pass_rate is 'nan'"),
        ({"tolerance": "much"}, "bad value", "tolerance is 'much'; accepted: a number of at least 0"),
        ({"tolerance": True}, "bad value", "tolerance is True"),
        ({"tolerance": -1}, "bad value", "tolerance is -1"),
        ({"synonyms": {"a": 1}}, "bad value", "synonyms is"),
        ({"image": "scan.dcm"}, "DICOM picture", "its tags may hold patient data; use `medix-verl prepare dicom`"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_by_its_line(
    tmp_path: Path, values: dict[str, object], reason: str, detail: str
) -> None:
    files.write(tmp_path / "scan.dcm")
    good, bad = read(lines(tmp_path, row(id="good"), row(**values)))
    assert isinstance(good, Sample) and isinstance(bad, Refused) and bad.reason == reason
    assert re.search(detail, bad.detail)


def test_a_line_that_is_no_row_is_refused_by_its_number(tmp_path: Path) -> None:
    lines(tmp_path, row(id="good"), [1])
    assert read(tmp_path)[1] == Refused("line 2", "bad line", "the line is a list; write one JSON object a line")


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_columns_that_nobody_asked_for_are_refused(tmp_path: Path, suffix: str) -> None:
    lines(tmp_path, row(anwser="x", ward="7"))
    (tmp_path / "mine.csv").write_text("question,answer,anwser,ward\na,b,x,7\n")
    place = tmp_path / f"mine.{suffix}"
    with pytest.raises(DataError, match="line 1: unknown column 'anwser'; accepted: id, question, answer, .*'answer'"):
        read(place)
    with pytest.raises(DataError, match="unknown column 'ward'; .*type --set meta=anwser,ward to keep it"):
        read(place, meta="anwser")
    for asked in ("*", "ward, anwser"):
        (kept,) = read(place, meta=asked)
        assert isinstance(kept, Sample) and (kept.meta["ward"], kept.meta["anwser"]) == ("7", "x")


def test_columns_that_are_ours_or_missing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column 'licence' is written by medix-verl itself; rename it"):
        read(lines(tmp_path / "a", row(licence="mine")), meta="*")
    (tmp_path / "b.csv").write_text("question,reply\na,b\n")
    with pytest.raises(DataError, match="has no column 'answer'; it has question, reply; add it"):
        read(tmp_path / "b.csv", meta="*")


def test_a_folder_without_one_table_is_refused(tmp_path: Path) -> None:
    lines(tmp_path, row(id="1"), name="one.jsonl")
    lines(tmp_path, row(id="2"), name="two.jsonl")
    with pytest.raises(DataError, match="has 2 tables: one.jsonl, two.jsonl; give --source the table's file"):
        read(tmp_path)
    assert [item.id for item in read(tmp_path, table="two.jsonl")] == ["2"]
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.png").write_bytes(png())
    with pytest.raises(DataError, match="has no .jsonl, .csv or .tsv file"):
        read(tmp_path / "none")
    with pytest.raises(ConfigError, match="own has no option 'tabel'; accepted: .*did you mean 'table'"):
        read(tmp_path, tabel="two.jsonl")


def test_rows_that_must_not_leave_are_marked(tmp_path: Path) -> None:
    (kept,) = read(lines(tmp_path, row()), credentialed="yes", name="ours")
    assert isinstance(kept, Sample) and kept.meta["credentialed"] is True and kept.data_source == "own/ours"


TEXTS = st.text(max_size=12)


@settings(deadline=None)
@given(st.lists(st.fixed_dictionaries({"question": TEXTS, "answer": TEXTS}), min_size=1, max_size=6))
def test_every_row_is_one_item_and_every_sample_a_valid_row(rows: list[dict[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = read(lines(Path(folder), *rows))
    assert len(found) == len(rows) and len({item.id for item in found}) == len(rows)
    for item in found:
        if isinstance(item, Sample):
            assert from_row(to_row(item)) == item
