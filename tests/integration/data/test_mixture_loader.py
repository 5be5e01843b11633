# SPDX-License-Identifier: Apache-2.0
"""A mixture under verl's own data loader: a run that is stopped and resumed sees the rows in the undisturbed order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import open_dict

from medix_verl.data.io.parquet import write_samples
from medix_verl.errors import ConfigError, DataError
from medix_verl.types import Sample

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def parts(demo_folder: Path) -> tuple[Any, Any]:
    import verl  # noqa: F401 - its import registers the plugin
    from verl.utils import hf_tokenizer

    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", ["+recipe=medix_cpu", f"medix.demo='{demo_folder}'"])
    return hf_tokenizer(str(demo_folder / "policy")), config


@pytest.fixture
def loader(parts: tuple[Any, Any]) -> Callable[..., Any]:
    """A data loader as verl's V1 trainer builds it (trainer_base.py, _init_dataloader)."""
    from torchdata.stateful_dataloader import StatefulDataLoader
    from verl.trainer.ppo.utils import create_rl_dataset, create_rl_sampler
    from verl.utils.dataset.rl_dataset import collate_fn

    tokenizer, config = parts

    def make(*files: Path, workers: int = 0, **settings: Any) -> Any:
        data = config.data.copy()
        with open_dict(data):
            data.update(settings)
        dataset = create_rl_dataset([str(path) for path in files], data, tokenizer, None)
        sampler = create_rl_sampler(data, dataset)
        return StatefulDataLoader(
            dataset=dataset, batch_size=4, num_workers=workers, drop_last=True, collate_fn=collate_fn, sampler=sampler
        )

    return make


@pytest.fixture
def mixture(tmp_path: Path) -> Path:
    for name, rows in (("a", 60), ("b", 20)):
        samples = [Sample(f"{name}{n}", name, "What?", "this", meta={"pass_rate": n / rows}) for n in range(rows)]
        write_samples(samples, tmp_path / f"{name}.parquet")
    path = tmp_path / "mixture.yaml"
    path.write_text("sources: [{path: a.parquet, weight: 1}, {path: b.parquet, weight: 1}]\n")
    return path


def batches(loader: Any) -> Iterator[list[str]]:
    for batch in loader:
        yield [info["id"] for info in batch["extra_info"]]


def test_shares_and_rows(loader: Callable[..., Any], mixture: Path) -> None:
    dataset = loader(mixture).dataset
    ids = [dataset[number]["extra_info"]["id"] for number in range(len(dataset))]
    assert Counter(name[0] for name in ids) == {"a": 20, "b": 20} and len(set(ids)) == 40
    assert all(dataset[number]["data_source"] == name[0] for number, name in enumerate(ids))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", [True, False])
def test_resumed_is_undisturbed(loader: Callable[..., Any], mixture: Path, workers: int, shuffle: bool) -> None:
    curriculum = "" if shuffle else "curriculum: {order: easy_to_hard}\n"
    mixture.write_text(mixture.read_text() + curriculum)
    settings = {"workers": workers, "shuffle": shuffle}
    whole = list(batches(loader(mixture, **settings)))
    assert len(whole) == 10
    stopped = loader(mixture, **settings)
    seen = batches(stopped)
    before = [next(seen) for _ in range(3)]
    resumed = loader(mixture, **settings)
    resumed.load_state_dict(stopped.state_dict())
    after = list(batches(resumed))
    assert before + after == whole
    again = list(batches(resumed))
    assert {name for ids in again for name in ids} == {name for ids in whole for name in ids}
    assert (again == whole) == (not shuffle), "another order each epoch, but for a curriculum"


def test_easy_rows_come_first(loader: Callable[..., Any], mixture: Path) -> None:
    mixture.write_text(mixture.read_text() + "curriculum: {order: easy_to_hard, band: [0.25, 0.75]}\n")
    rates = [
        int(name[1:]) / (60 if name[0] == "a" else 20)
        for row in batches(loader(mixture, shuffle=False))
        for name in row
    ]
    assert rates == sorted(rates, reverse=True) and 0.25 <= rates[-1] <= rates[0] <= 0.75


def test_a_curriculum_is_not_shuffled(loader: Callable[..., Any], mixture: Path) -> None:
    mixture.write_text(mixture.read_text() + "curriculum: {order: hard_to_easy}\n")
    with pytest.raises(ConfigError, match=r"mixture\.yaml is a curriculum .*: set data\.shuffle=false"):
        loader(mixture, shuffle=True)


def test_a_mixture_stands_alone(loader: Callable[..., Any], mixture: Path) -> None:
    with pytest.raises(ConfigError, match="a mixture file stands alone; name the others in it"):
        loader(mixture, mixture.parent / "a.parquet")


def test_a_missing_source(loader: Callable[..., Any], mixture: Path) -> None:
    (mixture.parent / "b.parquet").unlink()
    with pytest.raises(DataError, match=r"b\.parquet: no such file"):
        loader(mixture)


def test_other_rows_than_the_checkpoints(loader: Callable[..., Any], mixture: Path) -> None:
    stopped = loader(mixture)
    next(iter(stopped))
    state = stopped.state_dict()
    mixture.write_text("seed: 2\n" + mixture.read_text())
    resumed = loader(mixture)
    resumed.load_state_dict(state)
    with pytest.raises(ConfigError, match="the checkpoint was made on 40 rows, .*trainer.resume_mode=disable"):
        next(iter(resumed))
