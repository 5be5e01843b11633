# SPDX-License-Identifier: Apache-2.0
"""From a data set to a training file: convert, check, fingerprint; then drop duplicates and leaks, and write.

Stage 1 reads the set row by row into parts (see `parts`) and can be killed at any moment: the next run reads past the
finished parts without checking them again. Stage 2 (`finish`) works on the parts alone and depends on nothing else, so
that a preparation that was killed and started again gives the same bytes as an undisturbed one. Memory does not grow
with the pictures, only by some hundred bytes a row for the fingerprints.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import Any

from tqdm import tqdm

from medix_verl.data.checking import Check, Outcome, outcomes
from medix_verl.data.checks import check
from medix_verl.data.converters.base import ANSWER_TYPES, Refused, SetSpec, resolve_options
from medix_verl.data.converters.registry import find, options_of
from medix_verl.data.finish import finish
from medix_verl.data.images import read_bytes
from medix_verl.data.job import Job, place_of
from medix_verl.data.lengths import Count, PixelRule, count_by_model, count_by_rule
from medix_verl.data.parts import Parts
from medix_verl.data.source import Source
from medix_verl.errors import ConfigError, DataError
from medix_verl.runtime.files import locked
from medix_verl.types import ImageRef, Sample

__all__ = ["prepare"]

MIN_PIXELS, MAX_PIXELS = 262_144, 4_194_304
"""Of data.mm_processor_kwargs in the recipe medix: what its processor makes of a picture."""


def prepare(job: Job, say: Callable[[str], None], checker: Check | None = None) -> dict[str, Any]:
    """Prepare one file.

    Args:
        job: What to do.
        say: Told in one line what was found and done.
        checker: Stands for the quality check; picklable where there are several workers.

    Returns:
        The report, as it was written beside the file.

    Raises:
        MedixError: It cannot be done; what is finished is kept for the next run.
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
    job.out.parent.mkdir(parents=True, exist_ok=True)
    busy = f"{job.out} is being prepared by another process; wait for it, or give another --out"
    with locked(job.out.parent / f".{job.out.name}.lock", busy):
        parts = Parts(job.out, plan_of(job, converter, source))
        tell(parts.begin(), parts, say)
        if not parts.complete:
            fill(parts, job, converter, source, checker, say)
        report = finish(parts, job, spec, source, say)
        parts.remove()
    return report


def plan_of(job: Job, converter: ModuleType, source: Source) -> dict[str, Any]:
    """Everything that decides what the parts hold."""
    from medix_verl import __version__

    file = getattr(converter, "__file__", None)
    # An option may name a further folder or file; a change of that is a change of the rows too. Only those that say so
    # are looked for: any other value may happen to be the name of a folder that lies here.
    places = {key for key, option in options_of(converter).items() if option.place}
    named = {key: Path(value).expanduser() for key, value in source.options.items() if value and key in places}
    return {
        "version": __version__,
        "converter": job.name,
        "converter's code": hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else "",
        "source": str(Path(source.place).expanduser().resolve()) if source.local else source.place,
        "source's files": source.digest(),
        "split": job.split,
        "options": dict(source.options),
        "options' files": {key: Source(path).digest() for key, path in named.items() if path.exists()},
        "limit": job.limit,
        "quality": asdict(job.quality),
        "prompt tokens": [job.max_prompt_tokens, job.model, job.patch_size],
        "rows a part": job.rows_a_part,
    }


def tell(found: str, parts: Parts, say: Callable[[str], None]) -> None:
    if found == "parts":
        say(f"going on with {parts.count()} finished parts of an earlier run")
    elif found != "nothing":
        say(f"the parts of an earlier run are of {found}; starting anew")


def fill(
    parts: Parts, job: Job, converter: ModuleType, source: Source, checker: Check | None, say: Callable[[str], None]
) -> None:
    """Stage 1: read the set into parts, from the first that is not finished."""
    base = str(source.root or ".")
    items = islice(converter.read(source, job.split), job.limit)
    number = parts.count()
    published = converter.SPEC.rows.get(job.split)
    total = min(filter(None, (published, job.limit)), default=None)
    with tqdm(total=total, desc=f"{job.name} {job.split}", unit=" rows", delay=1.0) as bar:
        for _ in islice(items, number * job.rows_a_part):
            bar.update()
        whole = complete_samples(items, job, base)
        checked = outcomes(whole, checker or partial(check, spec=job.quality), job.workers)
        short = short_enough(counted(checked, bar), job, say)
        while (first := next(short, None)) is not None:
            parts.write(number, chain([first], islice(short, job.rows_a_part - 1)))
            number += 1
    parts.finish()


def counted(found: Iterable[Outcome], bar: tqdm[Any]) -> Iterator[Outcome]:
    for item in found:
        bar.update()
        yield item


def complete_samples(items: Iterable[Sample | Refused], job: Job, base: str) -> Iterator[Sample | Refused]:
    """Pictures by value, so that a row depends on no folder; and what every sample's meta must hold."""
    for item in items:
        if isinstance(item, Refused):
            yield item
            continue
        missing = [key for key in ("licence", "answer_type", "image_id") if key not in item.meta]
        if missing or item.meta["answer_type"] not in ANSWER_TYPES or item.split != job.split:
            wanted = f"licence, answer_type ({' or '.join(ANSWER_TYPES)}), image_id, and split {job.split!r}"
            raise DataError(f"row {item.id!r}: the converter {job.name} must set meta's {wanted}; mend the converter")
        try:
            yield embedded(item, base)
        except DataError as cause:
            yield Refused(item.id, "picture missing", str(cause))


def embedded(sample: Sample, base: str) -> Sample:
    if all(ref.bytes for ref in sample.images):
        return sample
    images = tuple(ref if ref.bytes else ImageRef(bytes=read_bytes(ref, sample.id, base)[0]) for ref in sample.images)
    return replace(sample, images=images)


def counter_of(job: Job, say: Callable[[str], None]) -> Count:
    """What counts a prompt's tokens, and a line that says by which patches."""
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
    """Refuse the prompts that training would have to cut or drop."""
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
