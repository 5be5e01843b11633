# SPDX-License-Identifier: Apache-2.0
"""The way of a picture from verl's row to the judge, and a panel in the run's shared worker under a real Ray.

The row is one of the demo's, as MedixDataset gives it to verl; the reward manager is the recipe's, in verl's own
RewardLoopWorker; the servers are mocks over HTTP.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from helpers.mock_process import Mock, mock_judges
from helpers.ray_cluster import two_cpus
from medix_verl.errors import ConfigError, UnscoredError

pytestmark = pytest.mark.timeout(300)
WRONG = "<X_RAY> <think>it is dark</think> <answer>zzz</answer>"


@pytest.fixture
def serve() -> Iterator[Callable[..., Mock]]:
    with mock_judges() as start:
        yield start


@pytest.fixture(scope="module")
def config(demo_folder: Path) -> Callable[..., Any]:
    """The recipe medix_cpu with further overrides."""
    import verl  # noqa: F401 - registers the recipes

    def build(*overrides: str) -> Any:
        with initialize_config_module("verl.trainer.config", version_base=None):
            return compose("ppo_trainer", ["+recipe=medix_cpu", f"medix.demo='{demo_folder}'", *overrides])

    return build


def judged_by(mock: Mock, *more: str) -> tuple[str, ...]:
    judge = "reward.medix.judge"
    asked = (f"{judge}.kind=openai", f"{judge}.url={mock.url}", f"{judge}.model=m", f"{judge}.max_retries=0")
    return (*asked, f"++{judge}.images=true", f"++{judge}.prompt=pictures", *more)


def worker(built: Any) -> Any:
    from verl.experimental.reward_loop.reward_loop import RewardLoopWorker

    return RewardLoopWorker(built)


def rows_of(built: Any, form: str, store: Path | None = None) -> tuple[Any, Any]:
    """The first row of the demo's training file with a picture, as verl's data loader has it, and its sample."""
    from omegaconf import OmegaConf
    from verl.utils import hf_processor, hf_tokenizer

    from medix_verl.data.dataset import MedixDataset
    from medix_verl.data.schema import from_row

    path = built.actor_rollout_ref.model.path
    data = OmegaConf.merge(built.data, {"medix": {"images": form}, "train_max_samples": 16})
    if form == "files":
        data.medix.image_store = str(store)
    dataset = MedixDataset(
        data_files=built.data.train_files,
        tokenizer=hf_tokenizer(path),
        processor=hf_processor(path),
        config=data,
        max_samples=16,
    )
    place = next(at for at in range(len(dataset)) if dataset.dataframe[at]["images"])
    return dataset[place], from_row(dataset.dataframe[place])


def trajectory(tokenizer: Any, row: dict[str, Any], response: str = WRONG, **changes: Any) -> Any:
    """One answer to a row, put together as verl's agent loop does (agent_loop.py, _compute_score)."""
    import torch
    from verl import DataProto

    ids = tokenizer(response, add_special_tokens=False)["input_ids"]
    fields = {key: row[key] for key in ("data_source", "raw_prompt", "reward_model", "extra_info")}
    fields["extra_info"] = {**fields["extra_info"], **changes}
    return DataProto.from_dict(
        tensors={"responses": torch.tensor([ids]), "attention_mask": torch.tensor([[1, 1, *[1] * len(ids)]])},
        non_tensors={key: np.array([value]) for key, value in fields.items()},
    )


def ask(built: Any, data: Any) -> Any:
    return built.loop.run_until_complete(built.compute_score(data))


def close(built: Any) -> None:
    built.loop.run_until_complete(built.reward_manager.reward.close())


@pytest.mark.parametrize("form", ["encoded", "files", "pixels"])
def test_the_server_gets_exactly_the_row_s_picture(
    config: Callable[..., Any], serve: Callable[..., Mock], form: str, tmp_path: Path
) -> None:
    from PIL import Image

    from medix_verl.data.pictures.images import load_image
    from medix_verl.judge.pictures import encode_picture

    mock = serve("--verdict", "yes")
    settings = config(*judged_by(mock))
    row, sample = rows_of(settings, form, tmp_path / "store")
    folder = Path(settings.data.train_files).expanduser().parent
    own = load_image(sample.images[0], sample.id, folder)
    built = worker(settings)
    data = trajectory(built.reward_manager.tokenizer, row)
    assert ask(built, data)["reward_extra_info"]["acc"] == 1.0
    assert ask(built, trajectory(built.reward_manager.tokenizer, row, WRONG.replace("zzz", "yyy")))
    close(built)
    from medix_verl.judge.pictures import ref_of_pixels

    expected = encode_picture(ref_of_pixels(own), "q", 1024 * 1024)
    # Small enough to be sent without loss: what the server got has the row's own pixels.
    assert Image.open(io.BytesIO(expected)).convert("RGB").tobytes() == own.tobytes()
    assert mock.stats["pictures"] == {hashlib.sha256(expected).hexdigest(): 2}
    # Once for both answers to the row.
    assert built.reward_manager.reward.judge.pictures.encoded == 1


def test_a_credentialed_row_s_picture_stops_the_run_before_it_leaves(
    config: Callable[..., Any], serve: Callable[..., Mock], monkeypatch: pytest.MonkeyPatch
) -> None:
    fatal: list[str] = []
    monkeypatch.setattr("medix_verl.rewards.manager.report_fatal", fatal.append)
    mock = serve("--verdict", "yes")
    panel = f"[{{model:a}},{{model:b,url:'{mock.url}'}},{{model:c,url:'http://93.184.216.34/v1'}}]"
    settings = config(*judged_by(mock, f"++reward.medix.judge.panel={panel}"))
    row, _ = rows_of(settings, "encoded")
    built = worker(config(*judged_by(mock, f"++reward.medix.judge.panel={panel.replace('model:b', 'model:d')}")))
    with pytest.raises(ConfigError, match=r"is credentialed data.*http://93\.184\.216\.34/v1 is not local"):
        ask(built, trajectory(built.reward_manager.tokenizer, row, credentialed=True))
    assert len(fatal) == 1 and mock.stats["requests"] == 0
    close(built)


def test_a_row_whose_picture_is_broken_is_unscored(config: Callable[..., Any], serve: Callable[..., Mock]) -> None:
    mock = serve("--verdict", "yes")
    settings = config(*judged_by(mock))
    row, _ = rows_of(settings, "encoded")
    built = worker(settings)
    messages = [{**row["raw_prompt"][0], "content": [{"type": "image", "image": b"no picture"}]}]
    with pytest.raises(UnscoredError, match="judge: .*is not a readable picture"):
        ask(built, trajectory(built.reward_manager.tokenizer, {**row, "raw_prompt": messages}))
    assert mock.stats["requests"] == 0
    # A row of text is asked as text.
    text = [{"role": "user", "content": "What is it?"}]
    assert ask(built, trajectory(built.reward_manager.tokenizer, {**row, "raw_prompt": text}))["reward_score"] > 0
    assert mock.stats["requests"] == 1 and mock.stats["pictures"] == {}
    close(built)


def test_rows_in_another_form_are_refused(config: Callable[..., Any], serve: Callable[..., Mock]) -> None:
    settings = config(*judged_by(serve()))
    row, _ = rows_of(settings, "encoded")
    built = worker(settings)
    messages = [{"role": "user", "content": [{"type": "image", "image": 3}]}]
    with pytest.raises(ConfigError, match="a picture of the prompt is a int; accepted: bytes, a path"):
        ask(built, trajectory(built.reward_manager.tokenizer, {**row, "raw_prompt": messages}))
    data = trajectory(built.reward_manager.tokenizer, row)
    del data.non_tensor_batch["raw_prompt"]
    with pytest.raises(ConfigError, match=r"have no raw_prompt.*reward.medix.judge.images=false"):
        ask(built, data)
    close(built)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_run_with_a_panel_that_sees_pictures(train: Callable[..., Any], serve: Callable[..., Mock]) -> None:
    first, second = serve("--verdict", "yes"), serve("--verdict", "hash")
    panel = f"[{{model:a,url:'{first.url}'}},{{model:b,url:'{second.url}'}},{{kind:rule}}]"
    run = train(*judged_by(first, f"++reward.medix.judge.panel={panel}", "trainer.total_training_steps=2"))
    assert run.end.returncode == 0, run.log[-2000:]
    lines = [json.loads(text) for text in (run.folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line["data"] for line in lines if "medix/judge/asked" in line["data"]]
    assert len(steps) == 2 and all(step["medix/unscored"] == 0.0 for step in steps)
    compared = sum(step["medix/judge/panel_compared"] for step in steps)
    assert 0 < compared <= sum(step["medix/judge/asked"] - step["medix/judge/equality"] for step in steps)
    assert all(0.0 <= step["medix/judge/agreement"] <= 1.0 for step in steps if step["medix/judge/panel_compared"])
    assert all(step["medix/judge/member_1_yes"] == 1.0 for step in steps if step["medix/judge/panel_verdicts_1"])
    # The demo has rows of text among those with a picture; the same question is asked once.
    assert 0 < sum(first.stats["pictures"].values()) <= first.stats["requests"] <= compared
    assert first.stats["pictures"] == second.stats["pictures"]


# Under Ray.

ray = pytest.importorskip("ray")


@pytest.fixture
def cluster() -> Iterator[None]:
    """A Ray of our own, with two CPUs."""
    with two_cpus(sys.modules[__name__]):
        yield


class Client:
    """What a reward process does: it connects, and asks."""

    def __init__(self, section: dict[str, Any]) -> None:
        from medix_verl.judge.judge import connect_judge
        from medix_verl.judge.spec import JudgeSpec

        self.judge = connect_judge(JudgeSpec.from_mapping(section))

    async def ask(self, texts: list[str], picture: bytes) -> list[Any]:
        import asyncio

        from medix_verl.types import ImageRef, Reference

        reference = Reference("pneumonia", question="What?", images=(ImageRef(picture),))
        return list(await asyncio.gather(*(self.judge.ask(text, reference) for text in texts)))

    def kind(self) -> str:
        return type(self.judge.judge).__name__


def test_a_panel_of_a_run_keeps_its_members_limits_and_counts_once(cluster: None, serve: Callable[..., Mock]) -> None:
    from PIL import Image

    from medix_verl.judge.service import collect_stats
    from medix_verl.rewards.metrics import service_metrics

    first, second = serve("--verdict", "yes", "--latency-ms", "20"), serve("--verdict", "hash", "--latency-ms", "20")
    panel = [
        {"model": "a", "url": first.url, "max_concurrent": 3, "images": True},
        {"model": "b", "url": second.url, "max_concurrent": 5},
        {"kind": "rule"},
    ]
    section = {"kind": "openai", "timeout_s": 20.0, "cache": "none", "panel": panel}
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (9, 90, 20)).save(buffer, "PNG")
    clients = [ray.remote(Client).options(num_cpus=0).remote(section) for _ in range(3)]
    assert ray.get([client.kind.remote() for client in clients]) == ["RemoteJudge"] * 3
    asked = [[f"finding {place}-{number}" for number in range(30)] for place in range(3)]
    asked[0].append("Pneumonia")
    found = ray.get([client.ask.remote(texts, buffer.getvalue()) for client, texts in zip(clients, asked, strict=True)])
    # YES, a coin and NO: the second server decides, and nobody ever agrees with everybody.
    assert all(verdict.ok for part in found for verdict in part) and found[0][30].source == "equality"
    assert {verdict.correct for verdict in found[1]} == {True, False}
    assert first.stats["in_flight_peak"] <= 3 and second.stats["in_flight_peak"] <= 5
    assert first.stats["requests"] == second.stats["requests"] == 90
    assert sum(first.stats["pictures"].values()) == 90 and second.stats["pictures"] == {}
    given = collect_stats()
    assert (given["asked"] - given["equality"], given["calls"], given["panel_compared"]) == (90, 180, 90)
    metrics = service_metrics(given, {})
    assert [metrics[f"medix/judge/{name}"] for name in ("agreement", "member_1_yes", "member_3_yes")] == [0.0, 1.0, 0.0]
    shares = [metrics[f"medix/judge/member_{place}_dissent"] for place in (1, 2, 3)]
    assert shares[1] == 0.0 and shares[0] + shares[2] == pytest.approx(1.0)
    for client in clients:
        ray.kill(client)
