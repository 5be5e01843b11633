# SPDX-License-Identifier: Apache-2.0
"""The file that `medix-verl bench` writes and `medix-verl doctor --bench` reads: a rate and its measurement settings.

Secrets are removed from the settings, because a record may be shared. A file that is not a record, or whose rate is not
a number above 0, is refused.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medix_verl.errors import ConfigError
from medix_verl.recipe.bench.measure import Measured
from medix_verl.runtime.files import write_json
from medix_verl.secrets import find_secrets, scrub

__all__ = ["KINDS", "BenchRecord", "differences", "make_record", "read_record", "read_records", "write_record"]

KINDS = ("judge", "encoder", "rollout")
FORMAT = 1
UNTIMED = {"api_key_env", "worker", "cache", "cache_size", "breaker", "breaker_failures", "weight", "threshold"}
"""Settings that do not affect the rate; differences in them are ignored."""


@dataclass(frozen=True, slots=True)
class BenchRecord:
    """One measurement."""

    kind: str
    answers_per_second: float
    answers: int
    failed: int
    seconds: float
    median_s: float
    slow_s: float
    at_once: int
    gpus: int
    """GPUs of the measured server; 0 if unknown or none."""
    settings: dict[str, Any]
    """Settings of the recipe, without secrets."""
    workload: dict[str, Any] = field(default_factory=dict)
    """Workload: lengths, and answers per prompt."""
    versions: dict[str, str | None] = field(default_factory=dict)
    file: str = ""
    """Path it was read from."""


def make_record(
    kind: str, found: Measured, at_once: int, settings: Mapping[str, Any], workload: Mapping[str, Any], gpus: int = 0
) -> BenchRecord:
    """Make the record of a measurement; settings become plain values without secrets."""
    return BenchRecord(
        kind,
        found.rate,
        found.answers,
        found.failed,
        found.seconds,
        found.median_s,
        found.slow_s,
        at_once,
        gpus,
        plain_settings(settings),
        dict(workload),
    )


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON values, without secrets."""
    secrets, _ = find_secrets(settings, os.environ)
    plain: dict[str, Any] = json.loads(json.dumps(scrub(dict(settings), secrets), default=str))
    return plain


def write_record(path: Path, record: BenchRecord) -> None:
    """Write a record atomically."""
    fields = asdict(record)
    del fields["file"]
    write_json(path, {"medix_bench": FORMAT, **fields}, indent=1)


def read_records(paths: Sequence[Path]) -> list[BenchRecord]:
    """Read several records, at most one of each kind.

    Raises:
        ConfigError: As read_record, or two records of one kind.
    """
    found: dict[str, BenchRecord] = {}
    for path in paths:
        record = read_record(path)
        if record.kind in found:
            both = f"{found[record.kind].file} and {record.file}"
            raise ConfigError(f"--bench: {both} both measured the {record.kind}; give one file for each kind")
        found[record.kind] = record
    return list(found.values())


def read_record(path: Path) -> BenchRecord:
    """Read a record.

    Raises:
        ConfigError: The file cannot be read, is not a record, or contains an invalid number.
    """
    again = "type medix-verl bench judge|encoder|rollout --out FILE to measure"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--bench {path} cannot be read ({type(error).__name__}); {again}") from error
    if not isinstance(fields, dict) or fields.pop("medix_bench", None) != FORMAT:
        raise ConfigError(f"--bench {path} is not a record of medix-verl bench (medix_bench: {FORMAT}); {again}")
    try:
        record = BenchRecord(**fields, file=str(path))
    except TypeError as error:
        raise ConfigError(f"--bench {path} has other keys than a record ({error}); {again}") from error
    if record.kind not in KINDS:
        raise ConfigError(f"--bench {path} measured {record.kind!r}; accepted: {', '.join(KINDS)}; {again}")
    for name in ("answers_per_second", "answers", "seconds"):
        value = getattr(record, name)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < math.inf:
            raise ConfigError(f"--bench {path} has {name}={value!r}; it must be a number above 0; {again}")
    for name in ("failed", "at_once", "gpus"):
        value = getattr(record, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ConfigError(f"--bench {path} has {name}={value!r}; it must be a whole number; {again}")
    if not isinstance(record.settings, dict) or not isinstance(record.workload, dict):
        raise ConfigError(f"--bench {path} has settings or workload that are not mappings; {again}")
    return record


def differences(record: BenchRecord, settings: Mapping[str, Any]) -> list[str]:
    """`key=measured, the recipe has other` for each setting in which a record and a recipe differ."""
    wanted = plain_settings(settings)
    return [
        f"{key}={record.settings.get(key)!r}, the recipe has {wanted[key]!r}"
        for key in sorted(set(wanted) - UNTIMED)
        if record.settings.get(key) != wanted[key]
    ]
