# SPDX-License-Identifier: Apache-2.0
"""The doctor's check of credentialed rows: whether the data files contain rows that the judge must not see.

Training stops at the first such row (medix_verl.judge.judge.GuardedJudge); this check reports it before the start.
Files are read only if the judge is not local. Missing files and files in buckets are not checked, and are listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medix_verl.credentialed import foreign_endpoint, is_credentialed
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError, MedixError
from medix_verl.judge.judge import endpoints_of
from medix_verl.judge.spec import JudgeSpec
from medix_verl.recipe.check import Check

__all__ = ["check_credentialed"]

NAME = "credentialed rows"
ALLOWED = "reward.medix.judge.allow_credentialed=true"


def check_credentialed(
    judge: Mapping[str, Any], semantic: Mapping[str, Any], files: Sequence[str], recipe: str
) -> Check:
    """Whether the judge and the encoder may see every row of the recipe's data files.

    Args:
        judge: `reward.medix.judge` of the recipe.
        semantic: `reward.medix.semantic` of the recipe.
        files: `data.train_files` and `data.val_files`: parquet files, or a mixture file.
        recipe: Recipe name, for the message.
    """
    try:
        spec = JudgeSpec.from_mapping(judge)
        if any(one.kind == "openai" and not one.urls for one in spec.members or (spec,)):
            return Check(NAME, "FAIL", f"the judge has no address ({recipe})", "reward.medix.judge.url=URL")
        asked = () if spec.kind == "verl" and not spec.panel else endpoints_of(spec)
        encoder = SemanticSpec.from_mapping(semantic)
        who, foreign = "judge", foreign_endpoint(asked, spec.local_networks)
        if foreign is None and encoder.enable and encoder.kind == "openai":
            who, foreign = "encoder", foreign_endpoint(encoder.urls, spec.local_networks)
        if foreign is None:
            return Check(NAME, "ok", f"the judge is local and may see them ({recipe})")
        where = f"the {who} at {foreign[0]} is not local ({foreign[1]})"
        found, unseen = first_row(files)
    except ConfigError as error:
        return Check(NAME, "FAIL", f"{error} ({recipe})", "fix the setting that is named here")
    except MedixError as error:
        return Check(NAME, "FAIL", str(error), "medix-verl check FILE.parquet, or fix what is named here")
    if found is None:
        other = f"; not looked into: {', '.join(unseen)}" if unseen else ""
        return Check(NAME, "ok", f"none found, and {where}{other}")
    if spec.allow_credentialed:
        return Check(NAME, "warn", f"{found}, and {where}; {ALLOWED} sends it there")
    other = "reward.medix.judge.kind=verl" if who == "judge" else "reward.medix.semantic.kind=sentence_transformers"
    todo = f"{other}, a judge on 127.0.0.1, local_networks=[CIDR], or {ALLOWED}"
    return Check(NAME, "FAIL", f"{found}, and {where}: the run would stop there", todo)


def first_row(files: Sequence[str]) -> tuple[str | None, list[str]]:
    """A description of the first credentialed row (None without one), and the files that could not be checked.

    Raises:
        MedixError: A file is neither a sample file nor a mixture file.
    """
    unseen = []
    for path, sources in parquet_files(files):
        if "://" in path or not Path(path).exists():
            unseen.append(path)
        elif (row := next(credentialed_rows(path, sources), None)) is not None:
            return f"row {row['id']!r} of {row['data_source']} in {path} is credentialed", unseen
    return None, unseen


def parquet_files(files: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    """Each parquet file, also those of mixtures, with the data sources used from it (None: all)."""
    from medix_verl.data.mixture.spec import is_mixture, read_mixture

    for name in files:
        path = name if "://" in name else str(Path(name).expanduser())
        if is_mixture(path) and Path(path).exists():
            yield from ((source.path, source.data_sources) for source in read_mixture(path).sources)
        else:
            yield path, None


def credentialed_rows(path: str, sources: Sequence[str] | None) -> Iterator[Mapping[str, Any]]:
    """The rows of one file that no third party may see; images and texts are not read."""
    import pyarrow.parquet as pq

    from medix_verl.data.schema import check_file, read_meta

    check_file(path)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["id", "data_source", "meta"]):
            for row in batch.to_pylist():
                meta = read_meta(row["meta"], f"{path} row {row['id']!r}")
                if (sources is None or row["data_source"] in sources) and is_credentialed(row["data_source"], meta):
                    yield row
