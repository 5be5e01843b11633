# SPDX-License-Identifier: Apache-2.0
"""A text that is handed on names no path and no server of the machine that it was made on."""

import pytest

from medix_verl.runs.checkpoints.portable import portable


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("data.train_files=/data/me/My Files/a.parquet", "data.train_files=PATH/a.parquet"),
        ("x=[/a/b/c.parquet,/d/e.parquet]", "x=[PATH/c.parquet,PATH/e.parquet]"),
        ("k='/abs/x y/z.yaml'", "k='PATH/z.yaml'"),
        ("~/models/x and ~me/y/z", "PATH/x and PATH/z"),
        ("file:///data/me/x.parquet", "PATH/x.parquet"),
        ("at http://node1:8085/v1, revision x", "at http://SERVER, revision x"),
        ("http://10.0.0.3:8085/v1 http://[::1]:80/v1", "http://SERVER http://SERVER"),
        ("http://judge.internal/v1?key=/a/b", "http://SERVER"),
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("outputs/demo/x.parquet a/b 1/2 mg/dl pkg://lab.terms Qwen/Qwen3", None),
    ],
)
def test_what_belongs_to_the_machine_is_taken_out(text: str, kept: str | None) -> None:
    assert portable(text) == (text if kept is None else kept)
