# SPDX-License-Identifier: Apache-2.0
"""The pictures of a published row: by value, or files beside the rows; never decoded here.

A picture that is not there is noted and not an error, so that its row alone is refused. A set that embeds its pictures
has no names of them; they are called by a hash of their bytes, which is the same wherever the same picture stands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medix_verl.errors import DataError
from medix_verl.types import ImageRef

if TYPE_CHECKING:
    from medix_verl.data.source import Source

__all__ = ["NO_PICTURES", "Pictures", "by_name", "by_value"]


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of a row, in order, with the set's own names of them."""

    refs: tuple[ImageRef, ...] = ()
    names: tuple[str, ...] = ()
    missing: str = ""
    """What is said of a picture that is not there; the row is then refused."""


NO_PICTURES = Pictures()


def by_value(values: Iterable[Any], column: str = "image") -> Pictures:
    """The pictures that a row carries itself, encoded.

    Args:
        values: Structs of bytes and path, or bytes.
        column: Where they stand, for the messages.

    Raises:
        DataError: The column holds something else.
    """
    refs, names, missing = [], [], ""
    for value in values:
        data = value.get("bytes") if isinstance(value, Mapping) else value
        if data is not None and not isinstance(data, bytes):
            raise DataError(f"column {column} holds a {type(data).__name__}; expected pictures: structs of bytes, path")
        if not data:
            missing = missing or f"column {column} is empty"
            continue
        refs.append(ImageRef(bytes=data))
        names.append(hashlib.sha256(data).hexdigest()[:16])
    return Pictures(tuple(refs), tuple(names), missing)


def by_name(source: Source, names: Iterable[str]) -> Pictures:
    """The pictures of these names: files beside the rows, or in an archive there.

    Args:
        source: The set.
        names: As `Source.member` takes them.
    """
    wanted, refs = tuple(names), []
    missing = "" if wanted else "the row names no picture"
    for name in wanted:
        try:
            data = source.member(name)
        except DataError as cause:
            missing = missing or str(cause)
            continue
        if data:
            refs.append(ImageRef(bytes=data))
        else:
            missing = missing or f"{name} is an empty file"
    return Pictures(tuple(refs), wanted, missing)
