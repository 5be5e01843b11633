# SPDX-License-Identifier: Apache-2.0
"""MedixDataset over real files, with the demo's tokenizer and picture processor, as verl's trainer builds it."""

from __future__ import annotations

import asyncio
import io
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, open_dict
from PIL import Image

from medix_verl.data.io.parquet import read_samples, write_samples
from medix_verl.data.pictures import messages
from medix_verl.data.pictures.messages import open_message
from medix_verl.data.prepare.job import Job
from medix_verl.data.prepare.prepare import prepare
from medix_verl.data.prompts import render_prompt
from medix_verl.data.schema import SAMPLE_SCHEMA
from medix_verl.demo.build import COUNTS
from medix_verl.errors import ConfigError, DataError
from medix_verl.types import ImageRef, Sample

pytestmark = pytest.mark.timeout(120)
INFO = {"index", "split", "id", "question", "modality", "options", "synonyms", "tolerance", "label", "credentialed"}


def png(size: int = 64, shade: int = 128) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (size, size), shade).save(stream, "PNG")
    return stream.getvalue()


TEXT = Sample("t1", "medix_demo", "What is taken for a headache?", "aspirin", meta={"synonyms": ["ASA"]})
ONE = Sample("p1", "medix_demo", "Which organ?", "lung", "X_RAY", images=(ImageRef(bytes=png()),), split="val")
TWO = Sample(
    "p2", "other", "Which is larger?", "second", "CT_SCAN",
    images=(ImageRef(bytes=png()), ImageRef(bytes=png(96))), options=("first", "second"), meta={"tolerance": 0.1},
)  # fmt: skip


@pytest.fixture(scope="module")
def parts(demo_folder: Path) -> tuple[Any, Any, DictConfig]:
    """The policy's tokenizer and processor, and the composed recipe medix_cpu."""
    import verl  # noqa: F401 - its import registers the plugin
    from verl.utils import hf_processor, hf_tokenizer

    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", ["+recipe=medix_cpu", f"medix.demo='{demo_folder}'"])
    policy = str(demo_folder / "policy")
    return hf_tokenizer(policy), hf_processor(policy), config


@pytest.fixture
def build(parts: tuple[Any, Any, DictConfig]) -> Callable[..., Any]:
    """Build the dataset that the recipe names, the way verl's trainer does."""
    from verl.trainer.ppo.utils import create_rl_dataset

    tokenizer, processor, config = parts

    def make(*files: Path, max_samples: int = -1, **settings: Any) -> Any:
        data = config.data.copy()
        with open_dict(data):
            data.update(settings)
        return create_rl_dataset([str(path) for path in files], data, tokenizer, processor, max_samples=max_samples)

    return make


def written(path: Path, samples: Sequence[Sample]) -> Path:
    write_samples(samples, path)
    return path


def pictures(row: dict[str, Any]) -> list[Image.Image]:
    content = row["raw_prompt"][-1]["content"]
    return [open_message(part, None) for part in content if part["type"] == "image"]


def words(row: dict[str, Any]) -> str:
    content = row["raw_prompt"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def test_the_recipe_names_our_class(build: Callable[..., Any], tmp_path: Path) -> None:
    from verl.utils.dataset.rl_dataset import RLHFDataset

    dataset = build(written(tmp_path / "a.parquet", [TEXT]))
    # verl loads the file of a `pkg://` path as a module of its own: a class of the same name, not the same class.
    assert type(dataset).__name__ == "MedixDataset" and isinstance(dataset, RLHFDataset)


def test_what_prepare_decoded_is_not_decoded_when_a_row_is_loaded(
    build: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("id,question,answer,image\nr0,Which organ?,lung,a.png\n", encoding="utf-8")
    (tmp_path / "a.png").write_bytes(png(shade=90))
    prepare(Job("own", "train", tmp_path / "made.parquet", place=str(table)), lambda line: None)
    written(tmp_path / "plain.parquet", list(read_samples(tmp_path / "made.parquet")))
    decoded: list[str] = []
    real = messages.load_image

    def counted(ref: ImageRef, name: str, *more: Any) -> Image.Image:
        decoded.append(name)
        return real(ref, name, *more)

    monkeypatch.setattr(messages, "load_image", counted)
    made, plain = build(tmp_path / "made.parquet")[0], build(tmp_path / "plain.parquet")[0]
    assert decoded == ["r0"], "of the plain file only"
    assert pictures(made)[0].tobytes() == pictures(plain)[0].tobytes()


def test_a_mixed_batch(build: Callable[..., Any], tmp_path: Path) -> None:
    from verl.utils.dataset.rl_dataset import collate_fn

    dataset = build(written(tmp_path / "a.parquet", [TEXT, ONE, TWO]))
    rows = [dataset[number] for number in range(3)]
    assert [len(pictures(row)) for row in rows] == [0, 1, 2]
    assert all(picture.mode == "RGB" for row in rows for picture in pictures(row))
    batch = collate_fn(rows)
    assert {len(column) for column in batch.values()} == {3}
    assert list(batch["data_source"]) == ["medix_demo", "medix_demo", "other"]
    assert [entry["ground_truth"] for entry in batch["reward_model"]] == ["aspirin", "lung", "second"]
    assert list(batch["index"]) == [0, 1, 2]


def test_extra_info_has_always_the_same_keys(build: Callable[..., Any], tmp_path: Path) -> None:
    dataset = build(written(tmp_path / "a.parquet", [TEXT, ONE, TWO]))
    text, one, two = (dataset[number]["extra_info"] for number in range(3))
    assert set(text) == set(one) == set(two) == INFO
    assert (text["modality"], text["synonyms"], text["options"], text["split"]) == (None, ["ASA"], None, "train")
    assert (one["modality"], one["split"], one["id"]) == ("X_RAY", "val", "p1")
    assert (two["options"], two["tolerance"]) == (["first", "second"], 0.1)


def test_a_credentialed_row_says_so_to_the_reward(build: Callable[..., Any], tmp_path: Path) -> None:
    closed = replace(TEXT, id="c1", meta={**TEXT.meta, "credentialed": True})
    named = replace(TEXT, id="c2", data_source="mimic-cxr")
    dataset = build(written(tmp_path / "a.parquet", [TEXT, closed, named]))
    assert [dataset[number]["extra_info"]["credentialed"] for number in range(3)] == [False, True, True]


@pytest.mark.parametrize("logger", ["wandb", "mlflow", "a_new_one"])
def test_credentialed_texts_go_to_no_tracking_service(build: Callable[..., Any], tmp_path: Path, logger: str) -> None:
    path = written(tmp_path / "a.parquet", [TEXT, replace(TEXT, id="c2", data_source="mimic-cxr")])

    def made(**medix: Any) -> Any:
        return build(path, val_files=[str(path)], medix={"prompt": "medix_short", **medix})

    with pytest.raises(
        ConfigError, match=rf"row 'c2' .* is credentialed, .* by trainer\.logger={logger}: type trainer\.log"
    ):
        made(loggers=["console", logger], logged_generations=10)
    assert len(made(loggers=["console", logger], logged_generations=0)) == 2
    assert len(made(loggers=["console", "file", "tensorboard"], logged_generations=10)) == 2
    open_rows = written(tmp_path / "b.parquet", [TEXT])
    away = {"prompt": "medix_short", "loggers": [logger], "logged_generations": 10}
    assert len(build(open_rows, val_files=[str(open_rows)], medix=away)) == 1
    # Training texts are not logged by it.
    assert len(build(path, val_files=[str(open_rows)], medix=away)) == 2


def test_the_recipe_tells_the_dataset_what_is_logged(parts: tuple[Any, Any, DictConfig]) -> None:
    medix = parts[2].data.medix
    assert list(medix.loggers) == ["console", "file"] and medix.logged_generations == 0


def test_the_prompt_is_rendered_when_the_row_is_loaded(build: Callable[..., Any], tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", [TWO])
    short, long = build(path), build(path, medix={"prompt": "medix"}, max_prompt_length=4096)
    assert words(short[0]).strip() == render_prompt(TWO, "medix_short").strip()
    assert words(long[0]).strip() == render_prompt(TWO, "medix").strip()
    assert words(short[0]) != words(long[0])


def test_pictures_by_path_lie_beside_their_own_file(
    build: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files with pictures of the same name, read from another working directory."""
    for name, shade in (("one", 10), ("two", 200)):
        (tmp_path / name / "pictures").mkdir(parents=True)
        (tmp_path / name / "pictures" / "a.png").write_bytes(png(shade=shade))
        sample = Sample(name, "s", "Which organ?", "lung", "X_RAY", images=(ImageRef(path="pictures/a.png"),))
        write_samples([sample], tmp_path / name / "data.parquet")
    monkeypatch.chdir("/")
    dataset = build(tmp_path / "two" / "data.parquet", tmp_path / "one" / "data.parquet")
    shades = {dataset[number]["extra_info"]["id"]: pictures(dataset[number])[0].getpixel((0, 0)) for number in (0, 1)}
    assert shades == {"one": (10, 10, 10), "two": (200, 200, 200)}


def test_a_home_folder_in_a_path(build: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the recipe medix, where the working directory has no say."""
    (tmp_path / "a.png").write_bytes(png())
    sample = Sample("x", "s", "Which organ?", "lung", "X_RAY", images=(ImageRef(path="a.png"),))
    write_samples([sample], tmp_path / "data.parquet")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    assert pictures(build(Path("~/data.parquet"))[0])[0].size == (64, 64)


def test_a_part_of_the_rows(build: Callable[..., Any], tmp_path: Path) -> None:
    """The first ones, or drawn ones, the same for the same seed; each keeps its file."""
    for name in ("a", "b"):
        rows = [Sample(f"{name}{number}", "s", "What?", "this") for number in range(20)]
        write_samples(rows, tmp_path / f"{name}.parquet")

    def ids(**settings: Any) -> list[str]:
        dataset = build(tmp_path / "a.parquet", tmp_path / "b.parquet", max_samples=5, **settings)
        return [dataset[number]["extra_info"]["id"] for number in range(len(dataset))]

    assert ids(shuffle=False) == ["a0", "a1", "a2", "a3", "a4"]
    drawn = ids(shuffle=True, seed=3)
    assert len(set(drawn)) == 5 and drawn == ids(shuffle=True, seed=3) != ids(shuffle=True, seed=4)


def test_an_absolute_path(build: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    sample = Sample("x", "s", "Which organ?", "lung", "X_RAY", images=(ImageRef(path=str(tmp_path / "a.png")),))
    dataset = build(written(tmp_path / "deep" / "data.parquet", [sample]))
    assert pictures(dataset[0])[0].size == (64, 64)


BROKEN = Sample("broken-7", "s", "Which organ?", "lung", "X_RAY", images=(ImageRef(bytes=b"no picture at all"),))
ABSENT = Sample("absent-8", "s", "Which organ?", "lung", "X_RAY", images=(ImageRef(path="gone.png"),))


@pytest.mark.parametrize(("sample", "name"), [(BROKEN, "broken-7"), (ABSENT, "absent-8")])
def test_an_unreadable_picture_is_named_by_its_row(
    build: Callable[..., Any], tmp_path: Path, sample: Sample, name: str
) -> None:
    path = written(tmp_path / "a.parquet", [TEXT, sample])
    with pytest.raises(DataError, match=name):
        build(path)
    dataset = build(path, filter_overlong_prompts=False)
    assert dataset[0]["extra_info"]["id"] == "t1"
    with pytest.raises(DataError, match=name):
        dataset[1]


def test_an_unreadable_picture_is_named_from_the_filters_other_processes(
    build: Callable[..., Any], tmp_path: Path
) -> None:
    texts = [Sample(f"t{number}", "s", "What?", "this") for number in range(1001)]
    with pytest.raises(DataError, match="broken-7"):
        build(written(tmp_path / "a.parquet", [*texts, BROKEN]), filter_overlong_prompts_workers=2)


@pytest.mark.parametrize("form", ["encoded", "files", "pixels"])
def test_pictures_travel_in_three_forms(build: Callable[..., Any], tmp_path: Path, form: str) -> None:
    """And are opened by the method that verl's agent loops call."""
    path = written(tmp_path / "a.parquet", [TEXT, TWO])
    settings = {"prompt": "medix_short", "images": form, "image_store": str(tmp_path / "store")}
    budget = {"min_pixels": 1024, "max_pixels": 4096}
    dataset = build(path, medix=settings, mm_processor_kwargs=budget, max_prompt_length=999)
    kinds = {"encoded": bytes, "files": str, "pixels": Image.Image}
    (message,) = dataset[1]["raw_prompt"]
    assert all(isinstance(part["image"], kinds[form]) for part in message["content"][:2])
    opened = asyncio.run(type(dataset).process_multi_modal_info([message], 16, dataset.config))
    assert [image.size for image in opened[0]] == [(64, 64), (64, 64)] and opened[1:] == (None, None)
    assert asyncio.run(type(dataset).process_multi_modal_info(dataset[0]["raw_prompt"], 16, dataset.config))[0] is None


def test_lengths_are_the_processors(build: Callable[..., Any], tmp_path: Path) -> None:
    """The quick way and the one through the real processor agree on every row."""
    dataset = build(written(tmp_path / "a.parquet", [TEXT, ONE, TWO]), filter_overlong_prompts=False)
    rows = [dataset.dataframe[number] for number in range(3)]
    quick = dataset._prompt_lengths(dataset.dataframe[:3])
    processed = [len(dataset.tokenizer(dataset._chat_text(dataset._messages(TEXT, 0)))["input_ids"])]
    assert quick == processed + [dataset._processed_length(row) for row in rows[1:]]


def test_long_prompts_are_counted_and_left_out(
    build: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    long = Sample("long", "s", "What is this? " * 200, "this")
    with caplog.at_level(logging.WARNING):
        dataset = build(written(tmp_path / "a.parquet", [TEXT, long, ONE]))
    assert [dataset[number]["extra_info"]["id"] for number in range(len(dataset))] == ["t1", "p1"]
    assert "1 of 3 prompts are longer than 128 tokens and were left out" in caplog.text


def test_pictures_count_in_the_length(build: Callable[..., Any], tmp_path: Path) -> None:
    pictures_only = Sample("many", "s", "What?", "this", "X_RAY", images=(ImageRef(bytes=png(256)),) * 12)
    kept = build(written(tmp_path / "a.parquet", [TEXT, pictures_only]))
    assert len(kept) == 1
    assert len(build(tmp_path / "a.parquet", max_prompt_length=4096)) == 2


def test_a_picture_that_is_replaced_is_counted_anew(build: Callable[..., Any], tmp_path: Path) -> None:
    for size, kept in ((64, 2), (1024, 1)):
        (tmp_path / "a.png").write_bytes(png(size))
        sample = Sample("many", "s", "What?", "this", "X_RAY", images=(ImageRef(path="a.png"),) * 2)
        budget = {"min_pixels": 1024, "max_pixels": 2**20}
        path = written(tmp_path / "a.parquet", [TEXT, sample])
        assert len(build(path, mm_processor_kwargs=budget)) == kept


def test_nothing_left_is_an_error(build: Callable[..., Any], tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", [TEXT, ONE])
    with pytest.raises(DataError, match=r"all 2 prompts of .*a\.parquet.* are longer than data\.max_prompt_length=3"):
        build(path, max_prompt_length=3)


def test_a_missing_file_names_the_command_that_makes_it(build: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data file .*none\.parquet: type `medix-verl prepare demo --out"):
        build(tmp_path / "none.parquet")
    with pytest.raises(DataError, match="type `medix-verl prepare` to make it"):
        build(tmp_path / "none.parquet", medix=None)


def test_a_missing_column_is_named(build: Callable[..., Any], tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", [TEXT])
    pq.write_table(pq.read_table(path).drop_columns(["answer"]), path)
    with pytest.raises(DataError, match=r"a\.parquet.*answer"):
        build(path)


def test_an_empty_file(build: Callable[..., Any], tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([], schema=SAMPLE_SCHEMA), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet"):
        build(tmp_path / "a.parquet")


def test_a_file_that_is_no_parquet(build: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text('{"question": "What?"}\n')
    with pytest.raises(DataError, match=r"a\.parquet"):
        build(tmp_path / "a.parquet")


def test_a_name_is_no_pattern(build: Callable[..., Any], tmp_path: Path) -> None:
    """Named alone, and in a mixture."""
    written(tmp_path / "v1" / "train1.parquet", [replace(TEXT, id="another")])
    path = written(tmp_path / "v[1]" / "train[1].parquet", [TEXT])
    (tmp_path / "mix.yaml").write_text("sources:\n  - path: v[1]/train[1].parquet\n", encoding="utf-8")
    for file in (path, tmp_path / "mix.yaml"):
        assert [build(file)[0]["extra_info"]["id"]] == ["t1"]


def test_a_replaced_file_with_the_old_time_gives_its_new_rows(build: Callable[..., Any], tmp_path: Path) -> None:
    for answer in ("old", "new"):
        path = written(tmp_path / "a.parquet", [replace(TEXT, answer=answer)])
        os.utime(path, (1_700_000_000, 1_700_000_000))
        assert build(path)[0]["reward_model"]["ground_truth"] == answer


def test_the_demos_own_files(build: Callable[..., Any], demo_folder: Path) -> None:
    dataset = build(demo_folder / "data" / "val.parquet")
    assert len(dataset) == COUNTS["val"]
    assert {len(pictures(dataset[number])) for number in range(40)} == {0, 1, 2}
