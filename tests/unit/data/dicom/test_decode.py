# SPDX-License-Identifier: Apache-2.0
"""DICOM files, written here: what each kind looks like when decoded, and what is refused before it is decoded."""

from __future__ import annotations

import io
import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.misc import warn_and_log
from pydicom.uid import MPEG2MPML, DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from helpers import dicom_files as files
from medix_verl.data.dicom import decode as dicom
from medix_verl.data.dicom.decode import count_frames, decode_frame, open_dicom, read_dicom
from medix_verl.data.dicom.window import Window
from medix_verl.errors import DataError

RAMP = files.RAMP
COLOURS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5


def shown(frame: int | None = None, **tags: object) -> np.ndarray:
    return read_dicom(io.BytesIO(files.encode(files.dataset(**tags))), frame)


def test_a_ct_with_rescale_and_window() -> None:
    grey = shown(RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=500, WindowWidth=1001)[:, :, 0]
    units = RAMP * 2.0 - 1000
    assert (grey == (np.clip((units - 499.5) / 1000 + 0.5, 0, 1) * 255).round()).all()


def test_monochrome1_is_turned() -> None:
    assert (shown(PhotometricInterpretation="MONOCHROME1") == 255 - shown()).all()


def test_rgb_stays_as_it_is() -> None:
    assert (shown(pixels=COLOURS) == COLOURS).all()


def test_ybr_becomes_rgb() -> None:
    grey = np.full((4, 4, 3), (200, 128, 128), dtype=np.uint8)
    assert (shown(pixels=grey, PhotometricInterpretation="YBR_FULL") == 200).all()
    red = np.full((4, 4, 3), (76, 85, 255), dtype=np.uint8)
    pixels = shown(pixels=red, PhotometricInterpretation="YBR_FULL")
    assert pixels[0, 0, 0] > 250 and pixels[0, 0, 1:].max() < 5


def test_a_palette_gives_its_colours() -> None:
    table = np.arange(256, dtype=np.uint16) * 256
    dark = np.zeros(256, dtype=np.uint16)
    tags = {f"{name}PaletteColorLookupTableDescriptor": [256, 0, 16] for name in ("Red", "Green", "Blue")}
    data = {"Red": table, "Green": dark, "Blue": table[::-1]}
    tags |= {f"{name}PaletteColorLookupTableData": values.tobytes() for name, values in data.items()}
    index = np.arange(16, dtype=np.uint8).reshape(4, 4)
    pixels = shown(pixels=index, PhotometricInterpretation="PALETTE COLOR", **tags)
    assert (pixels[:, :, 0] == index).all() and (pixels[:, :, 1] == 0).all() and (pixels[:, :, 2] == 255 - index).all()


def test_frames_of_a_multi_frame_file() -> None:
    stack = np.stack([RAMP, RAMP.T, RAMP[::-1]])
    data = files.encode(files.dataset(stack, frames=3))
    assert count_frames(io.BytesIO(data)) == 3
    for index, frame in enumerate((RAMP, RAMP.T, RAMP[::-1])):
        assert (read_dicom(io.BytesIO(data), index)[:, :, 0] == (frame / 1500 * 255).round()).all()
    with pytest.raises(DataError, match="DICOM frame 3 is not there; the file has frames 0 to 2"):
        read_dicom(io.BytesIO(data), 3)


def test_each_frame_of_an_enhanced_file_has_its_own_window() -> None:
    file = files.dataset(np.stack([RAMP, RAMP]), frames=2)
    file.SharedFunctionalGroupsSequence = [
        files.item(PixelValueTransformationSequence=[files.item(RescaleSlope=2, RescaleIntercept=0)])
    ]
    file.PerFrameFunctionalGroupsSequence = [
        files.item(FrameVOILUTSequence=[files.item(WindowCenter=centre, WindowWidth=200)]) for centre in (200, 2800)
    ]
    first, second = decode_frame(file, 0)[:, :, 0], decode_frame(file, 1)[:, :, 0]
    assert first[0, 0] == 0 and (first[RAMP * 2 >= 300] == 255).all()
    assert (second[RAMP * 2 <= 2700] == 0).all() and second[-1, -1] == 255


def test_padding_does_not_spoil_the_range() -> None:
    padded = RAMP.copy()
    padded[0] = -30_000
    pixels = shown(pixels=padded, PixelPaddingValue=-30_000)[:, :, 0]
    assert (pixels[0] == 0).all() and len(np.unique(pixels[1:])) == 12
    assert len(np.unique(shown(pixels=padded)[1:, :, 0])) < 12
    limited = shown(pixels=padded, PixelPaddingValue=-30_000, PixelPaddingRangeLimit=-29_000)[:, :, 0]
    assert (limited == pixels).all()


def test_a_whole_window_is_the_frame_of_its_own_range() -> None:
    file = files.dataset(WindowCenter=100, WindowWidth=10)
    assert decode_frame(file, 0, Window(whole=True))[-1, -1, 0] == 255
    assert len(np.unique(decode_frame(file, 0, Window(whole=True)))) == 16


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"plain text", "no DICOM picture .not a DICOM file.; give a DICOM file that holds an image"),
        (b"", "no DICOM picture .not a DICOM file."),
        (files.encode(files.dataset())[:200], "no DICOM picture"),
        (files.encode(files.dataset(None, Modality="SR")), "no DICOM picture .no Rows and Columns."),
        (files.encode(files.dataset(None, Rows=4, Columns=4)), "DICOM pixels cannot be decoded"),
        (files.encode(files.dataset())[:-8], "DICOM pixels cannot be decoded"),
        (files.encode(files.dataset(Rows=0)), "its header says 4 x 0 pixels"),
        (files.encode(files.dataset(Rows=65535, Columns=65535)), "too large .65535 x 65535.; at most 64000000 pixels"),
        (files.encode(files.dataset(NumberOfFrames=-2)), "NumberOfFrames is not a number above 0"),
        (files.encode(files.dataset(RescaleSlope=0, RescaleIntercept=1)), "rescale slope is 0 or no finite number"),
    ],
)
def test_what_cannot_be_shown_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_dicom(io.BytesIO(data))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no DICOM picture .No such file or directory.; give a DICOM file"):
        read_dicom(tmp_path / "gone.dcm")


def test_a_file_above_the_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dicom, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="DICOM file is too large"):
        open_dicom(files.write(tmp_path / "a.dcm"))


def test_a_file_deflated_as_a_whole_is_refused_uninflated() -> None:
    file = files.dataset()
    file.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    with pytest.raises(DataError, match="DICOM file is deflated as a whole.*convert it to a plain one"):
        read_dicom(io.BytesIO(files.encode(file)))


def compressed(data: bytes, syntax: str, **tags: object) -> bytes:
    file = files.dataset(np.zeros((4, 4), dtype=np.uint8), **tags)
    file.PixelData = encapsulate([data])
    file["PixelData"].VR = "OB"
    file.file_meta.TransferSyntaxUID = syntax
    return files.encode(file)


def test_a_frame_larger_than_its_header_says_is_refused_undecoded() -> None:
    bomb = io.BytesIO()
    Image.new("L", (3000, 3000)).save(bomb, format="JPEG")
    with pytest.raises(
        DataError, match="DICOM frame 0 is 3000 x 3000 where the header says 4 x 4; the file is corrupt"
    ):
        read_dicom(io.BytesIO(compressed(bomb.getvalue(), JPEGBaseline8Bit)))
    right = io.BytesIO()
    Image.new("L", (4, 4), 90).save(right, format="JPEG")
    assert read_dicom(io.BytesIO(compressed(right.getvalue(), JPEGBaseline8Bit))).shape == (4, 4, 3)


def test_a_run_length_bomb_is_refused() -> None:
    with pytest.raises(DataError, match="DICOM frame 0 holds 2000 bytes for 16; the file is corrupt"):
        read_dicom(io.BytesIO(compressed(b"\x81\x00" * 1000, RLELossless)))


def test_no_message_and_no_warning_holds_a_value(caplog: pytest.LogCaptureFixture) -> None:
    name = "Kowalski^Anna"
    file = files.dataset(PatientName=name)
    file.add_new(0x00280010, "LO", name)  # Rows
    with warnings.catch_warnings(record=True) as seen, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        with pytest.raises(DataError, match="no DICOM picture") as raised:
            read_dicom(io.BytesIO(files.encode(file)))
    assert (
        "Kowalski" not in f"{raised.value}{raised.value.__cause__}{[str(item.message) for item in seen]}{caplog.text}"
    )
    assert logging.getLogger("pydicom").disabled is False


def test_what_pydicom_says_of_a_value_is_not_let_through(caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings(record=True) as seen, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        with dicom.quiet():
            warn_and_log("Invalid value for VR PN: 'Kowalski^Anna'")
        assert (seen, caplog.text) == ([], "")
        warn_and_log("outside it is heard")
    assert len(seen) == 1 and "outside it is heard" in caplog.text


def with_text(keyword: str, text: str, **tags: object) -> bytes:
    """A file in which a decimal number is written as some text of at most eight letters."""
    data = files.encode(files.dataset(**{"WindowCenter": 700, "WindowWidth": 400} | tags | {keyword: "12345678"}))
    assert data.count(b"12345678") == 1
    return data.replace(b"12345678", text.ljust(8).encode())


@pytest.mark.parametrize("keyword", ["WindowCenter", "WindowWidth"])
@pytest.mark.parametrize("text", ["NaN", "inf", "-inf", "abc", "-", "1,5", "1e999", "", "NaN\\40", "abc\\40"])
def test_a_window_that_is_no_number_is_none_and_the_frames_own_range_is_shown(keyword: str, text: str) -> None:
    assert (read_dicom(io.BytesIO(with_text(keyword, text))) == shown()).all()


def test_another_window_of_the_file_is_used_beside_one_that_is_no_number() -> None:
    data = with_text("WindowCenter", "700\\x", WindowWidth=[400, 400])
    assert (read_dicom(io.BytesIO(data)) == shown(WindowCenter=700, WindowWidth=400)).all()
    with pytest.raises(
        DataError, match="window file:1 is not a window: its centre or width is not a number; accepted: file"
    ):
        read_dicom(io.BytesIO(data), window=Window(index=1))


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("text", ["NaN", "inf", "abc", "1,5", "1\\2"])
def test_a_rescale_that_is_no_number_is_refused(keyword: str, text: str) -> None:
    with pytest.raises(DataError, match="rescale slope is 0 or no finite number; fix the file's RescaleSlope"):
        read_dicom(io.BytesIO(with_text(keyword, text, RescaleSlope=1, RescaleIntercept=0)))


def of_floats(values: np.ndarray, **tags: object) -> bytes:
    file = files.dataset(None, Rows=4, Columns=4, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", **tags)
    file.BitsAllocated = values.dtype.itemsize * 8
    setattr(file, "FloatPixelData" if values.dtype.itemsize == 4 else "DoubleFloatPixelData", values.tobytes())
    return files.encode(file)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("value", "shade"), [(np.nan, 0), (np.inf, 255), (-np.inf, 0)])
def test_one_pixel_that_is_no_number_does_not_blacken_a_frame(dtype: type, value: float, shade: int) -> None:
    floats = np.linspace(0, 1, 16).reshape(4, 4).astype(dtype)
    expected = (floats * 255).round()
    floats[1, 1], expected[1, 1] = value, shade
    assert (read_dicom(io.BytesIO(of_floats(floats)))[:, :, 0] == expected).all()
    windowed = read_dicom(io.BytesIO(of_floats(floats, WindowCenter=0.5, WindowWidth=0.5)))[:, :, 0]
    assert windowed[1, 1] == shade and windowed[0, 0] == 0 and windowed[3, 3] == 255


def test_floats_without_a_number_are_refused_and_their_own_padding_is_heeded() -> None:
    with pytest.raises(DataError, match="no pixel value is a finite number; leave the picture out"):
        read_dicom(io.BytesIO(of_floats(np.full((4, 4), np.nan, np.float32))))
    floats = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    padded = floats.copy()
    padded[0] = -1e30
    pixels = read_dicom(io.BytesIO(of_floats(padded, FloatPixelPaddingValue=-1e30)))[:, :, 0]
    assert len(np.unique(pixels[1:])) == 12


@pytest.mark.parametrize(
    ("dtype", "filling", "written"), [(np.int16, -2000, 63536), (np.uint16, 63536, -2000), (np.int16, -2000, -2000)]
)
def test_padding_is_heeded_whichever_sign_it_is_written_with(dtype: type, filling: int, written: int) -> None:
    padded = RAMP.astype(dtype)
    padded[0] = filling
    file = files.dataset(padded)
    file.add_new(0x00280120, "SS" if written < 0 else "US", written)
    assert len(np.unique(read_dicom(io.BytesIO(files.encode(file)))[1:, :, 0])) == 12


def test_a_window_of_width_1_is_a_step_at_its_centre() -> None:
    grey = shown(WindowCenter=700, WindowWidth=1)[:, :, 0]
    assert (grey == np.where(RAMP >= 700, 255, 0)).all()


def test_a_frame_that_its_window_makes_one_shade_is_refused() -> None:
    far = {"WindowCenter": 9000, "WindowWidth": 10}
    with pytest.raises(
        DataError, match=r"one shade of grey \(0\) although its stored values differ.*--set window=full"
    ):
        shown(**far)
    with pytest.raises(DataError, match=r"one shade of grey \(255\)"):
        shown(**far, PhotometricInterpretation="MONOCHROME1")
    dark = files.item(LUTDescriptor=[16, 5000, 16])
    dark.add_new(0x00283006, "US", [3] * 16)
    with pytest.raises(DataError, match="one shade of grey"):
        shown(VOILUTSequence=[dark])
    assert shown(pixels=np.full((4, 4), 7, np.int16), **far).max() == 0
    filled = np.full((4, 4), 7, np.int16)
    filled[0] = -2000
    assert shown(pixels=filled, PixelPaddingValue=-2000, **far).max() == 0


UNDECODED = r"DICOM pixels cannot be decoded \(.*\); "
EXTRA = r"type `pip install 'medix-verl\[dicom\]'` for further decoders \(JPEG-LS, lossless and 12-bit JPEG\), or "


@pytest.mark.parametrize("name", ["MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_gdcm.dcm", "JPGExtended.dcm"])
def test_a_compression_without_a_decoder_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = get_testdata_file(name, download=False)
    if dicom.has_more_decoders():
        assert read_dicom(path).shape[2] == 3
        return
    with pytest.raises(DataError, match=f"{UNDECODED}{EXTRA}convert the file to an uncompressed one$"):
        read_dicom(path)
    monkeypatch.setattr(dicom, "has_more_decoders", lambda: True)
    with pytest.raises(DataError, match=f"{UNDECODED}convert the file to an uncompressed one$"):
        read_dicom(path)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "SC_rgb_jpeg_dcmtk.dcm"]), st.data())
def test_no_damage_escapes(name: str, data: st.DataObject) -> None:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    whole = bytearray(Path(path).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(132, min(len(whole), 2500) - 1))] = data.draw(st.integers(0, 255))
    try:
        shown = read_dicom(io.BytesIO(bytes(whole)))
    except DataError:
        return
    assert shown.dtype == np.uint8 and shown.shape[2:] == (3,)


def test_a_file_of_two_transfer_syntaxes_is_refused() -> None:
    data = files.encode(files.dataset())
    assert data.count(b"1.2.840.10008.1.2.1\0") == 1
    with pytest.raises(DataError, match="DICOM"):
        read_dicom(io.BytesIO(data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.100\\8.1.2.1\0")))


def test_a_film_is_refused_without_a_promise() -> None:
    with pytest.raises(
        DataError, match="no decoder for MPEG2 Main Profile / Main Level is installed.; convert the file"
    ):
        read_dicom(io.BytesIO(compressed(bytes(100), MPEG2MPML)))


def test_what_pydicom_says_of_a_tag_is_not_quoted() -> None:
    file = files.dataset(PhotometricInterpretation="KOWALSKI ANNA")
    with pytest.raises(DataError, match="DICOM pixels cannot be decoded .corrupt: ") as raised:
        read_dicom(io.BytesIO(files.encode(file)))
    assert "KOWALSKI" not in str(raised.value)
