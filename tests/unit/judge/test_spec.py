# SPDX-License-Identifier: Apache-2.0
"""JudgeSpec: defaults, and one refusal for each field."""

from dataclasses import FrozenInstanceError

import pytest

from medix_verl.errors import ConfigError
from medix_verl.judge.spec import JudgeSpec


def test_defaults_and_mapping() -> None:
    assert JudgeSpec.from_mapping({}) == JudgeSpec()
    assert JudgeSpec.from_mapping({"kind": "openai", "timeout_s": 5}).timeout_s == 5
    with pytest.raises(FrozenInstanceError):
        JudgeSpec().kind = "openai"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"knid": "rule"}, "judge has an unknown key 'knid'; accepted: kind, .*; did you mean 'kind'"),
        ({"zzz": 1}, "unknown key 'zzz'.*; remove it"),
        ({3: 1}, "unknown key 3"),
        ({"kind": "opnai"}, "judge.kind is 'opnai'; accepted: rule, openai, verl; did you mean 'openai'"),
        ({"structured": "json"}, "judge.structured is 'json'"),
        ({"url": ""}, "judge.url is ''"),
        ({"url": "host:8000"}, "judge.url is 'host:8000'; write it as http://host:port/v1"),
        ({"model": 3}, "judge.model is 3"),
        ({"prompt": None}, "judge.prompt is None"),
        ({"timeout_s": 0}, "judge.timeout_s is 0; .* above 0"),
        ({"max_retries": -1}, "judge.max_retries is -1"),
        ({"max_concurrent": 0}, "judge.max_concurrent is 0"),
        ({"max_candidate_chars": 1.5}, "judge.max_candidate_chars is 1.5"),
        ({"tolerance": 2}, "judge.tolerance is 2"),
        ({"url": "http://user:word@host/v1"}, r"^judge.url holds credentials \(USER:PASSWORD@\); write it as"),
        ({"url": []}, "judge.url is an empty list; name a server"),
        ({"url": ["http://a/v1", "b"]}, "judge.url is 'b'; write it as"),
        ({"url": ["http://a/v1", None]}, "judge.url is None"),
        ({"url": ["http://a/v1", "http://b/v1", "http://a/v1"]}, "judge.url names 'http://a/v1' twice"),
        ({"max_per_minute": 0}, "judge.max_per_minute is 0"),
        ({"max_inflight": 0}, "judge.max_inflight is 0"),
        ({"cache": ""}, "judge.cache is ''"),
        ({"cache_size": 0}, "judge.cache_size is 0"),
        ({"breaker_failures": 0}, "judge.breaker_failures is 0"),
        ({"breaker_seconds": 0}, "judge.breaker_seconds is 0"),
        ({"breaker": "never"}, "judge.breaker is 'never'; accepted: wait, stop"),
        ({"options": ["a"]}, r"judge.options is .*'a'.*; set it to a mapping"),
        ({"options": {"a": 1}}, "judge.options has a and judge.kind 'rule' takes none; remove them"),
        ({"max_tokens": 0}, "judge.max_tokens is 0; set it to an integer of at least 1 or to null"),
        ({"use_proxies": "yes"}, "judge.use_proxies is 'yes'; set it to true or false"),
        ({"extra_body": "top_k"}, "judge.extra_body is 'top_k'; set it to a mapping"),
        ({"url": "http://h/v1/chat/completions"}, "judge.url ends in /chat/completions, .*type judge.url=http://h/v1"),
        ({"soft": 1}, "judge.soft is 1; set it to true or false"),
        ({"swap": "yes"}, "judge.swap is 'yes'"),
        ({"worker": None}, "judge.worker is None"),
        ({"workers": 0}, "judge.workers is 0"),
        ({"workers": 4, "max_concurrent": 3}, "judge.max_concurrent is 3 for 4 workers; set judge.workers=3"),
        ({"soft": True, "structured": "json_schema"}, "whose first token is a brace; set judge.structured=choice"),
        ("rule", "judge is 'rule'; it must be a mapping"),
    ],
)
def test_refusals(section: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        JudgeSpec.from_mapping(section)  # type: ignore[arg-type]


def test_a_recipes_null_is_no_extra_body() -> None:
    assert JudgeSpec.from_mapping({"extra_body": None}) == JudgeSpec() == JudgeSpec(extra_body={})


def test_one_address_or_several() -> None:
    assert JudgeSpec().urls == ()
    assert JudgeSpec(url="http://a/v1").urls == ("http://a/v1",)
    several = JudgeSpec.from_mapping({"url": ["http://a/v1", "https://b/v1"]})
    assert several.url == several.urls == ("http://a/v1", "https://b/v1")
    assert hash(several) == hash(JudgeSpec(url=("http://a/v1", "https://b/v1")))
