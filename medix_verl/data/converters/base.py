# SPDX-License-Identifier: Apache-2.0
"""What a converter is: a module with `SPEC` and `read`, and, where it has choices, `OPTIONS`.

    SPEC: SetSpec                                    what the set is, for `medix-verl prepare --list`
    OPTIONS: Mapping[str, Option]                    optional: what `--set KEY=VALUE` may say
    read(source, split) -> Iterator[Sample | Refused]

`read` gives one item for each question, in an order that never changes, and never decodes a picture. A row that
cannot be used is a Refused with its id, never skipped and never an exception; a layout that is not the published one
is a DataError. `split` is ours (train, val, test); the source's own word for it is `SPEC.splits[split]`. An option's
value is `source.options["key"]`: every declared key is there, with its default where the user gave none.

A sample's meta always holds `licence`, `answer_type` (one of ANSWER_TYPES) and `image_id` (a list: the set's own names
of the pictures, by which statistics cluster), `patient_id` where the set has one, and `credentialed: true` where so.
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

__all__ = ["ANSWER_TYPES", "SPLITS", "TASKS", "Converter", "Ids", "Option", "Refused", "SetSpec", "resolve_options"]

SPLITS = ("train", "val", "test")
TASKS = ("open", "closed", "mixed", "report", "rubric")
ANSWER_TYPES = ("open", "closed")


@dataclass(frozen=True, slots=True)
class SetSpec:
    """What a data set is: everything that `medix-verl prepare --list` shows."""

    name: str
    """What the user types."""
    title: str
    licence: str
    task: str
    """One of TASKS."""
    pictures: bool
    about: str
    """One line."""
    splits: Mapping[str, str]
    """Ours (of SPLITS) -> the set's own name of the split."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """Ours -> the published number of rows, where it is known."""
    hub_id: str | None = None
    config: str | None = None
    credential: str = ""
    """What must be signed, and where; empty where nothing is."""
    credentialed: bool = False
    """Whether the rows must not leave the machine."""
    files: str = ""
    """What has to lie beside the rows, such as `imgs.zip`."""

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
    """A short stable kind, by which the report counts: `no answer`."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Option:
    """A choice that a converter offers on the command line."""

    default: str
    about: str
    accepted: tuple[str, ...] = ()
    """The accepted values; empty where the converter itself reads the text."""
    place: bool = False
    """Whether the value is the path of a folder or file: a preparation starts anew when what lies there has changed."""


class Converter(Protocol):
    """What a converter's module looks like; `OPTIONS` may be missing."""

    @property
    def SPEC(self) -> SetSpec:
        """What the set is."""

    def read(self, source: Source, split: str) -> Iterator[Sample | Refused]:
        """One item for each question."""


class Ids:
    """Names rows of a set that has no ids: the set's name and a hash of the row's content.

    A row that is there twice gets `-2`, in reading order, so that ids stay unique and stable.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._again: dict[bytes, int] = {}
        self._seen: set[bytes] = set()

    def of(self, *parts: str | bytes | None) -> str:
        """The id of the next row, from what makes it this row: question, answer, picture bytes or file name."""
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
    """Every option that a converter offers, as given or by default.

    Raises:
        ConfigError: An option that it does not offer, or a value that is not accepted.
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
