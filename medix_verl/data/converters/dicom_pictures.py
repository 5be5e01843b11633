# SPDX-License-Identifier: Apache-2.0
"""Frames of DICOM files as PNG pictures, by a user's choices; each file is looked at for its patient before it is used.

A file that may not be used, or cannot be decoded, gives a Refused without an id: the row that wants it has one.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medix_verl.data.converters.base import Refused
from medix_verl.data.converters.pictures import Pictures
from medix_verl.data.deidentify import look_for_identity, refusal_of
from medix_verl.data.dicom import MAX_PIXELS, decode_frame, open_dicom
from medix_verl.data.dicom_series import FrameChoice, Header, SeriesChoice, parse_frames
from medix_verl.data.dicom_window import Window, parse_window
from medix_verl.errors import ConfigError, DataError
from medix_verl.types import ImageRef

__all__ = ["ALLOW_IDENTIFIED", "Choices", "for_row", "take"]

ALLOW_IDENTIFIED = "allow-identified"
"""The option that the flag --allow-identified sets."""
ROW_PIXELS = 4 * MAX_PIXELS
"""The most pixels that the pictures of one row may have together."""


@dataclass(frozen=True, slots=True)
class Choices:
    """How the user wants files to be taken."""

    frames: FrameChoice
    window: Window
    series: SeriesChoice
    allow_identified: bool
    accept_unknown: bool

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Choices:
        """Read the options.

        Raises:
            ConfigError: A value is not accepted.
        """
        return cls(
            frames=parse_frames(options["frames"], cap_of(options["max_frames"])),
            window=parse_window(options["window"]),
            series=SeriesChoice(options["description"], options["modality"], options["series"]),
            allow_identified=options[ALLOW_IDENTIFIED] == "yes",
            accept_unknown=options["burnt_in_unknown"] == "accept",
        )


def for_row(values: Mapping[str, Any], choices: Choices) -> Choices:
    """The choices, with the row's own frames and window where it has any."""
    frames = choices.frames
    if "frames" in values:
        frames = parse_frames(str(values["frames"]).strip(), frames.cap)
    window = parse_window(str(values["window"]).strip()) if "window" in values else choices.window
    return replace(choices, frames=frames, window=window)


def take(shots: Sequence[tuple[Header, int]], root: Path, choices: Choices) -> Pictures | Refused:
    """Decode frames to PNG; or why not, without the row's name."""
    refs: list[ImageRef] = []
    names: list[str] = []
    opened, dataset, pixels = "", None, 0
    for header, frame in shots:
        try:
            if dataset is None or header.name != opened:
                opened, dataset = header.name, open_dicom(root / header.name)
                refusal = refusal_of(look_for_identity(dataset), choices.allow_identified, choices.accept_unknown)
                if refusal is not None:
                    return Refused("", refusal.reason, f"{header.name}: {refusal.detail}")
            pixels += int(dataset.Rows) * int(dataset.Columns)
            if pixels > ROW_PIXELS:
                return Refused("", "too many pixels", f"{header.name}: the row has above {ROW_PIXELS} pixels")
            data = as_png(decode_frame(dataset, frame, choices.window))
        except DataError as cause:
            return Refused("", "unreadable picture", f"{header.name}: {cause}")
        refs.append(ImageRef(bytes=data))
        names.append(name_of_frame(header, frame, data))
    return Pictures(tuple(refs), tuple(names))


def as_png(pixels: Any) -> bytes:
    """A picture of its pixels alone; grey ones as grey, a third of the size."""
    from PIL import Image

    grey = (pixels[:, :, 0] == pixels[:, :, 1]).all() and (pixels[:, :, 0] == pixels[:, :, 2]).all()
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0].copy() if grey else pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def name_of_frame(header: Header, frame: int, data: bytes) -> str:
    """What a frame is called: a hash of its SOP instance and number, because a UID may lead back to the patient."""
    content = f"{header.instance}#{frame}".encode() if header.instance else data
    return hashlib.sha256(content).hexdigest()[:16]


def cap_of(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1000:
        raise ConfigError(f"max_frames is {text!r}; accepted: a whole number from 1 to 1000")
    return int(text)
