# SPDX-License-Identifier: Apache-2.0
"""Read the pictures of a published row, embedded or as files next to the rows, without decoding them.

A missing picture is recorded and raises no error, so that only its row is refused. Embedded pictures have no names;
each is named by a hash of its bytes, so that equal pictures have equal names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from medix_verl.data.converters.base import Option
from medix_verl.data.io.archives import NotGiven
from medix_verl.data.source import Source
from medix_verl.errors import DataError
from medix_verl.types import ImageRef

__all__ = ["KEEP_NAMES", "KEEP_NAMES_OPTION", "NO_PICTURES", "Pictures", "by_name", "by_value"]


KEEP_NAMES = "keep-names"
"""The option that the flag --keep-names sets."""
KEEP_NAMES_OPTION = Option(
    "no", "keep names of files, which may be patients', in meta and in what is said", ("no", "yes")
)


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of a row, in order, with the data set's own names for them."""

    refs: tuple[ImageRef, ...] = ()
    names: tuple[str, ...] = ()
    missing: str = ""
    """Message about a missing picture; if set, the row is refused."""


NO_PICTURES = Pictures()


def by_value(values: Iterable[Any], column: str = "image") -> Pictures:
    """Return the encoded pictures that a row embeds.

    Args:
        values: Structs of bytes and path, bytes, or lists of them; copies of one data set differ in this.
        column: The column's name, for the messages.

    Raises:
        DataError: The column contains something else.
    """
    refs, names, missing = [], [], ""
    for value in flat(values):
        data = value.get("bytes") if isinstance(value, Mapping) else value
        if data is not None and not isinstance(data, bytes):
            raise DataError(f"column {column} holds a {type(data).__name__}; expected pictures: structs of bytes, path")
        if not data:
            missing = missing or f"column {column} is empty"
            continue
        refs.append(ImageRef(bytes=data))
        names.append(name_of(data))
    return Pictures(tuple(refs), tuple(names), missing)


def flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from value
        else:
            yield value


def by_name(source: Source, names: Iterable[str], keep_names: bool = True) -> Pictures:
    """Return the pictures of these names: files next to the rows, or in an archive there.

    Args:
        source: The data set.
        names: As `Source.member` takes them.
        keep_names: Whether file names may be written to meta and messages. A published data set's may. In a user's own
            data a folder may be named after a patient: pictures are then named by a hash of their bytes, and missing
            ones by their position in the row.
    """
    wanted, refs = tuple(names), []
    missing = "" if wanted else "the row names no picture"
    for place, name in enumerate(wanted, 1):
        try:
            data = source.member(name)
        except DataError as cause:
            nameless = cause.nameless if isinstance(cause, NotGiven) else "it cannot be read"
            missing = missing or (str(cause) if keep_names else f"picture {place} of the row: {nameless}")
            continue
        if data:
            refs.append(ImageRef(bytes=data))
        else:
            missing = missing or f"{name if keep_names else f'picture {place} of the row'} is an empty file"
    called = wanted if keep_names else tuple(name_of(ref.bytes or b"") for ref in refs)
    return Pictures(tuple(refs), called, missing)


def name_of(data: bytes) -> str:
    """Return a picture's name from its content; equal pictures have equal names."""
    return hashlib.sha256(data).hexdigest()[:16]
