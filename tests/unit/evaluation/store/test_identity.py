# SPDX-License-Identifier: Apache-2.0
"""A server that lists names only: another model behind one is told by its answers, and one that varies by none."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.json_server import JsonHandler
from helpers.json_server import serving as serve
from medix_verl.errors import ConfigError
from medix_verl.evaluation.inspect.run import Served
from medix_verl.evaluation.models.source import Model
from medix_verl.evaluation.store.identity import is_another
from medix_verl.evaluation.store.manifest import begin, read_manifest
from medix_verl.evaluation.suite import Suite, SuiteSpec, wanted_manifest
from medix_verl.evaluation.tasks.table import find

Answers = Callable[[str], str]


@contextlib.contextmanager
def serving(answers: Answers) -> Iterator[str]:
    """A server that lists `m` and nothing of it."""

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            self.send({"data": [{"id": "m"}]})

        def do_POST(self) -> None:
            body = self.body()
            message = {"role": "assistant", "content": answers(body["messages"][0]["content"])}
            self.send({"choices": [{"message": message, "finish_reason": "stop"}]})

    with serve(Handler) as url:
        yield url


def note(out: Path, answers: Answers) -> list[str]:
    """One run into a folder, as far as the server is known; returns what was said."""
    said: list[str] = []
    with serving(answers) as url:
        spec = SuiteSpec(Model("m", url), (find("medqa"),), out)
        manifest = begin(out, wanted_manifest(spec, spec.tasks), (out / "eval.json").exists())
        Suite(spec, manifest, said.append, None).note_server(Served(url, "m"))
    return said


def test_another_model_behind_a_listed_name_stops_a_resumed_run(tmp_path: Path) -> None:
    assert note(tmp_path, lambda text: f"one: {text}") == []
    kept = read_manifest(tmp_path)["server"]["answers"]
    assert len(kept) == 4 and note(tmp_path, lambda text: f"one: {text}") == []
    with pytest.raises(ConfigError, match="begun with server.answers"):
        note(tmp_path, lambda text: f"two: {text}")
    # One answer of four may fall otherwise in another batch.
    assert note(tmp_path, lambda text: f"{'two' if 'fever' in text else 'one'}: {text}") == []
    assert read_manifest(tmp_path)["server"]["answers"] == kept


def test_a_model_whose_answers_vary_cannot_be_told_and_that_is_said(tmp_path: Path) -> None:
    numbers = itertools.count()
    for _ in range(2):
        (said,) = note(tmp_path, lambda text: f"{next(numbers)}")
        assert "cannot check" in said


def test_what_is_compared() -> None:
    assert is_another({"0": "a", "1": "b"}, {"0": "a", "1": "c"}) is False
    assert is_another({"0": "a", "1": "b", "2": "c"}, {"0": "a", "1": "x", "2": "x"}) is True
    assert is_another({"0": "a"}, {"1": "a"}) is None
