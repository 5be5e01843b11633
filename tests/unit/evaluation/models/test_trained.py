# SPDX-License-Identifier: Apache-2.0
"""A model is asked as it was trained: by its own file or by the record of its run; else it is told that nothing is."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from medix_verl.data.prompts import prompt_sha256
from medix_verl.data.trained_with import MODEL_FILE, RUN_FILE, TrainedWith, read_trained_with, write_trained_with
from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.models import trained
from medix_verl.evaluation.models.generation import GenerationSpec
from medix_verl.evaluation.models.source import Model
from medix_verl.evaluation.models.trained import as_trained
from medix_verl.thinking import Thinking

CONFIG = {
    "data": {"medix": {"prompt": "medix_short"}, "apply_chat_template_kwargs": {"enable_thinking": False}},
    "reward": {"medix": {"thinking": "auto", "special_tokens": "keep"}},
}
PLAIN = GenerationSpec()


@pytest.fixture(autouse=True)
def template(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The chat template opens the thinking, unless it is told not to think; returns what it was asked with."""
    asked: list[Any] = []

    def says(path: str, settings: Any = None) -> Thinking | None:
        asked.append(settings)
        if not Path(path).is_dir():
            return None
        return Thinking.CLOSED if (settings or {}).get("enable_thinking") is False else Thinking.OPEN

    monkeypatch.setattr(trained, "template_thinking", says)
    return asked


def run_in(folder: Path, config: Any = CONFIG) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUN_FILE).write_text(json.dumps({"format": 2, "config": config}))
    return folder


def model_in(folder: Path) -> Model:
    folder.mkdir(parents=True, exist_ok=True)
    return Model(str(folder))


def test_an_exported_model_is_asked_as_its_run(tmp_path: Path) -> None:
    model = model_in(tmp_path / "exported")
    write_trained_with(run_in(tmp_path / "run"), Path(model.name))
    found = json.loads((tmp_path / "exported" / MODEL_FILE).read_text())
    assert found["prompt"] == "medix_short" and found["prompt_sha256"] == prompt_sha256("medix_short")
    assert str(tmp_path) not in (tmp_path / "exported" / MODEL_FILE).read_text()
    asked = as_trained(model, None, "auto", PLAIN)
    assert (asked.template, asked.thinking, asked.notes) == ("medix_short", "closed", ())
    assert asked.generation.body == {
        "skip_special_tokens": False,
        "chat_template_kwargs": {"enable_thinking": False},
    }


def test_a_run_without_a_record_leaves_nothing_beside_the_model(tmp_path: Path) -> None:
    write_trained_with(tmp_path, tmp_path)
    assert not (tmp_path / MODEL_FILE).exists()


@pytest.mark.parametrize("place", ["run", "run/global_step_5/actor/huggingface", "run/global_step_5"])
def test_a_folder_of_a_run_is_asked_by_its_record(tmp_path: Path, place: str) -> None:
    run_in(tmp_path / "run")
    assert as_trained(model_in(tmp_path / place), None, "auto", PLAIN).template == "medix_short"


def test_a_record_of_another_run_above_is_not_the_models(tmp_path: Path) -> None:
    run_in(tmp_path)
    assert read_trained_with(Path(model_in(tmp_path / "models" / "base").name)) is None


def test_what_is_typed_comes_first_and_a_difference_is_told(tmp_path: Path) -> None:
    model = model_in(run_in(tmp_path / "run"))
    typed = GenerationSpec(chat_template_kwargs={"enable_thinking": True}, extra_body={"skip_special_tokens": True})
    asked = as_trained(model, "medix", "none", typed)
    assert (asked.template, asked.thinking, asked.generation) == ("medix", "none", typed)
    assert "--prompt medix, and" in asked.notes[0] and "medix_short" in asked.notes[0]
    assert as_trained(model, "medix_short", "auto", PLAIN).notes == ()


def test_that_nothing_is_known_is_told(tmp_path: Path) -> None:
    asked = as_trained(model_in(tmp_path / "model"), None, "auto", PLAIN)
    assert (asked.template, asked.thinking) == ("medix", "open")
    assert len(asked.notes) == 1 and "type --prompt NAME" in asked.notes[0]
    assert as_trained(model_in(tmp_path / "model"), "medix", "auto", PLAIN).notes == ()
    asked = as_trained(Model("owner/name"), "medix", "auto", PLAIN)
    assert asked.thinking == "none" and "--thinking open" in asked.notes[0]


def test_a_prompt_that_is_another_today_is_refused_or_told(tmp_path: Path) -> None:
    model = model_in(tmp_path / "model")
    for other in (TrainedWith(prompt="of_another_lab"), TrainedWith(prompt="medix", prompt_sha256="0" * 16)):
        (tmp_path / "model" / MODEL_FILE).write_text(json.dumps(asdict(other)))
        with pytest.raises(ConfigError, match="no such text"):
            as_trained(model, None, "auto", PLAIN)
        assert as_trained(model, "medix", "auto", PLAIN).notes


@pytest.mark.parametrize("text", ["{", '{"prompt": 3}', '{"colour": "red"}', "[]"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    model = model_in(tmp_path / "model")
    (tmp_path / "model" / MODEL_FILE).write_text(text)
    with pytest.raises((DataError, ConfigError), match=MODEL_FILE):
        as_trained(model, None, "auto", PLAIN)


def test_a_servers_folder_on_this_machine_says_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medix_verl.evaluation.store import provenance

    run_in(tmp_path / "run")
    listed = {"model": {"root": str(tmp_path / "run")}}
    monkeypatch.setattr(provenance, "server_facts", lambda *_: listed)
    model = Model("policy", "http://127.0.0.1:1/v1")
    assert as_trained(model, None, "auto", PLAIN).template == "medix_short"
    listed["model"] = {"root": "owner/name"}
    asked = as_trained(model, None, "auto", PLAIN)
    assert (asked.template, asked.thinking) == ("medix", "none") and asked.notes
