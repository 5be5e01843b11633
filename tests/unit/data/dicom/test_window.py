# SPDX-License-Identifier: Apache-2.0
"""Windows: how one is asked for, and which values it makes black and white."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import dicom_files as files
from medix_verl.data.dicom.decode import decode_frame
from medix_verl.data.dicom.window import Window, finite, parse_window, spread, through
from medix_verl.errors import ConfigError, DataError

RAMP = files.RAMP


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("file", Window()),
        ("full", Window(whole=True)),
        ("file:2", Window(index=2)),
        ("40/400", Window(centre=40, width=400)),
        ("-600/1500.5", Window(centre=-600, width=1500.5)),
    ],
)
def test_a_window_is_read(text: str, window: Window) -> None:
    assert parse_window(text) == window


@pytest.mark.parametrize("text", ["", "lung", "40", "40/", "40/0", "40/-3", "file:", "file:-1", "file:x", "nan/1"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="window is .*; accepted: file, file:N .*CENTRE/WIDTH such as 40/400, full"):
        parse_window(text)


def grey(window: str, **tags: object) -> np.ndarray:
    return decode_frame(files.dataset(**tags), 0, parse_window(window))[:, :, 0].astype(int)


def test_the_windows_of_a_file_are_counted_from_0() -> None:
    two = {"WindowCenter": [300, 900], "WindowWidth": [200, 50]}
    assert (grey("file", **two) == grey("300/200")).all()
    assert (grey("file:1", **two) == grey("900/50")).all()
    with pytest.raises(DataError, match="window file:2 is not there: the file has windows 0 to 1; accepted"):
        grey("file:2", **two)
    with pytest.raises(DataError, match="window file:1 is not there: the file has no windows"):
        grey("file:1")


def test_a_window_of_ones_own_is_in_units_after_the_rescale() -> None:
    assert (grey("500/1001", RescaleSlope=2, RescaleIntercept=-1000) == grey("750/501")).sum() >= 8
    clear = grey("500/1000", RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=0, WindowWidth=1)
    assert clear[1, 1] == 0 and clear[2, 2] == 255


def table(entries: list[int], first: int = 0, bits: int = 16) -> object:
    made = files.item(LUTDescriptor=[len(entries), first, bits])
    made.add_new(0x00283006, "US", entries)
    return made


def test_a_voi_table_maps_values_to_its_own_white() -> None:
    steps = table([0] * 800 + [1000] * 701)
    assert set(np.unique(grey("file", VOILUTSequence=[steps]))) == {0, 255}
    assert (grey("file", VOILUTSequence=[steps]) == np.where(RAMP >= 800, 255, 0)).all()


def test_an_8_bit_table_is_not_counted_modulo_256() -> None:
    rising = table([min(255, value // 6) for value in range(1501)], bits=8)
    assert (np.diff(grey("file", VOILUTSequence=[rising]).ravel()) > 0).all()


def test_the_tables_of_a_file_are_counted_and_a_short_one_is_refused() -> None:
    rising, falling = table(list(range(1501))), table(list(range(1501))[::-1])
    assert (grey("file:1", VOILUTSequence=[rising, falling]) == grey("file", VOILUTSequence=[falling])).all()
    assert grey("file:1", VOILUTSequence=[rising, falling])[0, 0] == 255
    with pytest.raises(DataError, match="window file:2 is not there: the file has VOI tables 0 to 1"):
        grey("file:2", VOILUTSequence=[rising, falling])
    short = files.item(LUTDescriptor=[100, 0, 16])
    short.add_new(0x00283006, "US", [1, 2, 3])
    with pytest.raises(DataError, match="the VOI table has 3 of 100 entries; fix the file or set window to full"):
        grey("file", VOILUTSequence=[short])


def test_a_table_of_words_is_read_in_the_order_of_its_file() -> None:
    entries = np.arange(1501, dtype="<u2")
    made = files.item(LUTDescriptor=[1501, 0, 16])
    made.add_new(0x00283006, "OW", entries.tobytes())
    assert (grey("file", VOILUTSequence=[made]) == (RAMP / 1500 * 255).round()).all()


@given(
    st.floats(-1e4, 1e4), st.floats(0.1, 1e4), st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"])
)  # fmt: skip
def test_every_window_rises_and_stays_in_range(centre: float, width: float, function: str) -> None:
    values = np.linspace(-2e4, 2e4, 101)
    shown = through(values, centre, width, function).astype(int)
    assert (np.diff(shown) >= 0).all() and shown.min() >= 0 and shown.max() <= 255


def test_a_flat_frame_is_black() -> None:
    assert spread(np.full((2, 2), 7.0)).max() == 0
    assert spread(np.full((2, 2), 7.0), np.ones((2, 2), dtype=bool)).max() == 0


@pytest.mark.parametrize(
    ("low", "high", "why"),
    [
        (-1.7e308, 1.7e308, "the range is above what float64 holds"),
        (0.0, 1e-310, "its inverse is"),
        (-3.4e38, 3.4e38, "float32 without data"),
    ],
)
def test_a_range_near_the_ends_of_float64_is_spread(low: float, high: float, why: str) -> None:
    values = np.array([[low, low / 2 + high / 2, high]])
    assert spread(values).tolist() == [[0, 128, 255]], why


def test_what_is_no_number_goes_to_the_ends_of_what_is() -> None:
    assert finite(np.array([np.nan, 1.0, 2.0, np.inf, -np.inf])).tolist() == [1.0, 1.0, 2.0, 2.0, 1.0]
    with pytest.raises(DataError, match="no pixel value is a finite number; leave the picture out"):
        finite(np.array([np.nan, np.inf]))
