# SPDX-License-Identifier: Apache-2.0
"""The gate of credentialed rows: which judge may see them, what the refusal says, and that nothing is sent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from medix_verl.judge.credentials import Gate

from medix_verl.errors import ConfigError
from medix_verl.judge.pool import JudgePool
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Reference

OPEN = Reference("pneumonia")
CLOSED = Reference("pneumonia", credentialed_row="row 'q7' of mimic-cxr")
LOCAL, FOREIGN = "http://127.0.0.1:8085/v1", "http://judge.clinic/v1"
NAMES = {"judge.clinic": ["10.1.2.3"], "nowhere": []}


def gate(*urls: str, **settings: Any) -> Gate:
    spec = JudgeSpec.from_mapping({"kind": "openai", "url": list(urls), "model": "m", **settings})
    return Gate(spec, spec.urls, lambda host: NAMES[host])


@pytest.mark.parametrize(
    ("urls", "settings"),
    [
        ((LOCAL,), {}),
        ((LOCAL, "http://[::1]:8000/v1"), {}),
        ((FOREIGN,), {"local_networks": ["10.1.0.0/16"]}),
        ((FOREIGN,), {"allow_credentialed": True}),
        ((FOREIGN,), {"kind": "verl"}),
    ],
    ids=["loopback", "two of it", "the user's network", "overridden", "served by the run"],
)
def test_who_may_see_it(urls: tuple[str, ...], settings: dict[str, Any]) -> None:
    gate(*urls, **settings).check(CLOSED)


@pytest.mark.parametrize(
    ("urls", "settings", "cause"),
    [
        ((FOREIGN,), {}, "judge.clinic is 10.1.2.3"),
        ((LOCAL, FOREIGN), {}, "judge.clinic is 10.1.2.3"),
        ((FOREIGN,), {"local_networks": ["10.2.0.0/16"]}, "judge.clinic is 10.1.2.3"),
        (("http://nowhere/v1",), {}, "nowhere has no address"),
    ],
    ids=["another host", "one of two", "another network", "no address"],
)
def test_who_may_not(urls: tuple[str, ...], settings: dict[str, Any], cause: str) -> None:
    closed = gate(*urls, **settings)
    closed.check(OPEN)
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            closed.check(CLOSED)
        for part in ("row 'q7' of mimic-cxr is credentialed", urls[-1], cause, "127.0.0.1", "judge.kind=verl",
                     "judge.local_networks=", "reward.medix.judge.allow_credentialed=true",
                     "--allow-remote-credentialed"):  # fmt: skip
            assert part in str(caught.value)


def test_the_pool_refuses_even_an_answer_that_needs_no_call() -> None:
    pool = JudgePool(JudgeSpec(kind="openai", url="http://93.184.216.34/v1", model="m"))
    with pytest.raises(ConfigError, match="row 'q7' of mimic-cxr"):
        asyncio.run(pool.ask("pneumonia", CLOSED))
    assert asyncio.run(pool.ask("pneumonia", OPEN)).correct


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"local_networks": "10.1.0.0/16"}, "judge.local_networks is '10.1.0.0/16'; write a list"),
        ({"local_networks": ["8.8.8.0/24"]}, "judge.local_networks 8.8.8.0/24 is not a private range"),
        ({"allow_credentialed": "yes"}, "judge.allow_credentialed is 'yes'; set it to true or false"),
    ],
)
def test_settings_that_are_not_accepted(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        JudgeSpec.from_mapping(settings)
