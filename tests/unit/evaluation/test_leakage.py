# SPDX-License-Identifier: Apache-2.0
"""Questions of an evaluation that are in a training file, found through the same fingerprints as in preparation."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medix_verl.data.fingerprints import mark_picture
from medix_verl.data.parquet import write_samples
from medix_verl.errors import DataError
from medix_verl.evaluation.leakage import PICTURE, PICTURE_AND_QUESTION, QUESTION, find_leaks, kind_of_leak, read_marks
from medix_verl.evaluation.records import Record
from medix_verl.evaluation.results import Evaluation
from medix_verl.types import ImageRef, Sample


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def name_of(seed: int) -> str:
    return mark_picture(picture(seed)).pixels.hex()


def record(number: int, question: str, value: float = 1.0, **more: object) -> Record:
    given = {"task": "t", "id": str(number), "cluster": str(number), "reference": "a mass", "response": "x"}
    return Record(**{**given, "question": question, "answer": "x", "value": value, "status": "scored", **more})  # type: ignore[arg-type]


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """Two rows with pictures 1 and 2, and one in text."""
    rows = [
        Sample("a", "s", "What is shown in the upper lobe?", "a mass", images=(ImageRef(bytes=encoded(picture(1))),)),
        Sample("b", "s", "Is there an effusion?", "no", images=(ImageRef(bytes=encoded(picture(2))),)),
        Sample("c", "s", "Which nerve runs through the carpal tunnel?", "the median nerve"),
    ]
    path = tmp_path / "train.parquet"
    write_samples(rows, path)
    return path


def test_kinds_of_leaks(training: Path) -> None:
    marks = read_marks(training)
    kinds = {
        record(1, "What is shown in the upper lobe?", images=(name_of(1),)): PICTURE_AND_QUESTION,
        record(2, "Is it on the left?", images=(name_of(3), name_of(1))): PICTURE,
        # The same words about another picture are another question.
        record(3, "Is there an effusion?", images=(name_of(3),)): None,
        record(4, "WHICH nerve  runs through the carpal tunnel"): QUESTION,
        record(5, "Which artery runs through the carpal tunnel?"): None,
        # The training row has a picture, this one has none.
        record(6, "Is there an effusion?"): None,
    }
    assert marks.rows == 3
    assert {item.id: kind_of_leak(item, marks) for item in kinds} == {item.id: kind for item, kind in kinds.items()}


def test_accuracy_with_and_without(training: Path) -> None:
    leaked = [record(n, "Q", 1.0, images=(name_of(1),)) for n in range(10)]
    clean = [record(n, "Q", float(n % 2), images=(name_of(3),)) for n in range(10, 40)]
    evaluation = Evaluation(Path(), {"model": "m"}, {("t", "real"): [*leaked, *clean]})
    (found,) = find_leaks(evaluation, read_marks(training))
    assert (found.task, found.total, found.kinds) == ("t", 40, {PICTURE: 10})
    assert found.share is not None and found.share.value == 0.25 and found.share.low > 0.1
    values = [estimate.value for estimate in (found.whole, found.clean, found.leaked) if estimate is not None]
    assert values == [0.625, 0.5, 1.0]


def test_a_hash_that_is_none(training: Path) -> None:
    with pytest.raises(DataError, match="record '1' has a picture's hash that is not hexadecimal; evaluate t again"):
        kind_of_leak(record(1, "q", images=("x.png",)), read_marks(training))


def test_a_training_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere.parquet"):
        read_marks(tmp_path / "nowhere.parquet")
