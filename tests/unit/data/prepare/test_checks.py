# SPDX-License-Identifier: Apache-2.0
"""One row's check: the reason for each kind of broken picture, flags, fingerprints, and a strict spec."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medix_verl.data.prepare import checks
from medix_verl.data.prepare.checks import FLAGS, PICTURE_REASONS, QualitySpec, check, read_quality
from medix_verl.errors import ConfigError
from medix_verl.types import ImageRef, Sample

SPEC = QualitySpec()
PLAIN = Sample("r7", "s", "Is there an effusion in this image?", "yes")
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8))


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG whose head promises more pixels than any memory holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def shown(*data: bytes) -> Sample:
    return replace(PLAIN, images=tuple(ImageRef(bytes=one) for one in data))


def test_a_good_row_has_a_fingerprint_and_sizes() -> None:
    found = check(shown(encoded(NOISE), encoded(NOISE, "JPEG")), SPEC)
    assert (found.reason, found.detail, found.flags) == (None, "", ())
    assert found.sizes == ((50, 40), (50, 40))
    assert found.fingerprint is not None and len(set(found.fingerprint.images)) == 2
    assert check(shown(encoded(NOISE, "BMP")), SPEC).fingerprint == check(shown(encoded(NOISE)), SPEC).fingerprint


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (encoded(NOISE)[:900], "picture corrupt", "cut off or corrupt"),
        (encoded(NOISE, "JPEG")[:-400], "picture corrupt", "cut off or corrupt"),
        (b"not a picture", "picture unreadable", r"is not a readable picture \(13 bytes\)"),
        (bomb(60_000, 60_000), "picture too large", "too large"),
        (bomb(9_000, 9_000), "picture too large", "too large .9000 x 9000.; at most 64000000 pixels"),
        (b"\0" * 128 + b"DICM" + b"junk", "picture unreadable", "its picture"),
    ],
)
def test_a_broken_picture_refuses_the_row_by_its_id(data: bytes, reason: str, detail: str) -> None:
    found = check(shown(encoded(NOISE), data), SPEC)
    assert found.reason == reason and reason in dict(PICTURE_REASONS)
    assert found.fingerprint is None
    with pytest.raises(AssertionError, match=f"row 'r7': .*{detail}"):
        raise AssertionError(found.detail)


def test_the_picture_of_several_is_told_by_its_place() -> None:
    found = check(shown(encoded(NOISE), encoded(NOISE)[:900], encoded(NOISE)), SPEC)
    assert found.reason == "picture corrupt" and found.detail.endswith("; fix or drop the row (picture 2 of 3)")
    assert check(shown(encoded(NOISE)[:900]), SPEC).detail.endswith("; fix or drop the row")


def test_whatever_a_check_raises_is_the_rows_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object, named: bool) -> None:
        raise MemoryError

    monkeypatch.setattr(checks, "mark_picture", fail)
    found = check(shown(encoded(NOISE, "BMP")[:-1] + b"\7"), SPEC)
    assert found.reason == "picture unreadable"
    assert found.detail == "row 'r7': its picture cannot be checked (MemoryError)"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    row = replace(PLAIN, images=(ImageRef(path="gone.png"),))
    found = check(row, SPEC, tmp_path)
    assert found.reason == "picture missing" and "row 'r7': picture" in found.detail and "gone.png" in found.detail
    (tmp_path / "gone.png").write_bytes(encoded(NOISE)[:900])
    found = check(row, SPEC, tmp_path)
    assert found.reason == "picture corrupt" and "gone.png" in found.detail


def test_an_invalid_row_is_refused_before_its_pictures_are_read() -> None:
    found = check(replace(PLAIN, answer="  ", images=(ImageRef(path="gone.png"),)), SPEC)
    assert found.reason == "invalid row" and "row 'r7': answer is '  '" in found.detail
    assert check(replace(PLAIN, modality="XRAY"), SPEC).reason == "invalid row"


@pytest.mark.parametrize(
    ("picture", "flags"),
    [
        (Image.new("RGB", (50, 50), "black"), ("picture-blank",)),
        (NOISE.resize((27, 28)), ("picture-tiny",)),
        (NOISE.resize((28, 28)), ()),
        (NOISE.resize((601, 30)), ("picture-extreme-aspect",)),
        (NOISE.resize((30, 600)), ()),
        (Image.new("L", (1, 1)), ("picture-tiny", "picture-blank")),
    ],
)
def test_odd_pictures_are_flagged_once(picture: Image.Image, flags: tuple[str, ...]) -> None:
    data = encoded(picture)
    assert check(shown(data, data), SPEC).flags == flags
    assert set(flags) <= set(FLAGS)


def test_the_spec_decides_which_flags_refuse() -> None:
    row = replace(PLAIN, question="Which?", answer="see image")
    assert check(row, SPEC).flags == ("answer-refers-to-picture",) and check(row, SPEC).reason is None
    found = check(row, QualitySpec(refuse=("answer-refers-to-picture",)))
    assert found.reason == "answer-refers-to-picture" and found.fingerprint is None and "row 'r7'" in found.detail
    assert check(replace(row, answer="?"), SPEC).reason == "answer-empty"


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"]), st.data())
def test_no_damage_escapes(kind: str, data: st.DataObject) -> None:
    whole = bytearray(encoded(NOISE, kind))
    for _ in range(data.draw(st.integers(0, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(1, len(whole)))])
    found = check(shown(cut), SPEC)
    assert (found.reason is None) == (found.fingerprint is not None)
    assert found.reason is None or found.reason.startswith("picture ")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"min_sid": 3}, "quality has an unknown key 'min_sid'.*did you mean 'min_side'"),
        ({"min_side": 0}, "quality.min_side is 0; set it to an integer of at least 1"),
        ({"max_aspect": 0.5}, "quality.max_aspect is 0.5"),
        ({"distance": 9}, "quality.distance is 9; .*at most 8"),
        ({"detail_distance": 200}, "quality.detail_distance is 200"),
        ({"gram_share": 0}, "quality.gram_share is 0"),
        ({"refuse": ["answer-emty"]}, "quality.refuse is 'answer-emty'.*did you mean 'answer-empty'"),
        ({"drop_within": "exact"}, "quality.drop_within is 'exact'; give a list out of exact, near-exact"),
        ({"drop_between": ["same-picture"]}, "quality.drop_between is 'same-picture'"),
    ],
)
def test_a_wrong_spec_is_refused(section: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        QualitySpec.from_mapping(section)


def test_a_spec_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "q.yaml"
    path.write_text("min_side: 10\ndrop_between: [exact, exact]\n")
    assert read_quality(path) == QualitySpec(min_side=10, drop_between=("exact",))
    path.write_text("min_side: [")
    with pytest.raises(ConfigError, match=r"q\.yaml is not YAML"):
        read_quality(path)
    path.write_text("min_sides: 3")
    with pytest.raises(ConfigError, match=r"q\.yaml: quality has an unknown key 'min_sides'"):
        read_quality(path)
