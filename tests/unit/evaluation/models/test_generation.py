# SPDX-License-Identifier: Apache-2.0
"""How a model is asked to generate: what is refused, what reaches the server, and the flags that say it."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

import pytest

from medix_verl.cli.evaluate.generation_flags import HELP, add_generation_flags, generation_of
from medix_verl.errors import ConfigError
from medix_verl.evaluation.models.generation import GenerationSpec


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"temperature": -0.1}, "generation.temperature is -0.1"),
        ({"temperature": float("nan")}, "generation.temperature is nan"),
        ({"top_p": 0.0}, "generation.top_p is 0.0"),
        ({"max_tokens": 0}, "generation.max_tokens is 0"),
        ({"stop": ("",)}, "generation.stop"),
        ({"seed": -1}, "generation.seed is -1"),
        ({"generations": 4}, "at temperature 0, which is one answer 4 times; set temperature too"),
        ({"thinking_budget": 4096}, "thinking_budget is 4096, and an answer has 4096 tokens"),
        ({"extra_body": {"temperature": 1}}, "extra_body has 'temperature'; that is set by temperature"),
        ({"extra_body": {"messages": []}}, "extra_body has 'messages'"),
        ({"extra_body": {"x": {1, 2}}}, "generation.extra_body is not a JSON object"),
        ({"chat_template_kwargs": {"x": float("nan")}}, "generation.chat_template_kwargs is not a JSON object"),
    ],
)
def test_what_is_refused(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        GenerationSpec(**given)


def test_everything_that_is_set_is_in_the_facts_and_they_are_json() -> None:
    spec = GenerationSpec(temperature=0.5, stop=["a"], chat_template_kwargs={"levels": [1, 2]})  # type: ignore[arg-type]
    assert json.loads(json.dumps(spec.facts)) == spec.facts
    assert set(spec.facts) == {*HELP, "seed"} and spec.facts["chat_template_kwargs"] == {"levels": [1, 2]}


def parsed(*words: str) -> GenerationSpec:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    add_generation_flags(parser)
    return generation_of(parser.parse_args(list(words)))


def test_every_field_has_a_flag() -> None:
    assert parsed() == GenerationSpec()
    words = ["--temperature", "0.6", "--top-p", "0.9", "--max-tokens", "64", "--thinking-budget", "32", "--seed", "7"]
    words += ["--generations", "4", "--system-prompt", "Be short.", "--stop", "END", "###"]
    words += ["--chat-template-kwargs", '{"enable_thinking": false}', "--extra-body", '{"min_p": 0.1}']
    assert parsed(*words) == GenerationSpec(
        temperature=0.6,
        top_p=0.9,
        max_tokens=64,
        thinking_budget=32,
        stop=("END", "###"),
        seed=7,
        generations=4,
        system_prompt="Be short.",
        chat_template_kwargs={"enable_thinking": False},
        extra_body={"min_p": 0.1},
    )


def test_all_of_it_reaches_the_server() -> None:
    pytest.importorskip("inspect_ai")
    from types import SimpleNamespace

    from inspect_ai.model import ChatMessageSystem, ChatMessageUser

    from medix_verl.evaluation.inspect.model import ServedModel
    from medix_verl.evaluation.inspect.tasks import settings, with_system
    from medix_verl.evaluation.task_run import Answering

    spec = parsed(
        *("--temperature", "0.6", "--top-p", "0.9", "--max-tokens", "64", "--thinking-budget", "32", "--seed", "7"),
        *("--stop", "END", "--chat-template-kwargs", '{"a": 1}', "--extra-body", '{"min_p": 0.1}'),
    )
    run: Any = SimpleNamespace(answering=Answering("m", generation=spec))
    sent: list[dict[str, Any]] = []

    class Client:
        async def post(self, path: str, body: bytes) -> bytes:
            sent.append(json.loads(body))
            return json.dumps({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}).encode()

    model = ServedModel("m", "http://127.0.0.1:1/v1")
    model.client = Client  # type: ignore[method-assign, assignment]
    asked = with_system([ChatMessageUser(content="Which?")], "Be short.")
    asyncio.run(model.generate(asked, [], "none", settings(run)))
    assert sent[0] == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Which?"}],
        "temperature": 0.6,
        "top_p": 0.9,
        "max_tokens": 64,
        "seed": 7,
        "stop": ["END"],
        "min_p": 0.1,
        "chat_template_kwargs": {"a": 1},
        "thinking_token_budget": 32,
    }
    own = with_system([ChatMessageSystem(content="You are a nurse."), ChatMessageUser(content="?")], "Be short.")
    assert [message.role for message in own] == ["system", "user"] and own[0].text == "Be short.\n\nYou are a nurse."
    assert with_system(own, None) is own
