# SPDX-License-Identifier: Apache-2.0
"""Prepare a training file from a data set: convert, check and fingerprint rows; drop duplicates and leaks; write.

Stage 1 reads the set row by row into parts (see `parts`) and can be killed at any time: the next run skips the finished
parts without checking them again. Stage 2 (`finish`) depends only on the parts, so a preparation that was killed and
restarted gives the same bytes as an uninterrupted one. Memory does not grow with the pictures, only by a few hundred
bytes per row for the fingerprints.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import Any

from tqdm import tqdm

from medix_verl.data.converters.base import ANSWER_TYPES, Refused, SetSpec, resolve_options
from medix_verl.data.converters.registry import find, options_of
from medix_verl.data.duplicates.fingerprints import VERSION
from medix_verl.data.io.file_limits import is_own_file
from medix_verl.data.pictures.images import read_bytes
from medix_verl.data.pictures.metadata import strip_notes
from medix_verl.data.pictures.token_counts import Count, PixelRule, count_by_model, count_by_rule
from medix_verl.data.prepare.check_pool import Check, Outcome, outcomes
from medix_verl.data.prepare.checks import check
from medix_verl.data.prepare.finish import finish
from medix_verl.data.prepare.job import Job, check_other_splits, place_of
from medix_verl.data.prepare.parts import Parts
from medix_verl.data.source import Source
from medix_verl.errors import ConfigError, DataError
from medix_verl.runtime.bounded import own_child
from medix_verl.runtime.files import locked
from medix_verl.runtime.shared_actor import in_ray
from medix_verl.types import ImageRef, Sample

__all__ = ["prepare"]

MIN_PIXELS, MAX_PIXELS = 262_144, 4_194_304
"""data.mm_processor_kwargs of the recipe medix: the pixel limits to which its processor resizes a picture."""


def prepare(job: Job, say: Callable[[str], None], checker: Check | None = None) -> dict[str, Any]:
    """Prepare one file.

    Args:
        job: The options.
        say: Called with one-line progress messages.
        checker: Replaces the quality check; must be picklable if there are several workers.

    Returns:
        The report, as written next to the file.

    Raises:
        MedixError: The preparation failed; finished parts are kept for the next run.
    """
    converter = find(job.name)
    spec: SetSpec = converter.SPEC
    if job.split not in spec.splits:
        known = ", ".join(f"{ours} (their {theirs})" for ours, theirs in spec.splits.items())
        raise ConfigError(f"{spec.name} has no split {job.split!r}; it has {known}: give one of them as --split")
    for file in job.against:
        if not file.is_file() or file.resolve() == job.out.resolve():
            raise ConfigError(f"--decontaminate-against {file}: no such file, or --out itself; give evaluation files")
    options = resolve_options(spec.name, options_of(converter), job.options)
    source = Source(place_of(job, spec), job.revision, options)
    check_other_splits(job, source)
    busy = f"{job.out} is being prepared by another process; wait for it, or give another --out"
    # If --out is a link, parts and lock are next to the link's target, where there is enough disk space.
    real = Path(os.path.realpath(job.out)) if job.out.is_symlink() else job.out
    make_folder(job.out)
    with as_typed(job.out, real), locked(real.parent / f".{real.name}.lock", busy):
        parts = Parts(real, plan_of(job, converter, source))
        tell(parts.begin(), parts, say)
        if not parts.complete:
            fill(parts, job, converter, source, checker, say)
        for line in source.notes:
            say(line)
        report = finish(parts, job, spec, source, say)
        parts.remove()
    return report


def make_folder(out: Path) -> None:
    """Create the folder of the output file; an error names the file, as the user typed it."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise
    except OSError as cause:
        raise OSError(cause.errno, cause.strerror, str(out)) from cause


@contextmanager
def as_typed(out: Path, real: Path) -> Iterator[None]:
    """In errors about files next to a link's target, name the path that the user typed."""
    try:
        yield
    except OSError as cause:
        ours = (f"{real.parent / f'.{real.name}.parts'}", f"{real.parent / f'.{real.name}.lock'}")
        if real == out or not str(cause.filename).startswith(ours):
            raise
        raise OSError(cause.errno, cause.strerror, str(out)) from cause


def plan_of(job: Job, converter: ModuleType, source: Source) -> dict[str, Any]:
    """Everything that determines the content of the parts."""
    from medix_verl import __version__

    file = getattr(converter, "__file__", None)
    # An option may name another folder or file, whose changes also change the rows. Only options declared as places are
    # resolved: any other value may happen to equal the name of an existing folder.
    places = {key for key, option in options_of(converter).items() if option.place}
    named = {key: Path(value).expanduser() for key, value in source.options.items() if value and key in places}
    return {
        "version": __version__,
        "fingerprints": VERSION,
        "converter": job.name,
        "converter's code": hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else "",
        "source": str(Path(source.place).expanduser().resolve()) if source.local else source.place,
        "source's files": source.state(),
        "split": job.split,
        "options": dict(source.options),
        "options' files": {key: Source(path).state() for key, path in named.items() if path.exists()},
        "limit": job.limit,
        "quality": asdict(job.quality),
        "prompt tokens": [job.max_prompt_tokens, job.model, job.patch_size],
        "rows a part": job.rows_a_part,
    }


def tell(found: str, parts: Parts, say: Callable[[str], None]) -> None:
    if found == "parts":
        say(f"going on with {parts.count()} finished parts of an earlier run")
    elif found != "nothing":
        say(f"the parts of an earlier run are of {found}; starting again")


def fill(
    parts: Parts, job: Job, converter: ModuleType, source: Source, checker: Check | None, say: Callable[[str], None]
) -> None:
    """Stage 1: read the set into parts, starting with the first unfinished one."""
    number = parts.count()
    skip = number * job.rows_a_part
    test = checker or partial(check, spec=job.quality)
    published = converter.SPEC.rows.get(job.split)
    total = min(filter(None, (published, job.limit)), default=None)
    apart = own_child(job.bounded or job.workers > 1)
    with apart, tqdm(total=total, desc=f"{job.name} {job.split}", unit=" rows", delay=1.0) as bar:
        bar.update(skip)
        if job.ray is not None or in_ray():
            checked = on_cluster(job, source, skip, test)
        else:
            checked = outcomes(items_of(job, source, skip), test, job.workers, job.bounded)
        short = short_enough(counted(checked, bar), job, say)
        while (first := next(short, None)) is not None:
            parts.write(number, chain([first], islice(short, job.rows_a_part - 1)))
            number += 1
    parts.finish()


def items_of(job: Job, source: Source, skip: int) -> Iterator[Sample | Refused]:
    """The set's items after those in finished parts."""
    items = islice(find(job.name).read(source, job.split), job.limit)
    return complete_samples(islice(items, skip, None), job, str(source.root or "."))


def on_cluster(job: Job, source: Source, skip: int, check: Check) -> Iterator[Outcome]:
    """Same as `outcomes`, on a Ray cluster."""
    from medix_verl.data.prepare.cluster import Notes, Reading, cluster_outcomes, connect, machines

    if job.ray is not None:
        connect(job.ray)
    here = replace(job, place=source.place)
    reading = Reading(here, source.commit, dict(source.options), skip, os.getcwd(), machines())
    for found in cluster_outcomes(reading, check):
        if not isinstance(found, Notes):
            yield found
            continue
        for line in found.lines:
            source.note(line)


def counted(found: Iterable[Outcome], bar: tqdm[Any]) -> Iterator[Outcome]:
    for item in found:
        bar.update()
        yield item


def complete_samples(items: Iterable[Sample | Refused], job: Job, base: str) -> Iterator[Sample | Refused]:
    """Embed the pictures without metadata, so that rows depend on no folder; check the required keys of meta."""
    for item in items:
        if isinstance(item, Refused):
            yield item
            continue
        missing = [key for key in ("licence", "answer_type", "image_id") if key not in item.meta]
        if missing or item.meta["answer_type"] not in ANSWER_TYPES or item.split != job.split:
            wanted = f"licence, answer_type ({' or '.join(ANSWER_TYPES)}), image_id, and split {job.split!r}"
            raise DataError(f"row {item.id!r}: the converter {job.name} must set meta's {wanted}; fix the converter")
        try:
            yield embedded(item, base)
        except DataError as cause:
            yield Refused(item.id, "picture missing", str(cause))


def embedded(sample: Sample, base: str) -> Sample:
    """The sample with its pictures embedded and their metadata removed."""
    images = tuple(ImageRef(bytes=strip_notes(ref.bytes or bytes_of(ref, sample, base))) for ref in sample.images)
    return replace(sample, images=images)


def bytes_of(ref: ImageRef, sample: Sample, base: str) -> bytes:
    if ref.path is not None and not is_own_file(Path(base) / ref.path, Path(base)):
        raise DataError(f"row {sample.id!r}: picture {ref.path} is not a file of the set's folder; put it there")
    return read_bytes(ref, sample.id, base)[0]


def counter_of(job: Job, say: Callable[[str], None]) -> Count:
    """The function that counts a prompt's tokens; an estimate reports its patch size through `say`."""
    kwargs = {"min_pixels": MIN_PIXELS, "max_pixels": MAX_PIXELS}
    if job.model is not None:
        return count_by_model(job.model, kwargs=kwargs, say=say)
    rule = PixelRule(**kwargs) if job.patch_size is None else PixelRule(**kwargs, patch=job.patch_size)
    say(
        f"prompts are estimated with patches of {rule.patch} x {rule.patch} pixels; --model NAME counts them, "
        "--patch-size names another size (14 for Qwen2.5-VL, 16 for Qwen3-VL)"
    )
    return count_by_rule(rule)


def short_enough(found: Iterator[Outcome], job: Job, say: Callable[[str], None]) -> Iterator[Outcome]:
    """Refuse prompts that training would have to truncate or drop."""
    if job.max_prompt_tokens is None:
        yield from found
        return
    count = counter_of(job, say)
    for item in found:
        if isinstance(item.item, Refused):
            yield item
            continue
        try:
            tokens = count(item.item, item.sizes)
        except DataError as cause:
            yield Outcome(Refused(item.item.id, "prompt cannot be counted", str(cause)))
            continue
        long = f"{tokens} tokens, pictures included"
        yield item if tokens <= job.max_prompt_tokens else Outcome(Refused(item.item.id, "prompt too long", long))
