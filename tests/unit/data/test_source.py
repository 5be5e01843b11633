# SPDX-License-Identifier: Apache-2.0
"""A place's rows and members are found in every layout that data sets are published in, and nothing outside it is."""

import io
import json
import os
import tarfile
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medix_verl.data.io import listing
from medix_verl.data.io.listing import hub_files
from medix_verl.data.source import Source
from medix_verl.errors import DataError, SetupError

ROW = {"question": "What?", "answer": "this"}


def put_parquet(path: Path, rows: list[dict[str, Any]], features: dict[str, Any] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["data/train-00001-of-00002.parquet", "data/train-00000-of-00002.parquet", "data/test-0.parquet"], 2),
        (["train/0000.parquet"], 1),
        (["deep/er/train.parquet"], 1),
    ],
)
def test_a_split_is_found_by_its_name(tmp_path: Path, names: list[str], expected: int) -> None:
    for name in names:
        put_parquet(tmp_path / name, [{**ROW, "answer": name}])
    rows = list(Source(tmp_path).rows("train", ["question", "answer"]))
    assert [row["answer"] for row in rows] == sorted(names)[-expected:]


def test_pictures_are_not_decoded(tmp_path: Path) -> None:
    """With the types that the hub writes into its files, a picture would be decoded by default."""
    broken = {"bytes": b"no picture", "path": "a.png"}
    features = {
        "image": {"_type": "Image"},
        "images": {"feature": {"_type": "Image"}, "_type": "List"},
        "answer": {"dtype": "string", "_type": "Value"},
    }
    put_parquet(tmp_path / "train.parquet", [{"image": broken, "images": [broken], "answer": "x"}], features)
    (row,) = Source(tmp_path).rows("train", ["image", "images"], optional=["answer", "other"])
    assert row == {"image": broken, "images": [broken], "answer": "x", "other": None}


ODD_NAMES = (
    "train[1].parquet",
    "a*b?.parquet",
    "x::y.parquet",
    "v[1]/a{1,2}.parquet",
    "[!a].parquet",
    "100%25 #1.parquet",
)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_is_no_pattern(tmp_path: Path, name: str) -> None:
    """The file that is named is read, not the one that its name would match as a pattern."""
    for other in ("train1.parquet", "aXbY.parquet", "v1/a1.parquet", "y.parquet", "b.parquet", "1% #1.parquet"):
        put_parquet(tmp_path / other, [{**ROW, "answer": "another"}])
    put_parquet(tmp_path / name, [{**ROW, "answer": "mine"}])
    assert [row["answer"] for row in Source(tmp_path / name).rows("train", ["answer"])] == ["mine"]


def test_a_folder_with_brackets(tmp_path: Path) -> None:
    put_parquet(tmp_path / "v1" / "train.parquet", [{**ROW, "answer": "another"}])
    put_parquet(tmp_path / "v[1]" / "train.parquet", [{**ROW, "answer": "mine"}])
    assert [row["answer"] for row in Source(tmp_path / "v[1]").rows("train", ["answer"])] == ["mine"]


def test_a_replaced_file_with_the_old_time_gives_its_new_rows(tmp_path: Path) -> None:
    for answer in ("old", "new"):
        put_parquet(tmp_path / "train.parquet", [{**ROW, "answer": answer}])
        os.utime(tmp_path / "train.parquet", (1_700_000_000, 1_700_000_000))
        assert [row["answer"] for row in Source(tmp_path).rows("train", ["answer"])] == [answer]


def test_a_column_that_nobody_asks_for_may_be_of_any_type(tmp_path: Path) -> None:
    table = pa.table({"answer": ["this"], "tags": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))})
    features = {"info": {"features": {"answer": {"_type": "Value", "dtype": "string"}, "tags": {"_type": "Hologram"}}}}
    table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, tmp_path / "train.parquet")
    assert list(Source(tmp_path).rows("train", ["answer"])) == [{"answer": "this"}]


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["answer", "answer"])
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"train\.parquet has the column answer twice"):
        list(Source(tmp_path).rows("train", ["answer"]))


def test_a_link_to_nowhere_is_no_file(tmp_path: Path) -> None:
    put_parquet(tmp_path / "train.parquet", [ROW])
    (tmp_path / "gone.zip").symlink_to(tmp_path / "nowhere")
    assert Source(tmp_path).names("*") == ["train.parquet"]


def test_a_subset_is_a_folder(tmp_path: Path) -> None:
    for subset in ("anatomy", "genetics"):
        put_parquet(tmp_path / subset / "test-0.parquet", [{**ROW, "answer": subset}])
    rows = list(Source(tmp_path).rows("test", ["answer"], config="genetics"))
    assert [row["answer"] for row in rows] == ["genetics"]


def test_parquet_is_preferred_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    put_parquet(tmp_path / "train.parquet", [ROW])
    (tmp_path / "train.json").write_text("[]", encoding="utf-8")
    put_parquet(tmp_path / ".cache" / "train.parquet", [ROW])
    assert len(list(Source(tmp_path).rows("train", ["answer"]))) == 1


def test_files_with_other_names(tmp_path: Path) -> None:
    (tmp_path / "QA").mkdir()
    (tmp_path / "QA" / "one.csv").write_text("question,answer\na,b\n", encoding="utf-8")
    rows = Source(tmp_path).rows("train", ["question"], optional=["answer", "more"], files="QA/*.csv")
    assert list(rows) == [{"question": "a", "answer": "b", "more": None}]


def test_a_single_file_is_the_split(tmp_path: Path) -> None:
    put_parquet(tmp_path / "mine.parquet", [ROW])
    put_parquet(tmp_path / "train.parquet", [ROW, ROW])
    (tmp_path / "a.png").write_bytes(b"png")
    source = Source(tmp_path / "mine.parquet")
    assert len(list(source.rows("train", ["answer"]))) == 1
    assert source.member("a.png") == b"png"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.parquet", b"PAR1 no", r"train\.parquet is not a readable parquet file"),
        ("train.jsonl", b'{"question": "a"}', r"train\.jsonl has no column answer; it has question, expected question"),
        ("other.parquet", b"", r"no file of the split 'train': expected train-\*\.parquet.*got other\.parquet"),
        ("readme.md", b"", r"got no \.parquet, \.json, \.jsonl, \.csv or \.tsv at all; check --source"),
    ],
)
def test_a_wrong_layout_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(Source(tmp_path).rows("train", ["question", "answer"]))


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file or folder; give --source a folder"):
        Source(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"has no file; give --source the folder"):
        Source(tmp_path)


def test_the_digest_follows_the_files(tmp_path: Path) -> None:
    put_parquet(tmp_path / "train.parquet", [ROW])
    before = Source(tmp_path).digest()
    assert Source(tmp_path).digest() == before
    put_parquet(tmp_path / "train.parquet", [ROW, ROW])
    assert Source(tmp_path).digest() != before


def test_the_state_follows_a_file_that_is_replaced_under_its_old_time(tmp_path: Path) -> None:
    """The finished parts of a preparation are of the old rows then."""
    states = []
    for answer in ("old", "new"):
        (tmp_path / "train.jsonl").write_text(f'{{"answer": "{answer}"}}', encoding="utf-8")
        os.utime(tmp_path / "train.jsonl", (1_700_000_000, 1_700_000_000))
        states.append((Source(tmp_path).digest(), Source(tmp_path).state()))
    assert states[0][0] == states[1][0] and states[0][1] != states[1][1]
    assert Source(tmp_path).state() == states[1][1]


def put_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def put_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def test_members_are_found_beside_and_inside(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "a.png").write_bytes(b"plain")
    put_zip(tmp_path / "imgs.zip", {"imgs/xmlab1/source.jpg": b"one", "imgs/xmlab2/source.jpg": b"two"})
    put_tar(tmp_path / "more.tar", {"./b.png": b"tarred"})
    source = Source(tmp_path)
    assert source.member("plain/a.png") == source.member("a.png") == b"plain"
    assert source.member("xmlab2/source.jpg") == source.member("imgs\\xmlab2\\source.jpg") == b"two"
    assert source.member("b.png") == b"tarred"


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("imgs\\caf\u00e9.png", "imgs/caf\u00e9.png"),
        ("imgs/cafe\u0301.png", "imgs/caf\u00e9.png"),
        ("imgs/caf\u00e9.png", "imgs\\cafe\u0301.png"),
        ("deep\\imgs\\x.png", "imgs/x.png"),
        ("./imgs/\u9aa8.png", "\u9aa8.png"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar", "folder"])
def test_names_as_windows_and_macos_write_them(tmp_path: Path, kind: str, written: str, asked: str) -> None:
    if kind == "folder":
        (tmp_path / written).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / written).write_bytes(b"here")
    else:
        (put_zip if kind == "zip" else put_tar)(tmp_path / f"imgs.{kind}", {written: b"here", "other.png": b"no"})
    assert Source(tmp_path).member(asked) == b"here"


def test_a_zip_that_does_not_say_that_its_names_are_utf_8(tmp_path: Path) -> None:
    name = "imgs/cafe\u0301.png"
    put_zip(tmp_path / "imgs.zip", {name: b"here"})
    data = bytearray((tmp_path / "imgs.zip").read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place + 1] &= 0xF7
    (tmp_path / "imgs.zip").write_bytes(bytes(data))
    assert Source(tmp_path).member("imgs/caf\u00e9.png") == b"here"


def save(folder: Path, split: str | None, answers: list[str]) -> None:
    """As `datasets.Dataset.save_to_disk` does, in two files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, answer in enumerate(answers):
        name = f"data-{number:05}-of-{len(answers):05}.arrow"
        table = pa.table({"answer": [answer], "more": [number]})
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        files.append({"filename": name})
    (folder / "state.json").write_text(json.dumps({"_data_files": files, "_split": split, "_format_type": None}))
    (folder / "dataset_info.json").write_text("{}\n")


def test_what_save_to_disk_wrote_is_read(tmp_path: Path) -> None:
    for split in ("train", "test"):
        save(tmp_path / "dict" / "saved" / split, split, [f"{split} 1", f"{split} 2"])
    (tmp_path / "dict" / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    save(tmp_path / "one", None, ["a"])
    save(tmp_path / "named", "validation", ["v"])
    for files in (None, ("*.parquet",), ("train-*.parquet", "train.json*")):
        rows = Source(tmp_path / "dict").rows("train", ["answer"], files=files)
        assert [row["answer"] for row in rows] == ["train 1", "train 2"]
    assert list(Source(tmp_path / "dict" / "saved" / "test").rows("test", ["answer"])) == [
        {"answer": "test 1"},
        {"answer": "test 2"},
    ]
    assert list(Source(tmp_path / "one").rows("test", ["answer"])) == [{"answer": "a"}]
    assert list(Source(tmp_path / "named").rows("validation", ["answer"])) == [{"answer": "v"}]
    with pytest.raises(
        DataError, match=r"no saved split 'train': save_to_disk wrote \. \(validation\); check --source"
    ):
        list(Source(tmp_path / "named").rows("train", ["answer"]))
    (file,) = (tmp_path / "named").glob("*.arrow")
    assert list(Source(file).rows("train", ["answer"])) == [{"answer": "v"}]


def test_a_saved_set_that_is_not_whole(tmp_path: Path) -> None:
    save(tmp_path, "train", ["a", "b"])
    (tmp_path / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(DataError, match=r"state\.json names data-00001-of-00002\.arrow, which is not there"):
        list(Source(tmp_path).rows("train", ["answer"]))
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(DataError, match=r"state\.json is none of save_to_disk"):
        list(Source(tmp_path).rows("train", ["answer"]))
    save(tmp_path / "x", "train", ["a"])
    (tmp_path / "state.json").unlink()
    (tmp_path / "x" / "data-00000-of-00001.arrow").write_bytes(b"no arrow")
    with pytest.raises(DataError, match=r"data-00000-of-00001\.arrow is not a readable Arrow file"):
        list(Source(tmp_path).rows("train", ["answer"]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("source.jpg", r"several files are called source\.jpg \(a/source\.jpg, b/source\.jpg\)"),
        ("c.jpg", r"no file c\.jpg beside the rows, and pack\.tgz is compressed: unpack it there first"),
        ("../secret", r"'\.\./secret' leaves the data set's folder"),
        ("/etc/hostname", "leaves the data set's folder"),
        ("", "leaves the data set's folder"),
        ("torn.jpg", r"torn\.jpg in .*imgs\.zip cannot be read"),
    ],
)
def test_members_that_cannot_be_given(tmp_path: Path, name: str, message: str) -> None:
    put_zip(tmp_path / "imgs.zip", {"a/source.jpg": b"one", "b/source.jpg": b"two", "torn.jpg": b"t" * 100})
    torn = (tmp_path / "imgs.zip").read_bytes().replace(b"t" * 100, b"u" * 100)
    (tmp_path / "imgs.zip").write_bytes(torn)
    put_tar(tmp_path / "pack.tgz", {"c.jpg": b"c"}, "w:gz")
    with pytest.raises(DataError, match=message):
        Source(tmp_path).member(name)


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "imgs.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"imgs\.zip is not a readable archive"):
        Source(tmp_path).member("a.png")


class GatedRepoError(Exception):
    """Named as the hub's own."""


class RepositoryNotFoundError(Exception):
    """Named as the hub's own."""


class RevisionNotFoundError(Exception):
    """Named as the hub's own."""


@pytest.mark.parametrize(
    ("cause", "kind", "message"),
    [
        (
            GatedRepoError(),
            SetupError,
            r"own/set is gated: accept its terms at https://huggingface\.co/datasets/own/set",
        ),
        (RepositoryNotFoundError(), DataError, "own/set: no such folder here, and no such data set on the hub"),
        (RevisionNotFoundError(), DataError, "own/set has no revision 'v9'; check --revision"),
        (
            ConnectionError("no route\nmore"),
            SetupError,
            r"cannot be reached \(no route\); .*`hf download own/set .*give",
        ),
    ],
)
def test_why_the_hub_does_not_give_it(cause: Exception, kind: type[Exception], message: str) -> None:
    def ask(*words: Any, **options: Any) -> Any:
        raise cause

    with pytest.raises(kind, match=message):
        hub_files("own/set", "v9", ask)


def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "LIMIT", 0.2)
    with pytest.raises(SetupError, match=r"cannot be reached \(no answer in 0\.2 s\)"):
        hub_files("own/set", None, lambda *words, **options: time.sleep(5))


def test_the_hub_is_pinned_to_one_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    siblings = [SimpleNamespace(rfilename=name, size=3) for name in ("b.parquet", "a.json")]
    found = hub_files("own/set", None, lambda *words, **options: SimpleNamespace(siblings=siblings, sha="c0ffee"))
    assert [item.name for item in found.files] == ["a.json", "b.parquet"]
    asked: list[str] = []
    system = SimpleNamespace(open=lambda path, mode: asked.append(path) or io.BytesIO())
    monkeypatch.setattr("huggingface_hub.HfFileSystem", lambda: system)
    found.open("b.parquet")
    assert asked == ["datasets/own/set@c0ffee/b.parquet"]
    source = Source("own/set", listing=found)
    assert not source.local and source.commit == "c0ffee"
    with pytest.raises(DataError, match=r"own/set has no file c\.json; check --source and --revision"):
        source.path("c.json")
