# SPDX-License-Identifier: Apache-2.0
"""Decode frames of DICOM files to PNG by the user's options; each file is first checked for patient identifiers.

A file that may not be used, or cannot be decoded, becomes a Refused without an id; the caller adds the row's id.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medix_verl.data.converters.base import Refused
from medix_verl.data.converters.pictures import KEEP_NAMES, Pictures
from medix_verl.data.dicom.decode import MAX_PIXELS, decode_frame, kind_of_failure, open_dicom
from medix_verl.data.dicom.deidentify import look_for_identity, refusal_of
from medix_verl.data.dicom.series import FrameChoice, Header, SeriesChoice, parse_frames
from medix_verl.data.dicom.window import Window, parse_window
from medix_verl.errors import ConfigError, DataError
from medix_verl.types import ImageRef

__all__ = ["ALLOW_IDENTIFIED", "Choices", "for_row", "take"]

ALLOW_IDENTIFIED = "allow-identified"
"""The option that the flag --allow-identified sets."""
ROW_PIXELS = 4 * MAX_PIXELS
"""Maximum total pixels of the pictures of one row."""


@dataclass(frozen=True, slots=True)
class Choices:
    """The user's options for DICOM files."""

    frames: FrameChoice
    window: Window
    series: SeriesChoice
    allow_identified: bool
    keep_names: bool
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
            keep_names=options[KEEP_NAMES] == "yes",
            accept_unknown=options["burnt_in_unknown"] == "accept",
        )


def for_row(values: Mapping[str, Any], choices: Choices) -> Choices:
    """Return the choices, overridden by the row's own `frames` and `window`."""
    frames = choices.frames
    if "frames" in values:
        frames = parse_frames(str(values["frames"]).strip(), frames.cap)
    window = parse_window(str(values["window"]).strip()) if "window" in values else choices.window
    return replace(choices, frames=frames, window=window)


def take(shots: Sequence[tuple[Header, int]], root: Path, choices: Choices) -> Pictures | Refused:
    """Decode frames to PNG, or return a Refused without an id."""
    refs: list[ImageRef] = []
    names: list[str] = []
    opened, dataset, pixels = "", None, 0
    for header, frame in shots:
        label = header.label(choices.keep_names)
        try:
            if dataset is None or header.name != opened:
                opened, dataset = header.name, open_dicom(root / header.name)
                refusal = refusal_of(look_for_identity(dataset), choices.allow_identified, choices.accept_unknown)
                if refusal is not None:
                    return Refused("", refusal.reason, f"{label}: {refusal.detail}")
            pixels += int(dataset.Rows) * int(dataset.Columns)
            if pixels > ROW_PIXELS:
                return Refused("", "too many pixels", f"{label}: the row has above {ROW_PIXELS} pixels")
            data = as_png(decode_frame(dataset, frame, choices.window))
        except DataError as cause:
            return Refused("", "unreadable picture", f"{label}: {cause}")
        except Exception as cause:  # noqa: BLE001 - a damaged file can raise anything; only its row is refused
            return Refused("", "unreadable picture", f"{label}: {kind_of_failure(cause)}")
        refs.append(ImageRef(bytes=data))
        names.append(name_of_frame(header, frame, data))
    return Pictures(tuple(refs), tuple(names))


def as_png(pixels: Any) -> bytes:
    """Encode RGB pixels as PNG; if all channels are equal, as grey, which is a third of the size."""
    from PIL import Image

    grey = (pixels[:, :, 0] == pixels[:, :, 1]).all() and (pixels[:, :, 0] == pixels[:, :, 2]).all()
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0].copy() if grey else pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def name_of_frame(header: Header, frame: int, data: bytes) -> str:
    """Return a frame's name: a hash of its SOP instance UID and frame number, since a UID can identify the patient."""
    content = f"{header.instance}#{frame}".encode() if header.instance else data
    return hashlib.sha256(content).hexdigest()[:16]


def cap_of(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1000:
        raise ConfigError(f"max_frames is {text!r}; accepted: a whole number from 1 to 1000")
    return int(text)
