# SPDX-License-Identifier: Apache-2.0
"""Map the columns of a user's own table to our names, and ignore, keep or refuse the others.

Known names are matched case-insensitively (`Question`) or by `--column question=Frage`. Other columns are ignored and
listed, unless `--set meta=NAME` keeps them. A column whose name resembles a missing known one (`anwser`) is refused.
So is one that resembles `credentialed`: if it were ignored, restricted rows could leave the machine. A column that
names the row's data set (`source`, `dataset`) is checked for credentialed data even if it is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from medix_verl.credentialed import is_credentialed
from medix_verl.errors import ConfigError, DataError

__all__ = ["EXPLAINED", "ORIGINS", "Columns", "explanation", "read_renamed"]

RESERVED = frozenset({"licence", "image_id", "label", "modality_word", "modality_guess"})
ORIGINS = frozenset({"data_source", "source", "dataset", "data_set", "database", "origin"})
"""Columns (lower case) that name a row's data set; one of MIMIC is always credentialed."""
GUARD = "credentialed"
OPTIONS = "options"
OPTION_FORMS = (re.compile("([A-Z])"), re.compile("(?:option|choice|opt|op)[ _-]?([A-Za-z])", re.IGNORECASE))
CLOSE = 0.8
"""Similarity (difflib) above which a name counts as a misspelling of another."""
NEEDED = ("question", "answer")


@dataclass(slots=True)
class Columns:
    """One table's columns."""

    path: Path
    known: tuple[str, ...]
    renamed: Mapping[str, str]
    """Our name -> the table's name."""
    meta: tuple[str, ...] | None
    """Further columns to keep; None keeps all."""
    ignored: dict[str, int] = field(default_factory=dict)
    """Column -> number of records that have it."""
    lettered: Mapping[str, str] = field(default_factory=dict)
    """Letter -> column of that option, if each option has its own column (`A`, `Option B`, `opc`)."""

    def check(self, names: list[str], line: int, whole: bool) -> None:
        """Check the column names; `whole` if they are all columns of the table.

        Raises:
            DataError: A column is reserved, misspelled or missing.
        """
        kept = names if self.meta is None else [name for name in names if name in self.meta]
        ours = [name for name in kept if name in RESERVED]
        if ours:
            raise DataError(f"{self.path} line {line}: column {ours[0]!r} is written by medix-verl itself; rename it")
        theirs = {name: self.our_name(name, names) for name in names}
        free = [name for name, known in theirs.items() if known is None and name not in (self.meta or ())]
        self.lettered = {} if OPTIONS in theirs.values() else option_columns(free)
        for name in free:
            if name not in self.lettered.values():
                self.check_spelling(name, set(theirs.values()), line)
        missing = [name for name in NEEDED if whole and name not in theirs.values()]
        if missing:
            got = f"it has {', '.join(names)}"
            typed = f"--column {missing[0]}=NAME says which one it is"
            raise DataError(f"{self.path} has no column {missing[0]!r}; {got}; add it, or {typed}")
        absent = [name for name in self.renamed.values() if whole and name not in names]
        if absent:
            got = f"it has {', '.join(names)}"
            raise DataError(f"{self.path} has no column {absent[0]!r}, which --column names; {got}")

    def check_spelling(self, name: str, there: set[str | None], line: int) -> None:
        """Refuse a column that is probably a misspelled known one; `there`: the known ones that the table has."""
        low = name.strip().lower()
        guard = get_close_matches(low, [GUARD], n=1, cutoff=CLOSE) or (GUARD in low and [GUARD])
        near = guard or get_close_matches(low, [known for known in self.known if known not in there], n=1, cutoff=CLOSE)
        if near:
            raise DataError(
                f"{self.path} line {line}: unknown column {name!r}; accepted: {', '.join(self.known)}; did you mean "
                f"{near[0]!r}? Rename it, or type --column {near[0]}={name}"
                + ("" if guard else f"; --set meta={name} keeps it as it is")
            )

    def our_name(self, name: str, names: Sequence[str]) -> str | None:
        """Return our name of a table's column; None if it is not a known one."""
        for ours, theirs in self.renamed.items():
            if theirs == name:
                return ours
        if name in self.renamed:
            return None  # another column is mapped to this name
        if name in self.known:
            return name
        low = name.strip().lower()
        taken = low in names or low in self.renamed
        return low if low in self.known and not taken else None

    def renamed_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a record with our column names, without ignored columns."""
        found: dict[str, Any] = {}
        stays = False
        for name, value in values.items():
            ours = self.our_name(name, list(values))
            stays = stays or (name.strip().lower() in ORIGINS and is_credentialed(str(value), {}))
            if ours is not None:
                found[ours] = value
            elif name in self.lettered.values():
                continue
            elif self.meta is None or name in self.meta:
                found[name] = value
            else:
                self.ignored[name] = self.ignored.get(name, 0) + 1
        if self.lettered:
            found[OPTIONS] = {letter: values[name] for letter, name in self.lettered.items() if name in values}
        return {**found, GUARD: "yes"} if stays else found

    def notes(self) -> Iterator[str]:
        """Yield messages for the end of the reading."""
        if self.ignored:
            names = ", ".join(self.ignored)
            yield f"{self.path.name}: columns that are ignored: {names}; --set meta=NAME keeps one, --column renames it"


def option_columns(names: Sequence[str]) -> dict[str, str]:
    """Return letter -> column if the names are at least two consecutive letters from A in one form; else empty."""
    for form in OPTION_FORMS:
        found = {match[1].upper(): name for name in names if (match := form.fullmatch(name.strip()))}
        letters = [letter for letter in ascii_uppercase if letter in found]
        if len(letters) > 1 and letters == list(ascii_uppercase[: len(letters)]):
            return {letter: found[letter] for letter in letters}
    return {}


def read_renamed(text: str, known: Sequence[str]) -> dict[str, str]:
    """Parse `question=Frage,answer=Antwort`, or one pair per line, to a mapping.

    Raises:
        ConfigError: The syntax is wrong, our name is unknown, or a column is named twice.
    """
    found: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in text.split("\n" if "\n" in text else ","))):
        ours, sign, theirs = (part.strip() for part in item.partition("="))
        if not sign or not theirs:
            raise ConfigError(f"--column {item!r} is no OURS=THEIRS; write for example --column question=Frage")
        if ours not in known:
            near = get_close_matches(ours, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"--column {item!r}: {ours!r} is not a column of ours; accepted: {', '.join(known)}{hint}"
            )
        if ours in found or theirs in found.values():
            raise ConfigError(f"--column {item!r}: {ours} or {theirs} is named twice; name each once")
        found[ours] = theirs
    return found


EXPLAINED = ("own", "dicom")
TEXT = (
    ("question", "needed", "What is seen in the left lung?"),
    ("answer", "needed; with options the text or the letter of the right one", "a nodule"),
    ("id", "else made of the content", "case-17-a"),
    ("options", "a JSON list, or texts with | between; or columns A, B, C", "a nodule|an effusion|nothing"),
    ("modality", "a word such as CT, MRI, X-ray, Ultraschall, IRM", "chest x-ray"),
    ("split", "train, val, test; else see --split-by", "train"),
    ("answer_type", "open or closed", "closed"),
    ("patient_id", "keeps a patient's rows together in statistics and splits", "p017"),
    ("synonyms", "other right answers, a list as for options", "pulmonary nodule|coin lesion"),
    ("tolerance", "relative error of a number", "0.05"),
    ("pass_rate", "0 to 1, for a curriculum", "0.4"),
    ("rationale", "why the answer is right, for --sft", "A round opacity lies in the left upper lobe."),
    ("credentialed", "yes: the row must not leave this machine", "no"),
    ("data_source", "the set that the row is of; one of MIMIC is credentialed", "our clinic"),
)
PLACES: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "own": (
        ("image", "name of the picture, from the table's folder or --set images_from=FOLDER", "pictures/17.png"),
        ("images", "several, a list as for options, in place of image", "17-pa.png|17-lat.png"),
    ),
    "dicom": (
        ("file", "path of a DICOM file", "study1/IM0001.dcm"),
        ("files", "several, a list as for options", "IM0001.dcm|IM0002.dcm"),
        ("series", "UID of a series, in place of file", "1.2.840.113619.2.1"),
        ("study", "UID of a study, in place of file", "1.2.840.113619.2"),
        ("frames", "first, middle, all, every:N or numbers", "middle"),
        ("window", "file, file:N, CENTRE/WIDTH, full", "40/400"),
    ),
}


def explanation(name: str) -> str:
    """Return a text that lists the columns of `own` or `dicom`, each with an example, and an example table."""
    rows = [*TEXT[:2], *PLACES[name], *TEXT[2:]]
    wide, long = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
    place = PLACES[name][0]
    lines = [
        f"medix-verl prepare {name} --source TABLE reads .csv, .tsv, .jsonl and .xlsx with these columns:",
        "",
        *(f"  {column:<{wide}}  {about:<{long}}  e.g. {example}" for column, about, example in rows),
        "",
        "a whole table (CSV; encoding and delimiter are recognised):",
        "",
        f"  question,answer,{place[0]},modality,patient_id",
        f"  What is seen in the left lung?,a nodule,{place[2]},chest x-ray,p017",
        "",
        "--column question=Frage names a column; others are ignored, --set meta=NAME keeps one.",
    ]
    return "\n".join(lines)
