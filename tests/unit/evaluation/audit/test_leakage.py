# SPDX-License-Identifier: Apache-2.0
"""Questions of an evaluation that are in a training file, found through the same search as in preparation."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from medix_verl.data.io.parquet import write_samples
from medix_verl.errors import DataError
from medix_verl.evaluation.audit.leakage import find_leaks
from medix_verl.evaluation.store.read import Evaluation
from medix_verl.evaluation.store.records import Record, read_records, write_records
from medix_verl.evaluation.task_run import facts_of
from medix_verl.evaluation.tasks.pictures import keep_picture, prepare
from medix_verl.evaluation.tasks.table import find
from medix_verl.types import ImageRef, Sample

WORDS = "A woman of sixty years has had pain in the right upper belly for three days and her skin is yellow"


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((320, 240), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def shown(*images: bytes) -> dict[str, tuple[str, ...]]:
    """What a record keeps of pictures, made as an evaluation makes it."""
    kept = [keep_picture(ImageRef(bytes=raw), "q", None, Path()) for raw in images]
    return {"images": tuple(item.hash for item in kept), "perceptual": tuple(item.perceptual for item in kept)}


def record(number: int, question: str, value: float = 1.0, **more: object) -> Record:
    given = {"task": "t", "id": str(number), "cluster": str(number), "reference": "a mass", "response": "x"}
    return Record(**{**given, "question": question, "answer": "x", "value": value, "status": "scored", **more})  # type: ignore[arg-type]


def evaluated(*records: Record) -> Evaluation:
    tasks: dict[tuple[str, str], list[Record]] = {}
    for item in records:
        tasks.setdefault((item.task, "real"), []).append(item)
    return Evaluation(Path(), {"model": "m"}, tasks)


def kinds(training: Path, *records: Record) -> list[dict[str, int]]:
    """How each record leaks, each as a task of its own."""
    found = find_leaks(evaluated(*(replace(item, task=f"t{n}") for n, item in enumerate(records))), training)
    assert all(sum(leak.kinds.values()) <= leak.total == 1 for leak in found)
    return [leak.kinds for leak in found]


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows with pictures 1 and 2, and two in text."""
    rows = [
        Sample("a", "s", "What is shown in the upper lobe?", "a mass", images=(ImageRef(bytes=encoded(picture(1))),)),
        Sample("b", "s", "Is there an effusion?", "no", images=(ImageRef(bytes=encoded(picture(2))),)),
        Sample("c", "s", "Which nerve runs through the carpal tunnel?", "the median nerve"),
        Sample("d", "s", f"{WORDS}. What is it?", "cholangitis"),
    ]
    path = tmp_path_factory.mktemp("leakage") / "train.parquet"
    write_samples(rows, path)
    return path


def test_kinds_of_leaks(training: Path) -> None:
    one, two, three = (encoded(picture(seed)) for seed in (1, 2, 3))
    asked = [
        (record(1, "What is shown in the upper lobe?", **shown(one)), "exact"),
        (record(2, "What is shown in the upper lobe?", reference="a cyst", **shown(one)), "same-question"),
        (record(3, "Is it on the left?", **shown(three, one)), "same-image"),
        # The same words about another picture are another question.
        (record(4, "Is there an effusion?", **shown(three)), None),
        (record(5, "WHICH nerve  runs through the carpal tunnel"), "same-question"),
        (record(6, "Which artery runs through the carpal tunnel?"), None),
        # The training row has a picture, this one has none.
        (record(7, "Is there an effusion?"), None),
        (record(8, f"{WORDS}. What is the most likely diagnosis in this case?"), "near-text"),
        (record(9, "Is there an effusion?", reference="no", **shown(two)), "exact"),
    ]
    assert kinds(training, *(item for item, _ in asked)) == [{kind: 1} if kind else {} for _, kind in asked]


@pytest.mark.parametrize(
    "change",
    [
        lambda image: encoded(image, "JPEG"),
        lambda image: encoded(image.resize((160, 120))),
        lambda image: encoded(image.resize((150, 110)), "JPEG"),
        lambda image: encoded(ImageEnhance.Brightness(image).enhance(1.1)),
        lambda image: encoded(ImageOps.expand(image, 10, "white"), "JPEG"),
    ],
    ids=["JPEG", "half the size", "smaller and JPEG", "brighter", "framed and JPEG"],
)
def test_a_changed_copy_of_a_picture_is_found(training: Path, change: Callable[[Image.Image], bytes]) -> None:
    copies = [record(seed, "Is it on the left?", **shown(change(picture(seed)))) for seed in (1, 2, 3)]
    assert kinds(training, *copies) == [{"near-image": 1}, {"near-image": 1}, {}]


def test_records_of_before_have_exact_copies_only(training: Path) -> None:
    copies = [
        record(1, "Left?", **shown(encoded(picture(1)))),
        record(2, "Left?", **shown(encoded(picture(1), "JPEG"))),
    ]
    bare = evaluated(replace(copies[0], perceptual=()), replace(copies[1], perceptual=("",)))
    (found,) = find_leaks(bare, training)
    assert (found.kinds, found.exact_only) == ({"same-image": 1}, 2)


def test_perceptual_hashes_are_kept_in_records(tmp_path: Path) -> None:
    written = record(1, "Left?", **shown(encoded(picture(1))))
    write_records(tmp_path / "r.jsonl", [written])
    assert read_records(tmp_path / "r.jsonl") == [written] and len(written.perceptual[0]) == 80
    line = (tmp_path / "r.jsonl").read_text().replace(f', "perceptual": ["{written.perceptual[0]}"]', "")
    (tmp_path / "old.jsonl").write_text(line)
    assert read_records(tmp_path / "old.jsonl") == [replace(written, perceptual=())]


def test_accuracy_with_and_without(training: Path) -> None:
    leaked = [record(n, "Q", 1.0, **shown(encoded(picture(1)))) for n in range(10)]
    clean = [record(n, "Q", float(n % 2), **shown(encoded(picture(3)))) for n in range(10, 40)]
    (found,) = find_leaks(evaluated(*leaked, *clean), training)
    assert (found.task, found.total, found.kinds, found.exact_only) == ("t", 40, {"same-image": 10}, 0)
    assert found.share is not None and found.share.value == 0.25 and found.share.low > 0.1
    values = [estimate.value for estimate in (found.whole, found.clean, found.leaked) if estimate is not None]
    assert values == [0.625, 0.5, 1.0]


@pytest.mark.parametrize("more", [{"images": ("x.png",)}, {"images": ("ab" * 16,), "perceptual": ("abcd",)}])
def test_a_hash_that_is_none(training: Path, more: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(DataError, match="record '1' has a picture's hash that is none; evaluate t again"):
        find_leaks(evaluated(record(1, "q", **more)), training)


def test_a_training_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.parquet"):
        find_leaks(evaluated(record(1, "q")), tmp_path / "nowhere.parquet")


def test_a_log_keeps_perceptual_hashes_for_judging_again() -> None:
    pytest.importorskip("inspect_ai")
    from medix_verl.evaluation.inspect.run import logged_item

    sample = Sample("q", "s", "Left?", "no", images=(ImageRef(bytes=encoded(picture(1))),))
    item = prepare(sample, None, Path())
    run = SimpleNamespace(spec=find("slake_vqa"), condition="real")
    facts = json.loads(json.dumps(facts_of(run, item)))  # type: ignore[arg-type]
    again = logged_item(SimpleNamespace(metadata=facts))
    assert [one.perceptual for one in again.pictures] == [one.perceptual for one in item.pictures] != [""]
    # A log of before has none.
    del facts["perceptual"]
    assert [one.perceptual for one in logged_item(SimpleNamespace(metadata=facts)).pictures] == [""]
