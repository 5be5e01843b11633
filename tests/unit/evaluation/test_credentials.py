# SPDX-License-Identifier: Apache-2.0
"""The guard: which addresses credentialed data may go to, and where the framework writes for itself."""

import os
from pathlib import Path

import pytest

from medix_verl.errors import ConfigError
from medix_verl.evaluation.credentials import (
    LIBRARY_FOLDERS,
    check_address,
    direct_connections,
    foreign_part,
    inside,
    parse_networks,
)

NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "judge.clinic": ["10.1.2.3"],
    "two.faces": ["127.0.0.1", "93.184.216.34"],
    "nowhere": [],
}


def resolver(host: str) -> list[str]:
    return NAMES[host]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "http://127.9.9.9/v1",
        "http://[::1]:8000/v1",
        "http://localhost:8000/v1",
        "http://[::ffff:127.0.0.1]/v1",
        "https://user@127.0.0.1/v1",
    ],
)
def test_this_machine_is_local(url: str) -> None:
    assert not foreign_part(url, resolver=resolver)


@pytest.mark.parametrize(
    "url",
    [
        "http://10.1.2.3:8000/v1",  # private, and not listed
        "http://judge.clinic/v1",
        "https://93.184.216.34/v1",
        "http://two.faces/v1",  # one of its addresses is foreign
        "http://nowhere/v1",
        "http://127.0.0.1@93.184.216.34/v1",  # what looks like the host is the user's name
        "http://0.0.0.0/v1",
        "http://169.254.169.254/v1",
        "http:///v1",
        "http://[broken",
    ],
)
def test_everything_else_is_not(url: str) -> None:
    assert foreign_part(url, resolver=resolver)


def test_a_listed_network_is_local_and_nothing_beside_it() -> None:
    networks = parse_networks(["10.1.0.0/16", "fd00::/8"])
    assert not foreign_part("http://judge.clinic/v1", networks, resolver)
    assert not foreign_part("http://[fd12::1]/v1", networks, resolver)
    assert foreign_part("http://10.2.0.1/v1", networks, resolver)


@pytest.mark.parametrize(("text", "message"), [("10.1", "write it as"), ("8.8.8.0/24", "not a private range")])
def test_a_network_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_networks([text])


def test_the_refusal_says_what_to_type() -> None:
    with pytest.raises(ConfigError, match="judge.clinic is 10.1.2.3.*127.0.0.1.*allow_remote=True"):
        check_address("the judge", "http://judge.clinic/v1", ["mimic"], resolver=resolver)


def test_an_unknown_address_is_not_local() -> None:
    with pytest.raises(ConfigError, match="not known"):
        check_address("the model", None, ["mimic"])


def test_without_a_credentialed_task_any_address_will_do() -> None:
    check_address("the judge", "https://93.184.216.34/v1", [])


def test_proxies_are_hidden_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    with direct_connections():
        assert "HTTPS_PROXY" not in os.environ
    assert os.environ["HTTPS_PROXY"] == "http://proxy"


def test_the_framework_writes_inside_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "before")
    monkeypatch.delenv("INSPECT_CACHE_DIR", raising=False)
    with inside(tmp_path):
        assert all(Path(os.environ[name]).is_relative_to(tmp_path) for name in LIBRARY_FOLDERS)
        assert all(Path(os.environ[name]).is_dir() for name in LIBRARY_FOLDERS)
    assert os.environ["XDG_DATA_HOME"] == "before"
    assert "INSPECT_CACHE_DIR" not in os.environ


def test_other_libraries_caches_and_logins_stay_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    monkeypatch.setenv("TORCH_HOME", "/own/torch")
    for name in ("HF_HOME", "VLLM_CACHE_ROOT"):
        monkeypatch.delenv(name, raising=False)
    with inside(tmp_path):
        assert os.environ["XDG_CACHE_HOME"] != "/caches"
        assert os.environ["HF_HOME"] == "/caches/huggingface"
        assert os.environ["VLLM_CACHE_ROOT"] == "/caches/vllm"
        assert os.environ["TORCH_HOME"] == "/own/torch"
    assert "HF_HOME" not in os.environ and os.environ["XDG_CACHE_HOME"] == "/caches"


def test_without_xdg_the_caches_are_those_of_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somebody")
    for name in ("XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    with inside(tmp_path):
        assert os.environ["HF_HOME"] == "/somebody/.cache/huggingface"
    assert "XDG_CACHE_HOME" not in os.environ
