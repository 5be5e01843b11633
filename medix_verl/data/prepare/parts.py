# SPDX-License-Identifier: Apache-2.0
"""Folder of a preparation's finished parts, so that a killed preparation resumes where it stopped.

The folder `.train.parquet.parts`, next to `train.parquet`, contains a plan (a digest of everything that determines the
content) and, for each N rows of the set, the accepted samples, their fingerprints and the refused rows. A part counts
once its last file, the facts, exists; files are written atomically. A folder with a different plan is emptied. A lock
file prevents two preparations of the same file at the same time (medix_verl.data.prepare.prepare).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medix_verl.credentialed import is_credentialed
from medix_verl.data.converters.base import Refused
from medix_verl.data.duplicates.fingerprints import FINGERPRINT_SCHEMA, to_record
from medix_verl.data.io.parquet import read_samples, row_groups
from medix_verl.data.prepare.check_pool import Outcome
from medix_verl.data.schema import SAMPLE_SCHEMA
from medix_verl.runtime.files import atomic_write, write_json
from medix_verl.types import Sample

__all__ = ["PartFacts", "Parts", "read_json"]


@dataclass(frozen=True, slots=True)
class PartFacts:
    """Contents of one part."""

    items: int
    """Rows of the set that were read into it."""
    samples: int
    """Rows that were accepted."""
    refused: tuple[tuple[str, str, str], ...]
    """Id, reason and detail of each refused row."""
    flags: Mapping[str, int]
    """Flag -> number of accepted rows that have it."""
    credentialed: bool
    """Whether an accepted row must not leave the machine."""
    unknown_words: Mapping[str, int] = field(default_factory=dict)
    """Modality word that is not in the table -> number of accepted rows that have it; their modality is OTHER."""


class Parts:
    """The parts of one preparation."""

    def __init__(self, out: Path, plan: Mapping[str, Any]) -> None:
        """Set the paths; no file is touched before `begin`.

        Args:
            out: The final file.
            plan: Everything that determines the parts' content, as JSON values.
        """
        self.folder = out.parent / f".{out.name}.parts"
        self._gone = self.folder.with_name(f"{self.folder.name}.gone")
        text = json.dumps(plan, sort_keys=True, ensure_ascii=False)
        self._plan: dict[str, Any] = {
            "digest": hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(),
            "plan": json.loads(text),
        }

    def begin(self) -> str:
        """Prepare the folder.

        Returns:
            What was found: `nothing`, `another plan` (now deleted) or `parts`.
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
        """Names of the keys in which the plan differs from the folder's."""
        old = read_json(self.folder / "plan.json").get("plan")
        if not isinstance(old, dict):
            return "its plan cannot be read"
        new = self._plan["plan"]
        keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
        return f"changed: {', '.join(keys)}" if keys else "changed"

    def count(self) -> int:
        """Number of finished parts, counted from the first without a gap."""
        number = 0
        while (self.folder / f"part-{number:05}.json").exists():
            number += 1
        return number

    @property
    def complete(self) -> bool:
        """Whether every row of the set is in a part."""
        return read_json(self.folder / "complete.json").get("parts") == self.count()

    def finish(self) -> None:
        """Record that the set has no further rows."""
        self._put_json("complete.json", {"parts": self.count()})

    def remove(self) -> None:
        """Delete the folder."""
        # Renamed first: in a half-deleted folder, the remaining parts could be taken for all parts.
        shutil.rmtree(self._gone, ignore_errors=True)
        self.folder.rename(self._gone)
        shutil.rmtree(self._gone)

    def write(self, number: int, outcomes: Iterable[Outcome]) -> PartFacts:
        """Write one part; it counts only after this returns."""
        records: list[dict[str, Any]] = []
        refused: list[tuple[str, str, str]] = []
        flags: dict[str, int] = {}
        words: Counter[str] = Counter()
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
                if outcome.item.meta.get("modality_guess"):
                    words[str(outcome.item.meta.get("modality_word"))] += 1
                credentialed = credentialed or is_credentialed(outcome.item.data_source, outcome.item.meta)
                yield outcome.item

        stem = f"part-{number:05}"
        samples = self._put_samples(f"{stem}.parquet", accepted())
        with atomic_write(self.folder / f"{stem}.marks.parquet") as part:
            pq.write_table(pa.Table.from_pylist(records, schema=FINGERPRINT_SCHEMA), part)
        facts = PartFacts(
            items, samples, tuple(refused), dict(sorted(flags.items())), credentialed, dict(sorted(words.items()))
        )
        self._put_json(f"{stem}.json", asdict(facts))
        return facts

    def facts(self) -> Iterator[PartFacts]:
        """Facts of each part, in order."""
        for number in range(self.count()):
            read = read_json(self.folder / f"part-{number:05}.json")
            refused = tuple((name, reason, detail) for name, reason, detail in read["refused"])
            words = read.get("unknown_words", {})
            yield PartFacts(read["items"], read["samples"], refused, read["flags"], read["credentialed"], words)

    def samples(self) -> Iterator[Sample]:
        """The accepted samples, in order."""
        for number, facts in enumerate(self.facts()):
            if facts.samples:
                yield from read_samples(self.folder / f"part-{number:05}.parquet")

    def marks(self) -> Iterator[pa.RecordBatch]:
        """Fingerprints of the accepted samples (FINGERPRINT_SCHEMA), in the same order."""
        for number in range(self.count()):
            with pq.ParquetFile(self.folder / f"part-{number:05}.marks.parquet") as file:
                yield from file.iter_batches()

    def _put_samples(self, name: str, samples: Iterator[Sample]) -> int:
        count = 0
        with (
            atomic_write(self.folder / name) as part,
            # Not compressed: it is read once and deleted, and pictures are already compressed.
            pq.ParquetWriter(part, SAMPLE_SCHEMA, compression="none", use_dictionary=False) as writer,
        ):
            for group in row_groups(samples):
                writer.write_table(pa.Table.from_pylist(group, schema=SAMPLE_SCHEMA))
                count += len(group)
        return count

    def _put_json(self, name: str, value: Any) -> None:
        write_json(self.folder / name, value, indent=None, sort_keys=True, ensure_ascii=False)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if the file is missing or invalid."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
