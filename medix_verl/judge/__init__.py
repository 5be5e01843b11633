# SPDX-License-Identifier: Apache-2.0
"""Whether an answer matches its reference; nothing here knows of rewards.

- `judge` is the contract, the caller's side of every judge (GuardedJudge), and how a spec becomes one; `spec` is the
  recipe's section.
- `rule` says without a model when an answer is plainly right (equality) or plainly none (guards), and has the judge
  that asks nobody.
- `pool` is the judge that asks models: `prompt` writes requests, `reply` reads what comes back, `cache` keeps it,
  medix_verl.openai_client and medix_verl.runtime.dispatch send, `stats` counts.
- `service` puts a pool into an actor that all processes of a run share.
- `mock` is a server without a model, for tests and benchmarks.

A judge from another package is an entry point of the group `medix_verl.judges` (see examples/add_a_judge.py).
"""

__all__: list[str] = []
