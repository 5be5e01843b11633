# SPDX-License-Identifier: Apache-2.0
"""The folder in which a preparation keeps what it has finished, so that a killed one goes on where it was.

Beside `train.parquet` lies `.train.parquet.parts` with a plan (a digest of everything that decides the content) and,
for each run of N rows of the set, the accepted samples, their fingerprints and the refused rows. A part counts once
its last file, the one with the facts, is there; each file comes into being by a rename. A folder with another plan is
emptied. A lock file keeps two preparations of one file apart (medix_verl.data.prepare).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medix_verl.data.checking import Outcome
from medix_verl.data.converters.base import Refused
from medix_verl.data.fingerprints import FINGERPRINT_SCHEMA, to_record
from medix_verl.data.parquet import read_samples, row_groups
from medix_verl.data.schema import SAMPLE_SCHEMA
from medix_verl.runtime.files import atomic_write, write_json
from medix_verl.types import Sample

__all__ = ["PartFacts", "Parts"]


@dataclass(frozen=True, slots=True)
class PartFacts:
    """What one part holds."""

    items: int
    """Rows of the set that went into it."""
    samples: int
    """Rows that were accepted."""
    refused: tuple[tuple[str, str, str], ...]
    """Id, reason and detail of each row that was not."""
    flags: Mapping[str, int]
    """Flag -> number of accepted rows that have it."""
    credentialed: bool
    """Whether an accepted row must not leave the machine."""


class Parts:
    """The parts of one preparation."""

    def __init__(self, out: Path, plan: Mapping[str, Any]) -> None:
        """Name the folder; nothing is touched before `begin`.

        Args:
            out: The final file.
            plan: Everything that decides the parts' content, as JSON can say it.
        """
        self.folder = out.parent / f".{out.name}.parts"
        self._gone = self.folder.with_name(f"{self.folder.name}.gone")
        text = json.dumps(plan, sort_keys=True, ensure_ascii=False)
        self._plan: dict[str, Any] = {
            "digest": hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(),
            "plan": json.loads(text),
        }

    def begin(self) -> str:
        """Make the folder ready.

        Returns:
            What was found there: `nothing`, `another plan` (it is gone now) or `parts`.
        """
        found = "nothing"
        if self.folder.exists():
            found = "parts" if read_json(self.folder / "plan.json").get("digest") == self._plan["digest"] else "another"
            if found == "another":
                found = f"another plan ({self._changed()})"
                self.remove()
        shutil.rmtree(self._gone, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.iterdir():
            if left.suffix == ".part":
                left.unlink()
        if found != "parts":
            self._put_json("plan.json", self._plan)
        return "parts" if found == "parts" and self.count() else "nothing" if found == "parts" else found

    def _changed(self) -> str:
        """Which keys of the plan differ from those of the folder."""
        old = read_json(self.folder / "plan.json").get("plan")
        if not isinstance(old, dict):
            return "its plan cannot be read"
        new = self._plan["plan"]
        keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
        return f"changed: {', '.join(keys)}" if keys else "changed"

    def count(self) -> int:
        """How many leading parts are finished."""
        number = 0
        while (self.folder / f"part-{number:05}.json").exists():
            number += 1
        return number

    @property
    def complete(self) -> bool:
        """Whether every row of the set is in a part."""
        return read_json(self.folder / "complete.json").get("parts") == self.count()

    def finish(self) -> None:
        """Say that there is no further row."""
        self._put_json("complete.json", {"parts": self.count()})

    def remove(self) -> None:
        """Delete the folder."""
        # Renamed first: of a folder that is half deleted, some parts would seem to be all.
        shutil.rmtree(self._gone, ignore_errors=True)
        self.folder.rename(self._gone)
        shutil.rmtree(self._gone)

    def write(self, number: int, outcomes: Iterable[Outcome]) -> PartFacts:
        """Write one part; it counts only when this returns."""
        records: list[dict[str, Any]] = []
        refused: list[tuple[str, str, str]] = []
        flags: dict[str, int] = {}
        items, credentialed = 0, False

        def accepted() -> Iterator[Sample]:
            nonlocal items, credentialed
            for outcome in outcomes:
                items += 1
                if isinstance(outcome.item, Refused):
                    refused.append((outcome.item.id, outcome.item.reason, outcome.item.detail))
                    continue
                for flag in outcome.flags:
                    flags[flag] = flags.get(flag, 0) + 1
                if outcome.fingerprint is None:
                    raise TypeError(f"row {outcome.item.id!r} is accepted but has no fingerprint")
                records.append(to_record(outcome.item.id, outcome.fingerprint))
                credentialed = credentialed or bool(outcome.item.meta.get("credentialed"))
                yield outcome.item

        stem = f"part-{number:05}"
        samples = self._put_samples(f"{stem}.parquet", accepted())
        with atomic_write(self.folder / f"{stem}.marks.parquet") as part:
            pq.write_table(pa.Table.from_pylist(records, schema=FINGERPRINT_SCHEMA), part)
        facts = PartFacts(items, samples, tuple(refused), dict(sorted(flags.items())), credentialed)
        self._put_json(f"{stem}.json", asdict(facts))
        return facts

    def facts(self) -> Iterator[PartFacts]:
        """What each part holds, in order."""
        for number in range(self.count()):
            read = read_json(self.folder / f"part-{number:05}.json")
            refused = tuple((name, reason, detail) for name, reason, detail in read["refused"])
            yield PartFacts(read["items"], read["samples"], refused, read["flags"], read["credentialed"])

    def samples(self) -> Iterator[Sample]:
        """The accepted samples, in order."""
        for number, facts in enumerate(self.facts()):
            if facts.samples:
                yield from read_samples(self.folder / f"part-{number:05}.parquet")

    def marks(self) -> Iterator[pa.RecordBatch]:
        """The accepted samples' fingerprints (FINGERPRINT_SCHEMA), in the samples' order."""
        for number in range(self.count()):
            with pq.ParquetFile(self.folder / f"part-{number:05}.marks.parquet") as file:
                yield from file.iter_batches()

    def _put_samples(self, name: str, samples: Iterator[Sample]) -> int:
        count = 0
        with (
            atomic_write(self.folder / name) as part,
            # Not compressed: it is read once and deleted, and pictures are compressed already.
            pq.ParquetWriter(part, SAMPLE_SCHEMA, compression="none", use_dictionary=False) as writer,
        ):
            for group in row_groups(samples):
                writer.write_table(pa.Table.from_pylist(group, schema=SAMPLE_SCHEMA))
                count += len(group)
        return count

    def _put_json(self, name: str, value: Any) -> None:
        write_json(self.folder / name, value, indent=None, sort_keys=True, ensure_ascii=False)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of ours; empty where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
