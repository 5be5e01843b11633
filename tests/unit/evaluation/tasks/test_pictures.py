# SPDX-License-Identifier: Apache-2.0
"""Pictures under the three conditions: the same pixels have one hash, a blank has the size, nobody keeps his own."""

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from medix_verl.errors import DataError
from medix_verl.evaluation.tasks.pictures import GREY, Item, data_uri, keep_picture, prepare, show_as
from medix_verl.types import ImageRef, Sample


def encoded(shade: int, form: str = "PNG", size: tuple[int, int] = (20, 12)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (shade, 10, 20)).save(buffer, form)
    return buffer.getvalue()


def sample(name: str, *shades: int) -> Sample:
    return Sample(
        name, "set", f"What is {name}?", "a", images=tuple(ImageRef(bytes=encoded(shade)) for shade in shades)
    )


def items(*samples: Sample) -> list[Item]:
    return [prepare(one, None, Path()) for one in samples]


def pixels(uri: str) -> tuple[tuple[int, int], bytes]:
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    return image.size, image.convert("RGB").tobytes()


def test_the_hash_is_that_of_the_pixels() -> None:
    png = keep_picture(ImageRef(bytes=encoded(1)), "r", None, Path())
    tiff = keep_picture(ImageRef(bytes=encoded(1, "TIFF")), "r", None, Path())
    other = keep_picture(ImageRef(bytes=encoded(2)), "r", None, Path())
    assert png.hash == tiff.hash != other.hash
    assert (png.media, tiff.media) == ("image/png", "image/png")  # a server does not read TIFF


@pytest.mark.parametrize("notes", [b"Exif\0\0II*", b"Exif\0\0garbage, and more"])
def test_a_picture_whose_notes_cannot_be_read_is_sent_without_them(notes: bytes) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 12), (1, 2, 3)).save(buffer, "PNG", exif=notes)
    picture = keep_picture(ImageRef(bytes=buffer.getvalue()), "r", None, Path())
    assert picture.size == (20, 12) and b"eXIf" not in base64.b64decode(data_uri(picture).partition(",")[2])


def test_what_stands_for_nothing_is_white_for_every_server() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 12), (1, 2, 3)).save(buffer, "PNG", transparency=(1, 2, 3))
    picture = keep_picture(ImageRef(bytes=buffer.getvalue()), "r", None, Path())
    assert pixels(data_uri(picture)) == ((20, 12), b"\xff" * 720)


def test_a_picture_that_came_by_value_is_written_once_under_its_hash(tmp_path: Path) -> None:
    one = prepare(sample("a", 1, 1), tmp_path, Path())
    assert [path.name for path in tmp_path.iterdir()] == [f"{one.pictures[0].hash}.png"]
    assert one.sample.images[0].bytes is None
    assert base64.b64decode(data_uri(one.pictures[0]).partition(",")[2]) == encoded(1)


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one = prepare(sample("a", 1), None, Path())
    assert list(tmp_path.iterdir()) == [] and one.pictures[0].data == encoded(1)


def test_a_picture_that_cannot_be_used_is_told_by_its_row_and_place() -> None:
    broken = Sample("a", "s", "q", "b", images=(ImageRef(bytes=encoded(1)), ImageRef(bytes=b"no picture")))
    with pytest.raises(DataError, match=r"row 'a': its picture is not a readable picture .*\(picture 2 of 2\)"):
        prepare(broken, None, Path())


def test_a_file_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(encoded(3))
    picture = keep_picture(ImageRef(path="p.png"), "r", tmp_path / "kept", tmp_path)
    assert picture.path == tmp_path / "p.png" and not (tmp_path / "kept").exists()


def test_a_broken_picture_names_its_row() -> None:
    with pytest.raises(DataError, match="row 'r7'.*is not a readable picture"):
        keep_picture(ImageRef(bytes=b"nonsense"), "r7", None, Path())


def test_blank_has_the_size_and_nothing_of_the_picture() -> None:
    (shown,) = show_as(items(sample("a", 1)), "blank", 0)
    size, raw = pixels(data_uri(shown.shown[0]))
    assert size == (20, 12) and raw == bytes(GREY) * 240
    assert shown.shown[0].hash == shown.pictures[0].hash


def test_shuffled_shows_each_question_pictures_of_another_one() -> None:
    given = items(*(sample(f"q{number}", number // 2) for number in range(8)), sample("text"))
    shown = show_as(given, "shuffled", 0)
    for item in shown[:-1]:
        assert {picture.hash for picture in item.shown}.isdisjoint(picture.hash for picture in item.pictures)
    assert shown[-1].shown == ()
    assert shown == show_as(given, "shuffled", 0)
    assert [item.sample.id for item in shown] == [item.sample.id for item in given]
    assert shown != show_as(given, "shuffled", 1)


def test_the_exchange_does_not_depend_on_the_order() -> None:
    given = items(*(sample(f"q{number}", number) for number in range(6)))
    forth = {item.sample.id: item.shown for item in show_as(given, "shuffled", 3)}
    back = {item.sample.id: item.shown for item in show_as(given[::-1], "shuffled", 3)}
    assert forth == back


def test_numbers_of_pictures_stay() -> None:
    given = items(sample("a", 1), sample("b", 2), sample("c", 3, 4), sample("d", 5, 6))
    assert [len(item.shown) for item in show_as(given, "shuffled", 0)] == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("given", "condition", "message"),
    [
        ([sample("a", 1), sample("b", 1)], "shuffled", "a has no other question"),
        ([sample("a")], "blank", "without pictures"),
        ([sample("a", 1)], "grey", "accepted: real, blank, shuffled"),
    ],
)
def test_what_cannot_be_shown_is_refused(given: list[Sample], condition: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        show_as(items(*given), condition, 0)
