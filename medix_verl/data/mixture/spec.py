# SPDX-License-Identifier: Apache-2.0
"""Spec of a mixture file: which parquet files, in which shares, and in which order.

    seed: 1
    rows: null             # rows per epoch; null: as many as the shares allow without repeating a row
    balance: null          # modality: within each source, the same number of rows of each modality, if available
    sources:
      - path: slake.parquet            # relative to the mixture file
        weight: 2                      # its share of an epoch's rows, relative to the other sources' weights
        cap: 4000                      # maximum rows per epoch; null: no cap
        repeat: 1                      # how often one row may occur in an epoch
        modalities: [X_RAY, TEXT]      # only these; TEXT: no picture, UNTAGGED: pictures without a tag; null: all
        data_sources: [slake]          # only these values of the column data_source; null: all
    curriculum:
      order: shuffled                  # easy_to_hard, hard_to_easy (by pass rate; with data.shuffle=false), shuffled
      band: [0.1, 0.9]                 # only rows whose pass rate is within it; null: all
      unknown: keep                    # rows without a pass rate: keep (spread evenly), drop

Unknown keys, values of a wrong type and a source that is listed twice are refused; no other file is opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from medix_verl.errors import ConfigError
from medix_verl.specs import Choice, Count, Natural, Positive, Refused, Section, Share, Text, read_mapping, spec
from medix_verl.types import MODALITIES

__all__ = ["ORDERS", "TEXT", "UNTAGGED", "CurriculumSpec", "MixtureSpec", "SourceSpec", "is_mixture", "read_mixture"]

TEXT = "TEXT"
"""Name of rows without pictures in a mixture file."""
UNTAGGED = "UNTAGGED"
"""Name of rows with pictures but without a modality."""
ORDERS = ("shuffled", "easy_to_hard", "hard_to_easy")
SUFFIXES = (".yaml", ".yml")
Tag = Annotated[str, Choice((*MODALITIES, TEXT, UNTAGGED))]
SOME = Field(min_length=1)


@spec("an item of sources", label="source {path}: {key}")
class SourceSpec(Section):
    """One parquet file of the mixture."""

    path: Text
    weight: Positive = 1.0
    cap: Count | None = None
    repeat: Count = 1
    modalities: Annotated[tuple[Tag, ...], SOME] | None = None
    data_sources: Annotated[tuple[Text, ...], SOME] | None = None

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> SourceSpec:
        """Read one item of `sources`."""
        if isinstance(mapping, Mapping) and "path" not in mapping:
            raise ConfigError(f"an item of sources has no path (its keys: {list(mapping)}); write `path: FILE.parquet`")
        return read_mapping(cls, mapping)


def check_pair(value: Any) -> Any:
    """Refuse a value that is not a pair."""
    if not isinstance(value, tuple) or len(value) != 2:
        raise Refused(value, "set it to [LOW, HIGH], both in 0..1,")
    return value


@spec("curriculum")
class CurriculumSpec(Section):
    """How the rows' pass rates are used."""

    order: Annotated[str, Choice(ORDERS)] = "shuffled"
    band: Annotated[tuple[Share, Share], BeforeValidator(check_pair)] | None = None
    unknown: Annotated[str, Choice(("keep", "drop"))] = "keep"

    def __post_init__(self) -> None:
        if self.band is not None and self.band[0] > self.band[1]:
            raise ConfigError(f"curriculum.band is {list(self.band)}; the first number must not exceed the second")

    @property
    def needs_rates(self) -> bool:
        """Whether pass rates are needed."""
        return self.order != "shuffled" or self.band is not None


@spec("the mixture", label="{key}")
class MixtureSpec(Section):
    """A whole mixture file."""

    sources: tuple[SourceSpec, ...]
    seed: Natural = 1
    rows: Count | None = None
    balance: Annotated[str, Choice(("modality",))] | None = None
    curriculum: CurriculumSpec = field(default_factory=CurriculumSpec)

    def __post_init__(self) -> None:
        """Refuse an empty list of sources and duplicate sources."""
        if not self.sources:
            raise ConfigError("sources is empty; name at least one parquet file: `- path: FILE.parquet`")
        seen: set[str] = set()
        for source in self.sources:
            if source.path in seen:
                raise ConfigError(
                    f"source {source.path} is named twice; keep one, and use its weight, cap and repeat, "
                    "or its lists of modalities and data_sources"
                )
            seen.add(source.path)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> MixtureSpec:
        """Read the content of a mixture file."""
        if not isinstance(mapping, Mapping) or not isinstance(mapping.get("sources"), Sequence):
            raise ConfigError("the file has no list called sources; write `sources:` and one `- path: FILE` a file")
        given = {key: value for key, value in mapping.items() if not (key == "curriculum" and value is None)}
        return read_mapping(cls, given)


def is_mixture(path: Any) -> bool:
    """Whether a file of `data.train_files` is a mixture file, by its suffix."""
    return str(path).lower().endswith(SUFFIXES)


def read_mixture(path: str | Path) -> MixtureSpec:
    """Read a mixture file; relative paths in it are made absolute.

    Raises:
        ConfigError: The file does not exist, is not YAML, or contains a value that is not accepted.
    """
    import yaml

    place = Path(path).expanduser().resolve()
    try:
        mapping = yaml.safe_load(place.read_text(encoding="utf-8"))
    except FileNotFoundError as cause:
        raise ConfigError(f"there is no mixture file {place}; check the path") from cause
    except (yaml.YAMLError, UnicodeDecodeError) as cause:
        raise ConfigError(f"{place} is not YAML ({' '.join(str(cause).split())}); fix that line") from cause
    try:
        spec = MixtureSpec.from_mapping(mapping)
        sources = tuple(replace(item, path=str(absolute(place.parent, item.path))) for item in spec.sources)
        # Two spellings of the same path are the same source, so duplicates are checked again on absolute paths.
        return replace(spec, sources=sources)
    except ConfigError as cause:
        raise ConfigError(f"{place}: {cause}") from cause


def absolute(folder: Path, path: str) -> Path:
    return (folder / Path(path).expanduser()).resolve()
