# SPDX-License-Identifier: Apache-2.0
"""A place's rows and members are found in every layout that data sets are published in, and nothing outside it is."""

import io
import json
import tarfile
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medix_verl.data import listing
from medix_verl.data.listing import hub_files
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
        ("train.parquet", b"PAR1 no", r"train\.parquet is no readable parquet file"),
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
    with pytest.raises(DataError, match=r"imgs\.zip is no readable archive"):
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


def test_the_hub_is_pinned_to_one_commit() -> None:
    siblings = [SimpleNamespace(rfilename=name, size=3) for name in ("b.parquet", "a.json")]
    found = hub_files("own/set", None, lambda *words, **options: SimpleNamespace(siblings=siblings, sha="c0ffee"))
    assert [item.name for item in found.files] == ["a.json", "b.parquet"]
    assert found.address("b.parquet") == "hf://datasets/own/set@c0ffee/b.parquet"
    source = Source("own/set", listing=found)
    assert not source.local and source.commit == "c0ffee"
    with pytest.raises(DataError, match=r"own/set has no file c\.json; check --source and --revision"):
        source.path("c.json")
