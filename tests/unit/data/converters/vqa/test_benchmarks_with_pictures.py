# SPDX-License-Identifier: Apache-2.0
"""MedFrameQA and GMAI-MMBench: several frames, pictures in base64, and what the statistics take for one case."""

from __future__ import annotations

from pathlib import Path

from helpers import set_layouts as made
from medix_verl.data.converters.base import Refused
from medix_verl.data.converters.registry import find
from medix_verl.data.source import Source
from medix_verl.evaluation.task_run import cluster_of
from medix_verl.types import Sample


def read_set(name: str, folder: Path, split: str) -> list[Sample | Refused]:
    return list(find(name).read(Source(folder), split))


def test_frames_come_in_order_and_questions_of_a_video_are_one_case(tmp_path: Path) -> None:
    rows = [made.frame_row(60, image_3=made.picture(90)), made.frame_row(70), made.frame_row(80, video_id="v2")]
    made.WRITERS["medframeqa"](tmp_path, rows)
    found = [item for item in read_set("medframeqa", tmp_path, "test") if isinstance(item, Sample)]
    assert [len(sample.images) for sample in found] == [3, 2, 2]
    assert [ref.bytes for ref in found[0].images] == [made.png(61), made.png(62), made.png(90)]
    assert [cluster_of(sample) for sample in found] == ["patient:v1", "patient:v1", "patient:v2"]
    assert (found[0].answer, found[0].modality, found[0].meta["organ"]) == ("Nothing changes.", "CT_SCAN", "lung")


def test_a_question_without_frames_is_refused(tmp_path: Path) -> None:
    made.WRITERS["medframeqa"](tmp_path, [made.frame_row(60), made.frame_row(70, image_1=None, image_2=None)])
    reasons = [item.reason for item in read_set("medframeqa", tmp_path, "test") if isinstance(item, Refused)]
    assert reasons == ["no picture"]


def test_pictures_in_base64_under_either_name_of_the_file(tmp_path: Path) -> None:
    rows = [made.bench_row(1), made.bench_row(2, image="no base64!"), made.bench_row(3, image="")]
    (tmp_path / "copy").mkdir()
    made.WRITERS["gmai-mmbench"](tmp_path, rows)
    (tmp_path / "GMAI_mm_bench_VAL.tsv").rename(tmp_path / "copy" / "GMAI-MMBench_VAL.tsv")
    found, *refused = read_set("gmai-mmbench", tmp_path / "copy", "val")
    assert isinstance(found, Sample) and found.images[0].bytes == made.png(41)
    assert (found.answer, found.options, found.modality) == (
        *("Ulcer", ("Polyp", "Ulcer", "Normal mucosa", "Bleeding")),
        "ENDOSCOPY",
    )
    assert found.meta["question_type"] == "Disease diagnosis" and found.meta["department"].startswith("Gastro")
    assert [item.reason for item in refused if isinstance(item, Refused)] == ["no picture"] * 2
