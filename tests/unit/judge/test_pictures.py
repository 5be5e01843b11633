# SPDX-License-Identifier: Apache-2.0
"""A judge that sees pictures: what is sent of a picture, once for each row, within bounds, and nothing in its place."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from medix_verl.errors import ConfigError, DataError
from medix_verl.judge.judge import GuardedJudge, build_judge
from medix_verl.judge.mock import MockJudge, MockSpec
from medix_verl.judge.pictures import (
    LONGEST_SIDE,
    LOSSLESS_PIXELS,
    PictureReader,
    _Budget,
    encode_picture,
    fitted,
    media_of,
    probe_picture,
    ref_of_pixels,
)
from medix_verl.judge.pool import JudgePool
from medix_verl.judge.prompt import ChatRequest, Turn, Writer, chat_body, load_prompt
from medix_verl.judge.spec import JudgeSpec
from medix_verl.openai_client import RequestError
from medix_verl.types import Failure, ImageRef, Reference

PIXELS = 1024 * 1024
SPEC = JudgeSpec(kind="openai", model="m", images=True, prompt="pictures", timeout_s=5.0, max_retries=0, cache="none")


def drawn(width: int = 40, height: int = 30, shift: int = 0) -> Image.Image:
    """A colourful picture; `shift` makes another one."""
    image = Image.new("RGB", (width, height))
    image.putdata([((x * 7 + shift) % 256, (y * 5) % 256, (x * y) % 256) for y in range(height) for x in range(width)])
    return image


def saved(image: Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def row(*images: ImageRef, **more: Any) -> Reference:
    return Reference("pneumonia", question="What is seen?", images=images, **more)


def asking(work: Callable[[MockJudge], Awaitable[Any]], **mock: Any) -> Any:
    """Run against a mock server."""

    async def main() -> Any:
        async with MockJudge(MockSpec(**mock)) as server:
            return await work(server)

    return asyncio.run(main())


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_small_picture_is_sent_without_loss_and_the_same_pixels_give_the_same_bytes() -> None:
    image = drawn()
    sent = encode_picture(ImageRef(bytes=saved(image)), "q7", PIXELS)
    assert media_of(sent) == "image/png"
    assert Image.open(io.BytesIO(sent)).convert("RGB").tobytes() == image.tobytes()
    others = [saved(image, "BMP"), saved(image, "TIFF"), saved(image, "PNG", compress_level=1)]
    assert {encode_picture(ImageRef(bytes=data), "q7", PIXELS) for data in others} == {sent}
    assert encode_picture(ref_of_pixels(image), "q7", PIXELS) == sent


def test_a_large_picture_is_scaled_down_to_the_area_as_jpeg() -> None:
    sent = encode_picture(ImageRef(bytes=saved(drawn(1000, 500))), "q7", 320_000)
    assert media_of(sent) == "image/jpeg"
    width, height = Image.open(io.BytesIO(sent)).size
    assert width * height <= 320_000 < (width + 3) * (height + 3)
    assert width / height == pytest.approx(2, abs=0.01)
    assert encode_picture(ImageRef(bytes=saved(drawn(1000, 500), "BMP")), "q7", 320_000) == sent


@pytest.mark.parametrize(
    ("size", "pixels"),
    [((64_000_000, 1), PIXELS), ((1, 64_000_000), PIXELS), ((64_000_000, 1), 64), ((8000, 8000), 64), ((1, 1), 64)],
)
def test_no_shape_is_larger_than_the_area(size: tuple[int, int], pixels: int) -> None:
    width, height = fitted(size, pixels)
    assert width >= 1 and height >= 1 and width * height <= pixels and max(width, height) <= LONGEST_SIDE


def test_a_picture_within_the_area_keeps_its_size() -> None:
    assert fitted((256, 256), LOSSLESS_PIXELS) == (256, 256)


def test_nothing_of_the_file_travels_but_its_pixels() -> None:
    """A patient's name in the EXIF block, a comment, a text chunk or a colour profile must not go to a server."""
    exif = Image.Exif()
    exif[0x010E] = "Jane Doe 1950-01-01"
    chunk = PngImagePlugin.PngInfo()
    chunk.add_text("PatientName", "Jane Doe")
    for size in ((40, 30), (400, 300)):
        image = drawn(*size)
        files = [
            saved(image, "JPEG", exif=exif, comment=b"Jane Doe", icc_profile=b"Jane Doe" * 20),
            saved(image, "PNG", exif=exif, pnginfo=chunk, icc_profile=b"Jane Doe" * 20),
            saved(image, "PNG") + b"Jane Doe behind the picture",
        ]
        for data in files:
            sent = encode_picture(ImageRef(bytes=data), "q7", PIXELS)
            assert b"Jane" not in sent and b"Exif" not in sent and b"ICC" not in sent


def test_a_camera_s_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    sent = encode_picture(ImageRef(bytes=saved(drawn(40, 30), "PNG", exif=exif)), "q7", PIXELS)
    assert Image.open(io.BytesIO(sent)).size == (30, 40)


HEADER = b"IHDR" + struct.pack(">IIBBBBB", 1_000_000, 1_000_000, 8, 2, 0, 0, 0)
BOMB = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + HEADER + struct.pack(">I", zlib.crc32(HEADER))
BOMB += struct.pack(">I", 100) + b"IDAT" + b"\x78" * 100
BROKEN = [
    pytest.param(ImageRef(bytes=b"no picture"), "is not a readable picture", id="no picture"),
    pytest.param(ImageRef(bytes=saved(drawn(200, 200), "PNG")[:500]), "cut off or corrupt", id="cut off"),
    pytest.param(ImageRef(bytes=BOMB), "too large", id="a size that would fill the memory"),
    pytest.param(ImageRef(path="/nowhere/x.png"), r"picture /nowhere/x.png cannot be read", id="no file"),
    pytest.param(ImageRef(path="http://127.0.0.1:9/x.png"), "cannot be read", id="an address is never fetched"),
    pytest.param(ImageRef(path="/dev/zero"), "is not a file", id="a device without an end"),
    pytest.param(ImageRef(path="a\0b"), "cannot be read", id="no path"),
    pytest.param(ImageRef(), "exactly one of bytes and path|cannot be read", id="neither"),
]


@pytest.mark.parametrize(("ref", "cause"), BROKEN)
def test_a_picture_that_cannot_be_read_leaves_the_answer_without_a_verdict(ref: ImageRef, cause: str) -> None:
    """And nothing is asked in its place: a verdict without the picture would look like one with it."""

    async def work(server: MockJudge) -> None:
        judge = build_judge(replace(SPEC, url=server.url))
        verdict = await judge.ask("a shadow", row(ImageRef(bytes=saved(drawn())), ref))
        assert (verdict.correct, verdict.failure) == (None, Failure.UNREADABLE)
        with pytest.raises(DataError, match=cause):
            raise DataError(verdict.reason)
        assert server.requests == 0
        stats = judge.judge.stats()  # type: ignore[attr-defined]
        assert (stats.asked, stats.unscored, stats.no_picture, stats.calls) == (1, 1, 1, 0)
        await judge.close()

    asking(work, verdict="yes")


def test_the_server_gets_the_row_s_pictures_in_order_and_by_value(tmp_path: Path) -> None:
    first, second = saved(drawn(), "JPEG"), saved(drawn(shift=9))
    (tmp_path / "second.png").write_bytes(second)
    refs = (ImageRef(bytes=first), ImageRef(path=str(tmp_path / "second.png")))

    async def work(server: MockJudge) -> None:
        judge = build_judge(replace(SPEC, url=server.url))
        assert (await judge.ask("a shadow", row(*refs))).ok
        assert server.pictures == {sha(encode_picture(ref, "q", PIXELS)): 1 for ref in refs}
        # A row of text is asked as text, and the request is byte for byte that of a judge that sees none.
        assert (await judge.ask("a shadow", row())).ok
        assert sum(server.pictures.values()) == 2
        await judge.close()

    asking(work, verdict="yes")


def test_a_request_with_pictures_is_openai_s_parts_with_the_text_last() -> None:
    writer = Writer(SPEC, "m")
    pictures = [encode_picture(ImageRef(bytes=saved(drawn(*size))), "q", PIXELS) for size in ((40, 30), (400, 300))]
    body = json.loads(writer.body("the prompt", pictures))
    parts = body["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["image_url", "image_url", "text"]
    assert parts[-1] == {"type": "text", "text": "the prompt"}
    for part, picture, media in zip(parts, pictures, ("image/png", "image/jpeg"), strict=False):
        head, data = part["image_url"]["url"].split(",")
        assert head == f"data:{media};base64" and base64.b64decode(data) == picture
    plain = json.loads(writer.body("the prompt"))
    assert plain["messages"][0]["content"] == "the prompt"
    assert {**body, "messages": None} == {**plain, "messages": None}


def test_of_more_pictures_the_first_are_shown_and_the_judge_is_told() -> None:
    refs = [ImageRef(bytes=saved(drawn(shift=shift))) for shift in range(5)]
    bodies: list[dict[str, Any]] = []

    class Noting(MockJudge):
        def reply(self, body: dict[str, Any], prompt: str) -> bytes:
            bodies.append(body)
            return super().reply(body, prompt)

    async def main() -> None:
        async with Noting(MockSpec(verdict="yes")) as server:
            judge = build_judge(replace(SPEC, url=server.url, max_images=3))
            assert (await judge.ask("a shadow", row(*refs))).ok
            await judge.close()
            assert server.pictures == {sha(encode_picture(ref, "q", PIXELS)): 1 for ref in refs[:3]}

    asyncio.run(main())
    texts = [part["text"] for part in bodies[0]["messages"][0]["content"] if part["type"] == "text"]
    assert texts[0] == "The question has 5 pictures, of which the first 3 are shown here."
    assert "What is seen?" in texts[1]


def test_both_passes_of_a_swap_show_the_picture() -> None:
    async def work(server: MockJudge) -> None:
        judge = build_judge(replace(SPEC, url=server.url, swap=True))
        assert (await judge.ask("a shadow", row(ImageRef(bytes=saved(drawn()))))).correct
        assert server.requests == 2 and list(server.pictures.values()) == [2]
        await judge.close()

    asking(work, verdict="yes")


def test_the_picture_is_part_of_the_cached_question() -> None:
    async def work(server: MockJudge) -> None:
        judge = build_judge(replace(SPEC, url=server.url, cache="memory"))
        one, other = (row(ImageRef(bytes=saved(drawn(shift=shift)))) for shift in (0, 9))
        for reference in (one, one, other, row(), row()):
            await judge.ask("a shadow", reference)
        assert server.requests == 3
        await judge.close()

    asking(work)


def test_a_judge_that_is_shown_none_asks_as_before() -> None:
    async def work(server: MockJudge) -> None:
        judge = build_judge(replace(SPEC, url=server.url, images=False))
        assert (await judge.ask("a shadow", row(ImageRef(bytes=b"no picture")))).ok
        assert not server.pictures
        await judge.close()

    asking(work, verdict="yes")


def test_a_group_s_picture_is_encoded_once_and_is_one_object() -> None:
    """Also while it is being read: the answers of a group come at the same time."""
    data = saved(drawn(400, 300))

    async def work(server: MockJudge) -> None:
        judge = build_judge(replace(SPEC, url=server.url))
        asked = (judge.ask(f"finding {number}", row(ImageRef(bytes=data))) for number in range(16))
        assert all(verdict.ok for verdict in await asyncio.gather(*asked))
        assert judge.pictures is not None and judge.pictures.encoded == 1
        assert list(server.pictures.values()) == [16]
        await judge.close()

    asking(work, verdict="yes")


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    reader = PictureReader(PIXELS)

    async def read() -> bytes:
        async with reader.read([ImageRef(path=str(path))], "q") as (picture,):
            return picture

    path.write_bytes(saved(drawn()))
    before = asyncio.run(read())
    path.write_bytes(saved(drawn(shift=9)) + b"longer")
    assert asyncio.run(read()) != before
    reader.close()


def test_what_is_kept_and_what_is_under_way_is_bounded() -> None:
    refs = [ImageRef(bytes=saved(drawn(200, 200, shift))) for shift in range(12)]
    size = max(len(encode_picture(ref, "q", PIXELS)) for ref in refs)
    reader = PictureReader(40_000, kept_bytes=3 * size, under_way_bytes=2 * 40_000)
    held, peak = 0, 0

    async def one(ref: ImageRef) -> None:
        nonlocal held, peak
        async with reader.read([ref], "q") as (picture,):
            held += len(picture)
            peak = max(peak, held)
            await asyncio.sleep(0.002)
            held -= len(picture)

    async def main() -> None:
        await asyncio.gather(*map(one, refs))

    asyncio.run(main())
    assert 0 < peak <= 2 * 40_000 + size
    assert sum(map(len, reader._kept.values())) == reader._size <= 3 * size
    reader.close()


def test_the_cancellation_of_one_waiter_is_not_the_others_business() -> None:
    reader = PictureReader(PIXELS)
    ref = ImageRef(bytes=saved(drawn(600, 600)))

    async def read() -> bytes:
        async with reader.read([ref], "q") as (picture,):
            return picture

    async def main() -> None:
        tasks = [asyncio.ensure_future(read()) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        assert len({*(await asyncio.gather(*tasks[1:]))}) == 1
        assert tasks[0].cancelled()

    asyncio.run(main())
    reader.close()


def test_room_is_given_in_order_and_comes_back_from_those_who_left() -> None:
    async def main() -> None:
        budget = _Budget(10)
        await budget.take(50)  # larger than all there is: alone
        waiting = [asyncio.ensure_future(budget.take(size)) for size in (6, 6, 4)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        budget.give(50)
        await asyncio.gather(*waiting[1:])
        assert budget.used == 10
        late = asyncio.ensure_future(budget.take(1))
        await asyncio.sleep(0)
        assert not late.done()
        budget.give(6)
        await late
        assert budget.used == 5

    asyncio.run(main())


FOREIGN, LOCAL = "http://93.184.216.34/v1", "http://127.0.0.1:9/v1"


@pytest.mark.parametrize("url", [FOREIGN, [LOCAL, FOREIGN]])
def test_a_credentialed_row_s_picture_is_not_even_read_for_a_judge_elsewhere(url: Any) -> None:
    spec = JudgeSpec.from_mapping({"kind": "openai", "model": "m", "url": url, "images": True})
    judge = build_judge(spec)
    closed = row(ImageRef(bytes=saved(drawn())), credentialed_row="row 'q7' of mimic-cxr")
    with pytest.raises(ConfigError, match="row 'q7' of mimic-cxr is credentialed"):
        asyncio.run(judge.ask("a shadow", closed))
    assert judge.pictures is not None and judge.pictures.encoded == 0


def test_the_prompt_says_that_there_are_pictures_and_keeps_the_reference_s_word() -> None:
    text = load_prompt("pictures")
    assert "pictures that come with this message, if there are any" in text and "The reference answer is right" in text
    assert JudgeSpec().prompt == "reference"


def test_a_conversation_shows_the_pictures_before_its_first_turn() -> None:
    picture = encode_picture(probe_picture(), "q", PIXELS)
    turns = (Turn("user", "first"), Turn("assistant", "reply"), Turn("user", "again"))
    messages = json.loads(chat_body(ChatRequest(turns, pictures=(picture,), left_out=1), "m", "none"))["messages"]
    assert [part["type"] for part in messages[0]["content"]] == ["image_url", "text", "text"]
    assert messages[0]["content"][-1]["text"] == "first"
    assert [message["content"] for message in messages[1:]] == ["reply", "again"]


def test_a_conversation_without_its_picture_is_not_held() -> None:
    async def work(server: MockJudge) -> None:
        judge = build_judge(replace(SPEC, url=server.url))
        request = ChatRequest((Turn("user", "q"),), images=(probe_picture(),))
        assert await judge.chat(request)
        assert sum(server.pictures.values()) == 1
        with pytest.raises(RequestError, match="is not a readable picture") as raised:
            await judge.chat(replace(request, images=(ImageRef(bytes=b"no"),)))
        assert raised.value.failure is Failure.UNREADABLE and server.requests == 1
        await judge.close()

    asking(work, verdict="yes")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"images": True}, "judge.images is true with judge.kind 'rule', which sees no picture; set judge.kind=openai"),
        ({"images": 1}, "judge.images is 1; set it to true or false"),
        ({"max_images": 0}, "judge.max_images is 0; set it to an integer of at least 1"),
        ({"image_pixels": 1}, "judge.image_pixels is 1; set it to an integer of at least 64"),
    ],
)
def test_settings_that_are_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        JudgeSpec.from_mapping(section)


def test_a_server_of_texts_refuses_and_the_answer_has_no_verdict() -> None:
    async def work(server: MockJudge) -> None:
        judge = GuardedJudge(JudgePool(replace(SPEC, url=server.url)), replace(SPEC, url=server.url))
        verdict = await judge.ask("a shadow", row(probe_picture()))
        assert (verdict.correct, verdict.failure) == (None, Failure.REFUSED)
        assert "takes no image_url" in verdict.reason
        assert (await judge.ask("a shadow", row())).ok
        await judge.close()

    asking(work, verdict="yes", pictures="refuse")
