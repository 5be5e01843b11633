# SPDX-License-Identifier: Apache-2.0
"""Checks whether an answer matches its reference; independent of rewards.

- `judge` has the Judge protocol, the checks that run before every judge (GuardedJudge) and the factory that builds a
  judge from a spec; `spec` is the judge section of a recipe.
- `rule` works without a model: it accepts answers that equal the reference (equality), rejects texts that are not
  answers (guards), and has the rule judge.
- `pool` is the judge that asks models: `prompt` writes requests, `reply` parses replies, `cache` stores them,
  medix_verl.openai_client and medix_verl.runtime.dispatch send requests, `stats` counts.
- `panel` asks several judges and takes the majority verdict; `pictures` reads and encodes the pictures of a row.
- `service` runs a pool in a Ray actor that all processes of a run share.
- `mock` is a server without a model, for tests and benchmarks.

A judge from another package is an entry point of the group `medix_verl.judges` (see examples/add_a_judge.py).
"""

__all__: list[str] = []
