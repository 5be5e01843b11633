# SPDX-License-Identifier: Apache-2.0
"""Reads the input of `medix-verl score` line by line; errors name the line's number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from medix_verl.chat_template import read_prompt, refuse_unknown
from medix_verl.data.io import jsonl
from medix_verl.data.io.jsonl import credentialed_row_at, images_at, kind_of, number_at, read_object, text_at, texts_at
from medix_verl.errors import ConfigError, DataError
from medix_verl.rewards.reading import parse_ground_truth
from medix_verl.thinking import Thinking
from medix_verl.types import Reference

__all__ = ["Line", "count_lines", "read_lines"]

NEEDS = "response and ground_truth"


@dataclass(frozen=True, slots=True)
class Line:
    """One answer to score."""

    id: str | int
    response: str
    reference: Reference
    thinking: Thinking | None = None
    """The thinking state from the line or its prompt; None if it has neither."""


def count_lines(path: Path, check: Callable[[Reference], None] | None = None) -> int:
    """Check the whole file and count its lines.

    Args:
        path: The file.
        check: Raises for a reference that must not be scored.

    Raises:
        DataError: A line cannot be used.
    """
    count = 0
    for line in read_lines(path):
        if check is not None:
            check(line.reference)
        count += 1
    return count


def read_lines(path: Path) -> Iterator[Line]:
    """Read the lines of a file one by one; blank lines are accepted only at the end.

    Raises:
        DataError: A line cannot be used.
    """
    return jsonl.read_lines(path, partial(read_line, folder=path.absolute().parent))


def read_line(raw: bytes, number: int, folder: Path = Path()) -> Line:
    """Read one line; paths of pictures are relative to `folder`.

    Raises:
        DataError: The line cannot be used; the message does not contain its number.
    """
    record = read_object(raw)
    identity = record.get("id")
    if identity is not None and (isinstance(identity, bool) or not isinstance(identity, (str, int))):
        raise DataError(f"id is {kind_of(identity)}; accepted: a text or an integer")
    tolerance = number_at(record, "tolerance")
    response = text_at(record, "response", NEEDS)
    reference = parse_ground_truth(
        text_at(record, "ground_truth", NEEDS) or "",
        modality=text_at(record, "modality"),
        question=text_at(record, "question"),
        options=texts_at(record, "options"),
        synonyms=texts_at(record, "synonyms") or (),
        tolerance=tolerance,
        credentialed_row=credentialed_row_at(record, number),
        label=text_at(record, "label"),
        images=images_at(record, folder),
    )
    return Line(
        number if identity is None else identity,
        response or "",
        reference,
        thinking_of(text_at(record, "thinking"), text_at(record, "prompt")),
    )


def thinking_of(word: str | None, prompt: str | None) -> Thinking | None:
    """The thinking state of a line: its `thinking` field, or the end of its prompt.

    Raises:
        DataError: The field is not one of the three, or the prompt ends with an unknown mark.
    """
    if word is not None:
        if word not in [state.value for state in Thinking]:
            raise DataError(f"thinking is {word!r}; accepted: {', '.join(state.value for state in Thinking)}")
        return Thinking(word)
    if prompt is None:
        return None
    try:
        return refuse_unknown(read_prompt(prompt), "--thinking ")
    except ConfigError as error:
        raise DataError(f"prompt: {error}") from error
