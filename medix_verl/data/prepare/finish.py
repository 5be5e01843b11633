# SPDX-License-Identifier: Apache-2.0
"""Second stage of a preparation: from finished parts to the parquet file, its report, the dropped rows and the card.

Which rows are dropped depends only on the parts' fingerprints, in row order, so the same parts always give the same
bytes. Pictures are stored one by one while the rows are written. Dropped rows, report and parquet file are then renamed
to their final names in this order. So when the parquet file exists, its other files do too, except the card, which is
made from the parquet file. A preparation that is killed in between keeps its parts; the same command then rewrites
everything from them.

    train.images/          the pictures, with `--images files`
    train.dropped.jsonl    one line for each row that is not in the file: id, reason, detail
    train.report.json      counts: rows read, refused, dropped and written, by reason; flags
    train.sft.parquet      with `--sft`, the rows that have a rationale (medix_verl.data.sft)
    train.parquet          the rows
    CARD.html              the dataset card, with `--card CARD.html`
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.data.converters.base import LOST_FOR_ENCODING, SetSpec
from medix_verl.data.converters.registry import find, options_of
from medix_verl.data.duplicates.collisions import Finding, find_duplicates
from medix_verl.data.duplicates.fingerprint_cache import file_marks
from medix_verl.data.duplicates.fingerprints import Fingerprint, from_record
from medix_verl.data.io.parquet import write_rows
from medix_verl.data.pictures.image_store import ImageStore
from medix_verl.data.prepare.job import Job, reported, reported_options
from medix_verl.data.prepare.parts import Parts
from medix_verl.data.sft.file import sft_path, write_sft
from medix_verl.errors import DataError
from medix_verl.runtime.files import atomic_write, write_json, write_text
from medix_verl.types import Sample

if TYPE_CHECKING:
    from medix_verl.data.source import Source

__all__ = ["finish"]

EXAMPLES = 5
"""Maximum number of example rows per reason in the report; the file of dropped rows has all."""
Dropped = tuple[str, str, str]
"""Id, reason and detail of a row that is not in the output."""


def finish(parts: Parts, job: Job, spec: SetSpec, source: Source, say: Callable[[str], None]) -> dict[str, Any]:
    """Write the output files of a preparation whose parts are complete.

    Returns:
        The report.

    Raises:
        DataError: All rows were refused or dropped.
    """
    ids, places, twice = unique_ids(parts)
    say(f"looking for duplicates among {len(places)} rows" + (f" and {len(job.against)} files" if job.against else ""))
    against = {str(path): file_marks(path, job.workers, job.bounded) for path in job.against}
    findings = find_duplicates(kept_marks(parts, places), against, job.quality)
    dropped = {
        places[found.row]: (found.id, f"duplicate: {found.kind}", collision(found)) for found in findings if found.drop
    }
    dropped.update({place: (ids[place], "id comes twice", "an earlier row has the same id") for place in twice})
    refused = [item for facts in parts.facts() for item in facts.refused]
    gone = [*refused, *(dropped[place] for place in sorted(dropped))]
    check_lost(job, gone)
    report = report_of(parts, job, spec, source, gone, findings)
    if report["rows"]["written"] == 0:
        raise DataError(f"{job.out}: no row is left of {report['rows']['read']}{most_of(gone)}; check --source")
    with atomic_write(job.out) as final:
        write_rows(kept_samples(parts, dropped, job), final, job.out, decoded=True)
        write_text(beside(job.out, ".dropped.jsonl"), (line(item) for item in gone), errors="replace")
        if job.sft is not None:
            report["sft"] = write_sft(kept_samples(parts, dropped, job), sft_path(job.out), job.sft)
        write_json(beside(job.out, ".report.json"), report, ensure_ascii=False)
    if job.sft is None and sft_path(job.out).exists():
        say(f"{sft_path(job.out)} is of an earlier preparation and may hold other rows; type --sft to write it again")
    if job.card is not None:
        from medix_verl.data.prepare.card import write_card

        write_card(job.card, job.out, report)
    return report


def check_lost(job: Job, gone: list[Dropped]) -> None:
    """Refuse to write the file if too many rows were lost because of the table's encoding.

    Raises:
        DataError: More rows were lost than `--allow-lost` permits.
    """
    lost = [item for item in gone if item[1] == LOST_FOR_ENCODING]
    if len(lost) > job.allow_lost:
        raise DataError(
            f"{job.out}: {len(lost)} rows are lost for their encoding ({lost[0][0]}: {lost[0][2]}); save the table as "
            f"UTF-8, give --set encoding=NAME, or type --allow-lost {len(lost)}"
        )


def beside(out: Path, ending: str) -> Path:
    """`train.parquet` -> `train.report.json`."""
    return out.with_name(out.stem + ending)


def unique_ids(parts: Parts) -> tuple[list[str], list[int], list[int]]:
    """Ids of the accepted rows in order; positions of first occurrences, and positions of repeated ids."""
    ids: list[str] = [name for batch in parts.marks() for name in batch.column("id").to_pylist()]
    seen: set[str] = set()
    twice = []
    for place, name in enumerate(ids):
        if name in seen:
            twice.append(place)
        seen.add(name)
    repeated = set(twice)
    return ids, [place for place in range(len(ids)) if place not in repeated], twice


def kept_marks(parts: Parts, places: list[int]) -> Iterator[tuple[str, Fingerprint]]:
    """Fingerprints of the rows at these positions."""
    wanted = iter(places)
    next_place = next(wanted, None)
    for place, record in enumerate(record for batch in parts.marks() for record in batch.to_pylist()):
        if place == next_place:
            next_place = next(wanted, None)
            yield from_record(record)


def kept_samples(parts: Parts, dropped: Mapping[int, Dropped], job: Job) -> Iterator[Sample]:
    store = ImageStore(beside(job.out, ".images")) if job.images == "files" else None
    for place, sample in enumerate(parts.samples()):
        if place in dropped:
            continue
        if store is None:
            yield sample
        else:
            yield replace(sample, images=tuple(store.put(ref.bytes) for ref in sample.images if ref.bytes))


def collision(found: Finding) -> str:
    return f"{found.kind} of {found.other_id!r} in {found.other_file or 'the same file'}"


def report_of(
    parts: Parts, job: Job, spec: SetSpec, source: Source, gone: list[Dropped], findings: list[Finding]
) -> dict[str, Any]:
    """The report; it contains no time and no machine name, so the same rows and options give the same report."""
    flags: Counter[str] = Counter()
    words: Counter[str] = Counter()
    read = accepted = 0
    for facts in parts.facts():
        flags.update(facts.flags)
        words.update(facts.unknown_words)
        read, accepted = read + facts.items, accepted + facts.samples
    refused = read - accepted
    reasons = Counter(reason for _, reason, _ in gone)
    return {
        "set": spec.name,
        "title": spec.title,
        "licence": spec.licence,
        "credentialed": spec.credentialed or any(facts.credentialed for facts in parts.facts()),
        "split": job.split,
        "source": {"place": reported(source.place), "commit": source.commit, "digest": source.digest()},
        "options": reported_options(source.options, options_of(find(job.name))),
        "images": job.images,
        "against": [path.name for path in job.against],
        "rows": {"read": read, "refused": refused, "dropped": len(gone) - refused, "written": read - len(gone)},
        "reasons": dict(reasons.most_common()),
        "flags": dict(sorted(flags.items())),
        "unknown_modality_words": dict(words.most_common()),
        "collisions": collisions(findings),
        "examples": examples(gone),
    }


def collisions(findings: list[Finding]) -> list[dict[str, Any]]:
    """Number of colliding rows by kind and file, including rows that are kept."""
    counts = Counter((found.other_file or "", found.kind, found.drop) for found in findings)
    return [
        {"file": Path(file).name or None, "kind": kind, "dropped": drop, "rows": rows}
        for (file, kind, drop), rows in sorted(counts.items())
    ]


def examples(gone: Iterable[Dropped]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for name, reason, detail in gone:
        rows = found.setdefault(reason, [])
        if len(rows) < EXAMPLES:
            rows.append({"id": name, "detail": detail})
    return found


def most_of(gone: list[Dropped]) -> str:
    """The most frequent reason, with one example row."""
    if not gone:
        return ""
    reason, rows = Counter(reason for _, reason, _ in gone).most_common(1)[0]
    name, _, detail = next(item for item in gone if item[1] == reason)
    return f", {rows} for the reason {reason!r} (row {name!r}: {detail})"


def line(item: Dropped) -> str:
    return json.dumps({"id": item[0], "reason": item[1], "detail": item[2]}, ensure_ascii=False) + "\n"
