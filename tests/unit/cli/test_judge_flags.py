# SPDX-License-Identifier: Apache-2.0
"""A judge's flags: what they mean, what does not fit together, and that they are handed on as they were typed."""

from __future__ import annotations

import argparse

import pytest

from medix_verl.cli.judge.judge_flags import add_judge_flags, given_settings, judge_settings, judge_words
from medix_verl.errors import ConfigError
from medix_verl.evaluation.grading.judge_settings import judge_specs
from medix_verl.judge.spec import JudgeSpec

SERVED = ["--judge", "openai", "--judge-url", "http://127.0.0.1:1/v1", "--judge-model", "m"]


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_judge_flags(parser)
    return parser.parse_args(words)


def test_every_setting_that_changes_a_verdict_can_be_typed() -> None:
    more = ["--judge-structured", "json_schema", "--judge-prompt", "own.txt", "--judge-swap", "--no-judge-guard"]
    spec = JudgeSpec.from_mapping(judge_settings(parsed(*SERVED, *more)))
    assert (spec.structured, spec.prompt, spec.swap, spec.guard, spec.soft) == (
        "json_schema", "own.txt", True, False, False
    )  # fmt: skip


@pytest.mark.parametrize("url", ["http://user:hidden@h/v1", "https://hidden@h/v1", "http://h/v1?api_key=hidden"])
def test_a_secret_in_an_address_is_refused_unseen(url: str) -> None:
    words = ["--judge", "openai", "--judge-model", "m", "--judge-url", url]
    for made in (lambda: JudgeSpec.from_mapping(judge_settings(parsed(*words))),
                 lambda: judge_specs({"kind": "openai", "model": "m", "url": url})):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            made()
        assert "hidden" not in str(caught.value) and "write it as http://host:port/v1" in str(caught.value)


def test_what_a_request_has_can_be_typed() -> None:
    more = ["--judge-max-tokens", "2048", "--judge-extra-body", '{"top_k": 1}', "--judge-use-proxies"]
    spec = JudgeSpec.from_mapping(judge_settings(parsed(*SERVED, *more)))
    assert (spec.max_tokens, spec.extra_body, spec.use_proxies) == (2048, {"top_k": 1}, True)


@pytest.mark.parametrize("text", ["top_k=1", "[1]", "{", "[" * 100_000])
def test_extra_body_is_an_object(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(*SERVED, "--judge-extra-body", text)
    said = capsys.readouterr().err
    assert "is not a JSON object; write it as '{\"top_p\": 1}'" in said and len(said) < 5000


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--judge-soft", "--no-judge-guard", "--judge-api-key-env", "KEY"],
        ["--judge-max-tokens", "9", "--judge-extra-body", '{"a": [1, {"b": null}]}', "--no-judge-use-proxies"],
    ],
)
def test_flags_are_handed_on_as_they_were_typed(more: list[str]) -> None:
    args = parsed(*SERVED, *more)
    assert given_settings(parsed(*judge_words(args))) == given_settings(args)


def test_what_does_not_fit_together() -> None:
    with pytest.raises(ConfigError, match="--judge openai got no --judge-model; type --judge-url URL"):
        judge_settings(parsed("--judge", "openai", "--judge-url", "http://127.0.0.1:1/v1"))
    with pytest.raises(ConfigError, match="--judge-api-key-env was given with --judge rule; type --judge openai"):
        judge_settings(parsed("--judge-api-key-env", "KEY"))
    with pytest.raises(ConfigError, match="--judge-guard was given with --judge rule"):
        judge_settings(parsed("--no-judge-guard"))
