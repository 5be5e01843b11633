# SPDX-License-Identifier: Apache-2.0
"""No secret comes through, wherever it stands; and what is none stays readable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.runs.secrets import SECRET, find_secrets, hide_variables, is_secret_key, scrub


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


def test_variables_keep_their_names_only() -> None:
    values = {"a": "${oc.env:HOME}/x", "b": ["${c}"], "c": 1, "d": "${oc.decode:${oc.env:N}}"}
    assert hide_variables(values) == {
        "a": r"\${oc.env:HOME}/x",
        "b": ["${c}"],
        "c": 1,
        "d": r"\${oc.decode:\${oc.env:N}}",
    }
