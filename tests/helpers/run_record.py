# SPDX-License-Identifier: Apache-2.0
"""A record of a run, with every field."""

from medix_verl.runs.record import DataFile, Identity, RunRecord

RECORD = RunRecord(
    started="2026-01-31T12:00:00Z",
    overrides=("+recipe=[medix,medix_lora]", "data.train_files=my file.parquet"),
    recipes=("medix", "medix_lora"),
    config={"data": {"seed": 1, "x": [1, None]}},
    versions={"python": "3.11.0", "vllm": None},
    commits={"medix": "abc+changes"},
    data=(DataFile("train", "my file.parquet", "00ff", 12, 345), DataFile("val", "s3://b/v.parquet", note="far away")),
    model=Identity("hub", "Qwen/Qwen3-VL-8B-Instruct", revision="abc"),
    judge=Identity("openai", "judge", "http://h/v1"),
    encoder=Identity("off"),
    seed=1,
)
