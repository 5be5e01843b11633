# SPDX-License-Identifier: Apache-2.0
"""A user's own table: what becomes a row, and what is refused, by its line."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers import dicom_files as files
from medix_verl.credentialed import is_credentialed
from medix_verl.data.converters.base import Refused, resolve_options
from medix_verl.data.converters.own import questions as own
from medix_verl.data.schema import from_row, to_row
from medix_verl.data.source import Source
from medix_verl.errors import ConfigError, DataError
from medix_verl.types import ImageRef, Sample


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
                # Not p/a.png and b.png: a folder may be called by its patient.
                "image_id": [hashlib.sha256(png(level)).hexdigest()[:16] for level in (1, 2)],
                "modality_word": "chest x-ray",
                "patient_id": "5",
                "synonyms": ["nodule"],
                "tolerance": 0.1,
                "label": "A",
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
        ({"image": "gone.png"}, "no picture", "line 2: picture 1 of the row: there is no such file"),
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


def test_no_name_of_a_picture_travels_unless_it_is_asked_for(tmp_path: Path) -> None:
    place = tmp_path / "Kowalski_Anna"
    files.write(place / "scan.dcm")
    for name in ("a.png", "b/same.png", "c/same.png"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(png(1))
    (place / "empty.png").write_bytes(b"")
    (place / "link.png").symlink_to("/dev/zero")
    names = ("a.png", "gone.png", "scan.dcm", "empty.png", "link.png", "../../etc/Kowalski")
    lines(tmp_path, *(row(image=f"Kowalski_Anna/{name}") for name in names), row(image="same.png"))
    found = read(tmp_path)
    assert "Kowalski" not in repr(found) and "same.png" not in repr(found)
    named = read(tmp_path, **{"keep-names": "yes"})
    assert [type(item) for item in named] == [type(item) for item in found]
    assert isinstance(named[0], Sample) and named[0].meta["image_id"] == ["Kowalski_Anna/a.png"]
    assert all(isinstance(item, Refused) and "Kowalski" in item.detail for item in named[1:])


def test_a_line_that_is_no_row_is_refused_by_its_number(tmp_path: Path) -> None:
    lines(tmp_path, row(id="good"), [1])
    assert read(tmp_path)[1] == Refused("line 2", "bad line", "the line is a list; write one JSON object a line")


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_columns_that_nobody_asked_for_are_ignored_and_said(tmp_path: Path, suffix: str) -> None:
    """They were refused, so that each table with a further column had to be typed out."""
    lines(tmp_path, row(ward="7", licence="x"), row(ward="8"))
    (tmp_path / "mine.csv").write_text("question,answer,ward,licence\nWhat is seen?,a nodule,7,x\n")
    source = Source(tmp_path / f"mine.{suffix}", options=resolve_options("own", own.OPTIONS, {}))
    found = [item for item in own.read(source, "train") if isinstance(item, Sample)]
    assert all("ward" not in item.meta and item.meta["licence"] == "own data, licence not stated" for item in found)
    assert source.notes == [
        f"mine.{suffix}: columns that are ignored: ward, licence; --set meta=NAME keeps one, --column renames it"
    ]
    for asked in ("ward", "ward, floor"):
        kept = read(tmp_path / f"mine.{suffix}", meta=asked)[0]
        assert isinstance(kept, Sample) and kept.meta["ward"] == "7"


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_column_that_is_probably_misspelled_is_refused(tmp_path: Path, suffix: str) -> None:
    lines(tmp_path, {"question": "What?", "anwser": "x"})
    (tmp_path / "mine.csv").write_text("question,anwser\na,b\n")
    place = tmp_path / f"mine.{suffix}"
    with pytest.raises(DataError, match="line 1: unknown column 'anwser'; accepted: id, question, answer, .*'answer'"):
        read(place)
    (kept,) = read(place, columns="answer=anwser")
    assert isinstance(kept, Sample) and kept.answer in ("x", "b")


@pytest.mark.parametrize("name", ["credentialled", "Credentialed ", "is_credentialed", "CREDENTIALED", "credentialed?"])
def test_the_column_of_the_guard_is_never_ignored(tmp_path: Path, name: str) -> None:
    place = lines(tmp_path, row(**{name: "yes"}))
    if name.strip().lower() == "credentialed":
        (kept,) = read(place)
        assert isinstance(kept, Sample) and kept.meta["credentialed"] is True
        return
    with pytest.raises(
        DataError, match="did you mean 'credentialed'. Rename it, or type --column credentialed="
    ) as raised:
        read(place)
    assert "--set meta" not in str(raised.value)
    (kept,) = read(place, columns=f"credentialed={name}")
    assert isinstance(kept, Sample) and kept.meta["credentialed"] is True


def test_a_set_that_is_named_in_an_ignored_column_guards_its_row(tmp_path: Path) -> None:
    first, second = read(lines(tmp_path, row(source="MIMIC-CXR"), row(source="slake")))
    assert isinstance(first, Sample) and first.meta["credentialed"] is True and "source" not in first.meta
    assert isinstance(second, Sample) and "credentialed" not in second.meta


def test_columns_with_other_names(tmp_path: Path) -> None:
    text = "Frage;Antwort;Bild, Datei;Question\nWas?;ein Herd;a.png;What?\n"
    (tmp_path / "fragen.csv").write_bytes(text.encode("cp1252"))
    (tmp_path / "a.png").write_bytes(png())
    (item,) = read(tmp_path / "fragen.csv", columns="question=Frage\nanswer=Antwort\nimage=Bild, Datei\n")
    assert isinstance(item, Sample) and (item.question, item.answer) == ("Was?", "ein Herd")
    # The name does not travel: it may be a patient's.
    assert item.meta["image_id"] == [hashlib.sha256(png()).hexdigest()[:16]]
    (tmp_path / "b.csv").write_text("F,answer\na,b\n")
    with pytest.raises(DataError, match="no column 'question'; it has F, answer; add it, or --column question=NAME"):
        read(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_text("question,answer\na,b\n")
    with pytest.raises(DataError, match="has no column 'Bild', which --column names; it has question, answer"):
        read(tmp_path / "c.csv", columns="image=Bild")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("question", "'question' is no OURS=THEIRS; write for example --column question=Frage"),
        ("frage=question", "'frage' is not a column of ours; accepted: id, question"),
        ("questoin=Frage", "did you mean 'question'"),
        ("question=A,question=B", "named twice"),
        ("question=A,answer=A", "named twice"),
    ],
)
def test_names_that_cannot_be_given(tmp_path: Path, columns: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(lines(tmp_path, row()), columns=columns)


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
    with pytest.raises(DataError, match="has no .jsonl, .csv, .tsv or .xlsx file"):
        read(tmp_path / "none")
    with pytest.raises(ConfigError, match="own has no option 'tabel'; accepted: .*did you mean 'table'"):
        read(tmp_path, tabel="two.jsonl")


def test_rows_that_must_not_leave_are_marked(tmp_path: Path) -> None:
    (kept,) = read(lines(tmp_path, row()), credentialed="yes", name="ours")
    assert isinstance(kept, Sample) and kept.meta["credentialed"] is True and kept.data_source == "own/ours"


@pytest.mark.parametrize(
    ("values", "closed"),
    [
        *(({"credentialed": value}, True) for value in (True, "yes", "TRUE", "1", 1)),
        *(({"credentialed": value}, False) for value in (False, "no", "0", 0, None, "")),
        ({"data_source": "mimic-cxr"}, True),
        ({"data_source": "MIMIC-CXR-JPG 2.1", "credentialed": "no"}, True),
        ({"data_source": "slake"}, False),
        ({"source": "physionet/mimic-iv"}, True),
        ({"Dataset": "MIMIC"}, True),
        ({"meta": {"credentialed": True}}, True),
    ],
)
def test_a_row_may_say_that_it_must_not_leave(tmp_path: Path, values: dict[str, object], closed: bool) -> None:
    known = {"credentialed", "data_source"}
    asked = {} if set(values) <= known else {"meta": "*"}
    (kept,) = read(lines(tmp_path, row(**values)), **asked)
    assert isinstance(kept, Sample) and kept.meta.get("credentialed", False) is closed
    assert is_credentialed(kept.data_source, kept.meta) is closed
    assert kept.meta.get("data_source") == values.get("data_source")


def test_a_csv_may_say_so_too_and_nothing_else_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("question,answer,credentialed\na,b,yes\nc,d,\ne,f,perhaps\n")
    first, second, third = read(tmp_path / "mine.csv")
    assert isinstance(first, Sample) and first.meta["credentialed"] is True
    assert isinstance(second, Sample) and "credentialed" not in second.meta
    assert isinstance(third, Refused) and third.detail == (
        "line 4: credentialed is 'perhaps'; accepted: yes, no, true, false"
    )


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


LETTERED = [
    # Each option in a column of its own, and the answer as a letter: the layout of many choice benchmarks.
    ("question,A,B,C,D,answer\nWhich?,lung,liver,spleen,kidney,B\n", ("lung", "liver", "spleen", "kidney"), "liver"),
    ("question,A,B,C,D,answer\nWhich?,lung,liver,spleen,,(B)\n", ("lung", "liver", "spleen"), "liver"),
    ("question,A,B,answer\nWhich?,lung,liver,liver\n", ("lung", "liver"), "liver"),
    ("question,Option A,Option B,Option C,answer\nWhich?,x,y,z,C.\n", ("x", "y", "z"), "z"),
    ("question,opa,opb,opc,opd,answer\nWhich?,x,y,z,u,D\n", ("x", "y", "z", "u"), "u"),
    ("question,choice_a,choice_b,answer\nWhich?,x,y,A\n", ("x", "y"), "x"),
    # A letter where the options are a list, an object, or begin with their letters.
    ("question,options,answer\nWhich?,lung|liver,B\n", ("lung", "liver"), "liver"),
    ("question,options,answer\nWhich?,A. lung|B. liver,B\n", ("lung", "liver"), "liver"),
    ('question,options,answer\nWhich?,"{""A"": ""lung"", ""B"": ""liver""}",B\n', ("lung", "liver"), "liver"),
    # The text of an option stays what it is, though it is a letter too.
    ("question,options,answer\nWhich group?,A|B|AB|O,B\n", ("A", "B", "AB", "O"), "B"),
    ("question,options,answer\nWhich group?,O|A|B|AB,B\n", ("O", "A", "B", "AB"), "B"),
    ("question,A,B,C,answer\nWhich group?,A,B,AB,B\n", ("A", "B", "AB"), "B"),
]


@pytest.mark.parametrize(("table", "options", "answer"), LETTERED)
def test_options_by_letters(tmp_path: Path, table: str, options: tuple[str, ...], answer: str) -> None:
    (tmp_path / "t.csv").write_text(table, encoding="utf-8")
    (made,) = read(tmp_path)
    assert isinstance(made, Sample)
    assert (made.options, made.answer) == (options, answer)
    assert made.meta["label"] == "ABCD"[options.index(answer)]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("question,A,B,answer\nWhich?,lung,liver,D\n", "answer outside options"),
        ("question,A,B,C,answer\nWhich group?,O,A,B,B\n", "bad value"),  # option B, or the text of option C?
        ('question,options,answer\nWhich?,"{""A"": 1",A\n', "bad value"),
    ],
)
def test_a_letter_that_names_no_one_option_is_refused(tmp_path: Path, table: str, reason: str) -> None:
    (tmp_path / "t.csv").write_text(table, encoding="utf-8")
    (made,) = read(tmp_path)
    assert isinstance(made, Refused)
    assert made.reason == reason


def test_one_column_that_is_a_letter_is_no_option(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("question,A,answer\nWhich?,x,lung\n", encoding="utf-8")
    (made,) = read(tmp_path)
    assert isinstance(made, Sample)
    assert made.options is None
