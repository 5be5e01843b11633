# SPDX-License-Identifier: Apache-2.0
"""`prepare --sft`: the file beside the training file, what is said of it, and that nothing dropped is in it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers import sets
from medix_verl.cli.main import main
from medix_verl.data.io.parquet import read_samples, write_samples
from medix_verl.data.pictures.stamp import KEY
from medix_verl.data.sft.file import check_sft_file, misfit, read_messages, read_stamp, write_sft
from medix_verl.data.sft.rows import MESSAGES, PROMPTS, SFT_SCHEMA, SftSpec
from medix_verl.errors import DataError
from medix_verl.response import parse_response
from medix_verl.rewards.composite import CompositeReward
from medix_verl.rewards.spec import RewardSpec
from medix_verl.thinking import Thinking
from medix_verl.types import Reference, Sample

put_converter, put_rows = sets.put_converter, sets.put_rows
SAYS = {"r0": {"meta": {"rationale": "The opacity is round. It is small."}}, "r1": {"image": None}}


def words(tmp_path: Path, **changes: Any) -> list[str]:
    source = put_rows(tmp_path / "in", 4, **{**SAYS, **changes})
    out = tmp_path / "out" / "train.parquet"
    return [
        "prepare", str(put_converter(tmp_path)), "--source", str(source), "--out", str(out), "--workers", "1", "--sft",
    ]  # fmt: skip


def reward() -> CompositeReward:
    return CompositeReward(RewardSpec.from_mapping({"judge": {"kind": "rule"}, "semantic": {"enable": False}}))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_every_text_of_the_file_scores_one(tmp_path: Path, prompt: str) -> None:
    assert main([*words(tmp_path), "--sft-prompt", prompt]) == 0
    path = tmp_path / "out" / "train.sft.parquet"
    samples, turns = list(read_samples(path)), read_messages(path)
    assert [sample.id for sample in samples] == ["r0", "r2", "r3"] and check_sft_file(path) == 3
    thinking = read_stamp(path).thinking
    for sample, (asked, said) in zip(samples, turns, strict=True):
        assert asked.startswith("<image>") and sample.question in asked
        assert parse_response(said, thinking).well_formed
        reference = Reference(sample.answer, modality=sample.modality, question=sample.question)
        found = reward().score_sync(said, reference, thinking)
        assert (found.score, found.acc, found.terms["format"]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("thinking", Thinking)
@pytest.mark.parametrize("prompt", ["medix", "medix_thinking"])
def test_a_file_fits_the_templates_that_its_prompt_is_for(tmp_path: Path, prompt: str, thinking: Thinking) -> None:
    assert main([*words(tmp_path), "--sft-prompt", prompt]) == 0
    why = misfit(tmp_path / "out" / "train.sft.parquet", thinking)
    fits = (prompt == "medix_thinking") is (thinking is Thinking.OPEN)
    assert (why == "") is fits
    if not fits:
        other = "medix" if prompt == "medix_thinking" else "medix_thinking"
        assert why.endswith(f"prepare with --sft-prompt {other} and type data.medix.prompt={other}")


def test_what_is_said_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tmp_path, r2={"meta": {"rationale": "See <think>."}})) == 0
    out = capsys.readouterr().out
    assert "train.sft.parquet: 3 rows for SFT; rationales: 1 the row's own, 2 made by rule" in out
    assert "made by rule though there is an explanation: 1, its explanation holds a tag" in out
    assert "left out: 1, no explanation, no choices and no known modality, for example r1" in out
    report = json.loads((tmp_path / "out" / "train.report.json").read_text())
    assert report["rows"]["written"] == 4, "the training file has them all"
    assert report["sft"]["rows"] == {"written": 3, "left out": 1} and report["sft"]["prompt"] == "medix"
    whose = [sample.meta["rationale_from"] for sample in read_samples(tmp_path / "out" / "train.sft.parquet")]
    assert whose == ["the row's own", "made by rule", "made by rule"]


def test_rows_of_an_evaluation_file_are_in_neither(tmp_path: Path) -> None:
    assert main(words(tmp_path)) == 0
    held = [replace(s, split="test") for s in read_samples(tmp_path / "out" / "train.parquet") if s.id == "r2"]
    write_samples(held, tmp_path / "held.parquet")
    assert main([*words(tmp_path), "--decontaminate-against", str(tmp_path / "held.parquet")]) == 0
    for name in ("train.parquet", "train.sft.parquet"):
        assert "r2" not in [sample.id for sample in read_samples(tmp_path / "out" / name)]


def test_its_stamps_and_columns(tmp_path: Path) -> None:
    assert main(words(tmp_path)) == 0
    with pq.ParquetFile(tmp_path / "out" / "train.sft.parquet") as file:
        assert file.schema_arrow.remove_metadata().equals(SFT_SCHEMA)
        assert KEY in file.metadata.metadata, "its pictures were decoded, as those of the training file"
    with pq.ParquetFile(tmp_path / "out" / "train.parquet") as file:
        assert MESSAGES not in file.schema_arrow.names


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    assert main(words(tmp_path)) == 0
    path = tmp_path / "out" / "train.sft.parquet"
    first = path.read_bytes()
    assert main(words(tmp_path)) == 0
    assert path.read_bytes() == first


def test_an_old_file_is_not_taken_for_a_new_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tmp_path)) == 0
    capsys.readouterr()
    assert main([word for word in words(tmp_path) if word != "--sft"]) == 0
    said = capsys.readouterr().err
    assert "train.sft.parquet is of an earlier preparation and may hold other rows; type --sft" in said


def test_a_training_file_is_none_for_sft(tmp_path: Path) -> None:
    assert main(words(tmp_path)) == 0
    with pytest.raises(DataError, match="is not a file for supervised fine-tuning"):
        check_sft_file(tmp_path / "out" / "train.parquet")


def test_no_row_with_a_rationale(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no row has a usable rationale \(no explanation"):
        write_sft([Sample("r", "s", "Why?", "so")], tmp_path / "t.sft.parquet", SftSpec())
    assert list(tmp_path.iterdir()) == []


def test_other_turns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"id": ["a"], MESSAGES: [[{"role": "user", "content": "x"}]]}), path)
    with pytest.raises(DataError, match="row 'a': messages must be a user's turn and an assistant's"):
        read_messages(path)


def test_the_flags_belong_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*[word for word in words(tmp_path) if word != "--sft"], "--sft-prompt", "medix"]) != 0
    assert "type --sft as well" in capsys.readouterr().err


def test_a_table_of_ones_own_with_a_column_of_rationales(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("question,answer,options,rationale\nWhich?,liver,liver|spleen,It lies right.\nWhy?,so,,\n")
    out = tmp_path / "train.parquet"
    assert main(["prepare", "own", "--source", str(table), "--split-by", "none", "--out", str(out), "--sft"]) == 0
    assert [said for _, said in read_messages(tmp_path / "train.sft.parquet")] == [
        "<think>It lies right.</think>\n<answer>liver</answer>"
    ]
