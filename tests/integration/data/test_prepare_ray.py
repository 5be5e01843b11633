# SPDX-License-Identifier: Apache-2.0
"""A preparation on a Ray cluster gives the bytes of one on this machine alone, and its errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import sets
from medix_verl.data.prepare.cluster import connect, only_here
from medix_verl.data.prepare.job import Job
from medix_verl.data.prepare.prepare import prepare
from medix_verl.errors import DataError, SetupError
from medix_verl.types import Sample

pytestmark = pytest.mark.timeout(400)
FILES = ("train.parquet", "train.report.json", "train.dropped.jsonl")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray on this machine, with two of its cores."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def quiet(line: str) -> None:
    """Say nothing."""


def job_for(tmp_path: Path, count: int, **changes: dict[str, object]) -> Job:
    source = sets.put_rows(tmp_path / "in", count, **changes)
    converter = str(sets.put_converter(tmp_path))
    return Job(converter, "train", tmp_path / "out" / "train.parquet", place=str(source), rows_a_part=50, bounded=True)


def test_no_cluster_is_an_error_that_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(SetupError, match=r"no Ray cluster answers .*type `ray start --head`.*or leave out --ray"):
        connect("127.0.0.1:1")
    with pytest.raises(SetupError, match=r"--ray ray://a:1 is a client's address"):
        connect("ray://a:1")


def test_credentialed_rows_stay_on_a_machine() -> None:
    plain, secret = Sample("a", "s", "?", "x"), Sample("b", "s", "?", "x", meta={"credentialed": True})
    assert list(only_here(iter([plain, secret]), 1)) == [plain, secret]
    with pytest.raises(DataError, match=r"row 'b' is credentialed and must not leave this machine.* 3 machines"):
        list(only_here(iter([plain, secret]), 3))


def test_the_same_bytes_as_on_one_machine(cluster: None, tmp_path: Path) -> None:
    broken: dict[str, object] = {"image": b"no picture".hex()}
    job = job_for(tmp_path, 330, r7={"answer": ""}, r100={"id": "r3"}, r200=broken)
    made = prepare(job, quiet)
    assert made["rows"] == {"read": 330, "refused": 2, "dropped": 1, "written": 327}
    import ray

    ray_files = [(job.out.parent / name).read_bytes() for name in FILES]
    ray.shutdown()
    prepare(replace(job, out=tmp_path / "alone" / "train.parquet"), quiet)
    assert [(tmp_path / "alone" / name).read_bytes() for name in FILES] == ray_files
