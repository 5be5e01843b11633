# SPDX-License-Identifier: Apache-2.0
"""No secret comes through, wherever it stands; and what is none stays readable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.secrets import SECRET, find_secrets, is_secret_key, reads_environment, scrub, scrub_text


@pytest.mark.parametrize(
    "key",
    ["api_key", "WANDB_API_KEY", "a.b.hf_token", "HF_TOKEN", "password", "db_passwd", "OPENAI_KEY", "client-secret"],
)
def test_secret_keys(key: str) -> None:
    assert is_secret_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "api_key_env",
        "max_tokens",
        "pad_token",
        "ppo_max_token_len_per_gpu",
        "prompt_key",
        "tokenizer",
        "num_tokens",
        "author",
    ],
)
def test_other_keys(key: str) -> None:
    assert not is_secret_key(key)


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("+env_vars.WANDB_API_KEY=abc", f"+env_vars.WANDB_API_KEY={SECRET}"),
        ("env_vars={WANDB_API_KEY: abcdef, X: 1}", f"env_vars={{WANDB_API_KEY: {SECRET}, X: 1}}"),
        ("url=http://me:pass@host:1/v1", f"url=http://{SECRET}@host:1/v1"),
        ("url=http://host/v1?api_key=zzz&x=1", f"url=http://host/v1?api_key={SECRET}&x=1"),
        ("x='Bearer abcdefgh'", f"x='Bearer {SECRET}'"),
        ("note=sk-" + "a" * 20, f"note={SECRET}"),
        ("note=eyJ" + ".".join(["a" * 12] * 3), f"note={SECRET}"),
        ("note=x, before_eyJ" + ".".join(["a" * 12] * 3) + " after", f"note=x, {SECRET} after"),
        ("note=eyJ" + ".".join(["a" * 12] * 2), "note=eyJ" + ".".join(["a" * 12] * 2)),
        ("reward.medix.judge.api_key_env=OPENAI_API_KEY", "reward.medix.judge.api_key_env=OPENAI_API_KEY"),
        ("a.token=${oc.env:HF_TOKEN}", "a.token=${oc.env:HF_TOKEN}"),
        ("a.token=null", "a.token=null"),
        ("data.train_files=[a.parquet,b.parquet]", "data.train_files=[a.parquet,b.parquet]"),
    ],
)
def test_words_of_a_command_line(word: str, kept: str) -> None:
    secrets, _ = find_secrets({}, {}, [word])
    assert scrub(word, secrets) == kept


def test_a_secret_is_removed_wherever_it_stands() -> None:
    values = {
        "a": {"api_key": "topsecret"},
        "b": ["say topsecret twice", 3, None],
        "c": "from the environment: envsecret",
    }
    secrets, keys = find_secrets(values, {"MY_TOKEN": "envsecret", "PATH": "topmost", "X_TOKEN": "x"})
    text = json.dumps(scrub(values, secrets))
    assert "topsecret" not in text and "envsecret" not in text
    assert keys == ["a.api_key"]
    assert scrub(values, secrets)["b"] == [f"say {SECRET} twice", 3, None]


@given(
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=8, max_size=40),
    st.sampled_from(["{}", "a{}b", "x={}"]),
)
def test_no_value_of_a_secret_variable_survives(secret: str, form: str) -> None:
    secrets, _ = find_secrets({}, {"A_TOKEN": secret})
    assert secret not in json.dumps(scrub({"k": [form.format(secret)]}, secrets)).replace(SECRET, "")


def test_a_folder_in_the_environment_is_no_secret(tmp_path: Path) -> None:
    gone = f"{tmp_path}/gone"
    environment = {"PWD": gone, "OLDPWD": gone, "MY_CREDENTIALS": str(tmp_path), "A_TOKEN": "x" * 5000}
    assert find_secrets({}, environment)[0] == {"x" * 5000}


@pytest.mark.parametrize(
    "text",
    [
        "${oc.env:X}",
        "${ oc.env:X}",
        "${oc.env :X}",
        "${oc.env: X}",
        "a${oc.env:X}b",
        r"\\${oc.env:X}",
        "${oc.decode:${oc.env:N}}",
        "${oc.select:a,${ oc.env :N}}",
        "${somebodys:X}",
        "${${a}:X}",
        "${oc.env:X",
    ],
)
def test_texts_that_read_the_environment(text: str) -> None:
    assert reads_environment(text)


@pytest.mark.parametrize("text", ["", "a", "${a.b}", "${.a}", r"\${oc.env:X}", "${oc.select:a,1}", "$X", "oc.env:X"])
def test_texts_that_do_not(text: str) -> None:
    assert not reads_environment(text)


SETTINGS = """trainer:
  AWS_SECRET_ACCESS_KEY: wJalrXUtnFEMI
  secret_key: two words
  headers: {Authorization: Bearer abcdefgh12, x-api-key: zzzzzz}
  secretAccessKey: "quoted"
  proxy-authorization: Basic dXNlcjpwYXNzd29yZA==
  credentials:
    user: bob
    word: hunter2
  private_key: |
    first line
    second line
  tokens:
    - kept
  api_key_env: OPENAI_API_KEY
  token: null
  max_tokens: 5
  url: http://me:pass@host/v1
  hf_token: ${oc.env:HF_TOKEN}
- env.WANDB_API_KEY=abc
"""
GONE = ["wJalr", "two words", "words", "abcdefgh12", "zzzzzz", "quoted", "dXNl", "bob", "hunter2", "first", "second"]
STAYS = ["- kept", "api_key_env: OPENAI_API_KEY", "token: null", "max_tokens: 5", "${oc.env:HF_TOKEN}", "@host/v1"]


def test_a_file_of_settings() -> None:
    text = scrub_text(SETTINGS, {})
    assert [word for word in [*GONE, "me:pass", "abc\n"] if word in text] == []
    assert [word for word in STAYS if word not in text] == []


def test_a_message_with_a_secret_of_the_environment() -> None:
    assert scrub_text("HTTP 401 for key abcdef123", {"MY_API_KEY": "abcdef123"}) == f"HTTP 401 for key {SECRET}"
    assert "MIIE" not in scrub_text("-----BEGIN RSA PRIVATE" + " KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", {})


def test_all_below_a_secret_key_is_secret() -> None:
    values = {
        "credentials": {"user": "bob", "more": ["hunter2"], "n": 1},
        "token": "${a}secret${b}",
        "b": "say hunter2",
    }
    secrets, keys = find_secrets(values, {})
    assert scrub(values, secrets) == {
        "credentials": {"user": SECRET, "more": [SECRET], "n": 1}, "token": SECRET, "b": f"say {SECRET}",
    }  # fmt: skip
    assert keys == ["credentials.user", "credentials.more", "token"]
    assert scrub("a.token=$ecret123", find_secrets({}, {}, ["a.token=$ecret123"])[0]) == f"a.token={SECRET}"
