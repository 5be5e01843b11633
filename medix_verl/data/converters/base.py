# SPDX-License-Identifier: Apache-2.0
"""Interface of a converter: a module with `SPEC`, `read` and, optionally, `OPTIONS`.

    SPEC: SetSpec                                    describes the data set for `medix-verl prepare --list`
    OPTIONS: Mapping[str, Option]                    optional: the options that `--set KEY=VALUE` accepts
    read(source, split) -> Iterator[Sample | Refused]

`read` yields one item per question in a fixed order and never decodes a picture. A row that cannot be used becomes a
Refused with its id; it is not skipped and raises no exception. A layout other than the published one raises DataError.
`split` is our name (train, val, test); the data set's own name for it is `SPEC.splits[split]`. `source.options["key"]`
has a value for every declared option: the user's, or else the default.

A sample's meta always contains `licence`, `answer_type` (one of ANSWER_TYPES) and `image_id` (a list of the data set's
own picture names, the clusters of the statistics). Where they apply, it also contains `patient_id`,
`credentialed: true`, and `rationale` (the published explanation of the answer; `--sft` writes it).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Protocol

from medix_verl.errors import ConfigError
from medix_verl.types import Sample

if TYPE_CHECKING:
    from medix_verl.data.source import Source

__all__ = [
    "ANSWER_TYPES",
    "LOST_FOR_ENCODING",
    "SPLITS",
    "TASKS",
    "Converter",
    "Ids",
    "Option",
    "Refused",
    "SetSpec",
    "resolve_options",
]

SPLITS = ("train", "val", "test")
TASKS = ("open", "closed", "mixed", "report", "rubric")
ANSWER_TYPES = ("open", "closed")
LOST_FOR_ENCODING = "bad encoding"
"""Reason of a row that is refused only for its encoding; a preparation then fails unless `--allow-lost` is given."""


@dataclass(frozen=True, slots=True)
class SetSpec:
    """Description of a data set, as `medix-verl prepare --list` shows it."""

    name: str
    """The name that the user types."""
    title: str
    licence: str
    task: str
    """One of TASKS."""
    pictures: bool
    about: str
    """One line."""
    splits: Mapping[str, str]
    """Our split name (one of SPLITS) -> the data set's own split name."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """Our split name -> the published number of rows, where it is known."""
    hub_id: str | None = None
    config: str | None = None
    credential: str = ""
    """The agreement that must be signed, and where; empty if none."""
    credentialed: bool = False
    """Whether the rows must not leave the machine."""
    files: str = ""
    """Further files that must be in the folder of the rows, such as `imgs.zip`."""

    def __post_init__(self) -> None:
        """Refuse a spec that `--list` or `--split` could not use."""
        if self.task not in TASKS:
            raise ConfigError(f"{self.name}: task is {self.task!r}; accepted: {', '.join(TASKS)}")
        unknown = [name for name in (*self.splits, *self.rows) if name not in SPLITS]
        if unknown or not self.splits:
            raise ConfigError(f"{self.name}: split {unknown or 'missing'}; accepted: {', '.join(SPLITS)}")


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that cannot be used."""

    id: str
    reason: str
    """Short, stable category; the report counts by it. Example: `no answer`."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Option:
    """An option that a converter accepts on the command line."""

    default: str
    about: str
    accepted: tuple[str, ...] = ()
    """The accepted values; empty if the converter parses the value itself."""
    place: bool = False
    """Whether the value is a path; a preparation restarts if the contents of that file or folder have changed."""


class Converter(Protocol):
    """Protocol of a converter's module; `OPTIONS` is optional."""

    @property
    def SPEC(self) -> SetSpec:
        """Description of the data set."""

    def read(self, source: Source, split: str) -> Iterator[Sample | Refused]:
        """One item for each question."""


class Ids:
    """Ids for the rows of a data set without ids: the data set's name and a hash of the row's content.

    A duplicate row gets the suffix `-2`, `-3`, ... in reading order, so that ids are unique and stable.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._again: dict[bytes, int] = {}
        self._seen: set[bytes] = set()

    def of(self, *parts: str | bytes | None) -> str:
        """Return the id of the next row, from its identifying parts: question, answer, picture bytes or file name."""
        digest = hashlib.sha256()
        for part in parts:
            data = b"\x00" if part is None else part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
            digest.update(len(data).to_bytes(8, "big") + data)
        key = digest.digest()[:8]
        name = f"{self._prefix}-{key.hex()}"
        if key not in self._seen:
            self._seen.add(key)
            return name
        self._again[key] = self._again.get(key, 1) + 1
        return f"{name}-{self._again[key]}"


def resolve_options(name: str, offered: Mapping[str, Option], given: Mapping[str, str]) -> dict[str, str]:
    """Return the value of every option of a converter: the given one, or the default.

    Raises:
        ConfigError: An option is unknown, or its value is not accepted.
    """
    for key, value in given.items():
        if key not in offered:
            near = get_close_matches(key, offered, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "leave it out"
            raise ConfigError(f"{name} has no option {key!r}; accepted: {', '.join(offered) or 'none'}; {hint}")
        accepted = offered[key].accepted
        if accepted and value not in accepted:
            raise ConfigError(f"{name}: option {key} is {value!r}; accepted: {', '.join(accepted)}")
    return {key: given.get(key, option.default) for key, option in offered.items()}
