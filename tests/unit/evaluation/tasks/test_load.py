# SPDX-License-Identifier: Apache-2.0
"""Every task's questions from its set's published layout; filters, limits, and what an empty task says."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import task_layouts as layouts
from medix_verl.data.prompts import render_prompt
from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.task_run import answer_type_of, cluster_of
from medix_verl.evaluation.tasks.load import load, passes
from medix_verl.evaluation.tasks.table import find, tasks
from medix_verl.types import Sample


@pytest.mark.parametrize("name", tasks())
def test_every_task_is_read_from_its_published_layout(name: str, tmp_path: Path) -> None:
    task = find(name)
    samples = list(load(task, layouts.write(name, tmp_path / name)))
    assert len(samples) == layouts.EXPECTED[name]
    assert len({sample.id for sample in samples}) == len(samples)
    assert all(bool(sample.images) == task.pictures for sample in samples)
    assert {answer_type_of(task, sample) for sample in samples} <= set(task.answer_types)
    assert all(bool(sample.meta.get("credentialed")) == task.credentialed for sample in samples)


def test_the_same_source_gives_the_same_questions(tmp_path: Path) -> None:
    folder = layouts.write("rad_vqa", tmp_path)
    assert list(load(find("rad_vqa"), folder)) == list(load(find("rad_vqa"), folder))


def test_the_published_question_lists_yes_no_maybe_as_words(tmp_path: Path) -> None:
    sample = next(load(find("pubmedqa"), layouts.write("pubmedqa", tmp_path)))
    text = render_prompt(sample, "published")
    assert text.endswith("Does it help, 1?\n\nChoices:\nA. yes\nB. no\nC. maybe")
    assert "BACKGROUND: little." in text and "RESULTS: some." in text


def test_an_open_question_has_no_list_of_choices(tmp_path: Path) -> None:
    sample = next(load(find("pmc_vqa_hard"), layouts.write("pmc_vqa_hard", tmp_path)))
    assert render_prompt(sample, "published") == "What is seen in picture 62?"


def test_null_options_are_no_options(tmp_path: Path) -> None:
    sample = next(load(find("usmle_sa"), layouts.write("usmle_sa", tmp_path)))
    assert sample.options == ("Aspirin", "Heparin", "Warfarin", "Digoxin")


def test_mimic_clusters_by_patient_and_a_summary_has_no_picture(tmp_path: Path) -> None:
    folder = layouts.write("mimic_cxr_report_generation", tmp_path)
    report, summary = (next(load(find(f"mimic_cxr_report_{kind}"), folder)) for kind in ("generation", "summarization"))
    assert (cluster_of(report), cluster_of(summary)) == ("patient:p10000032", "patient:p10000032")
    assert (len(report.images), len(summary.images)) == (1, 0)
    assert report.answer == layouts.SECRET and layouts.SECRET in summary.question


def test_limits_take_the_first_or_a_seeded_part(tmp_path: Path) -> None:
    task, folder = find("mmmu_med"), layouts.write("mmmu_med", tmp_path)
    every = [sample.id for sample in load(task, folder)]
    assert [sample.id for sample in load(task, folder, limit=2)] == every[:2]
    seeded = {seed: [sample.id for sample in load(task, folder, limit=3, seed=seed)] for seed in range(5)}
    assert len({tuple(ids) for ids in seeded.values()}) > 1
    assert all(set(ids) <= set(every) and ids == sorted(ids, key=every.index) for ids in seeded.values())
    smaller = {sample.id for sample in load(task, folder, limit=2, seed=0)}
    assert smaller < set(seeded[0])


def test_a_limit_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the limit is 0"):
        next(load(find("medqa"), tmp_path, limit=0))


def test_credentialed_data_are_read_from_a_local_copy_only(tmp_path: Path) -> None:
    task = find("mimic_cxr_report_generation")
    for source in (None, tmp_path / "nothing", "someone/mirror"):
        with pytest.raises(
            ConfigError, match=r"physionet\.org.*name it with sources\[\"mimic_cxr_report_generation\"\]="
        ):
            next(load(task, source))


def test_an_empty_task_says_what_was_lost(tmp_path: Path) -> None:
    rows = [layouts.made.slake_row(1, q_lang="zh", question="?")]
    layouts.made.write_json(tmp_path / "test.json", rows)
    layouts.made.write_zip(tmp_path / "imgs.zip", layouts.made.FILES["slake"])
    refused: Counter[str] = Counter()
    with pytest.raises(DataError, match=r"slake_vqa has no question in .*\(1 refused for 'other language'\)"):
        list(load(find("slake_vqa"), tmp_path, refused=refused))
    assert refused == {"other language": 1}


def test_a_task_that_is_published_nowhere_needs_a_source() -> None:
    with pytest.raises(ConfigError, match="published nowhere"):
        next(load(replace(find("medqa"), hub_id=None)))


def test_a_filter_takes_what_the_sample_says_and_refuses_silence() -> None:
    sample = Sample("1", "mmlu-medical/anatomy", "q", "a", meta={"language": "en"})
    assert passes(sample, {"language": ("en", "de"), "data_source": ("mmlu-medical/anatomy",)})
    assert not passes(sample, {"language": ("de",)})
    with pytest.raises(DataError, match="row '1' has no subject"):
        passes(sample, {"subject": ("anatomy",)})
