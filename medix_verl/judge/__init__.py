# SPDX-License-Identifier: Apache-2.0
"""The room that says whether an answer matches its reference; it knows nothing of rewards.

`spec` is the recipe's section; `build` turns it into a judge of one process, `connect` into the run's shared one.

- Without a model: `text` and `quantity` say when two texts are plainly the same, `equality` when that makes an answer
  right without asking anybody, `guard` what is plainly no answer, `rule` is the judge that asks nobody.
- One question: `prompt` is what is asked, `question` adds the key of its verdict, `wire` makes bytes of it and reads
  the answer, `verdict` and `soft` read the reply.
- Many questions: `pool` is the judge, with `cache` and `store` for verdicts that were given before, `dispatch` for
  limits and retries, `endpoint`, `breaker`, `rate` and `retry` for one server and when to ask it, `stats` for what
  was done.
- A whole conversation, for an evaluation: `chat` makes bytes of it, `pool` sends it.
- Many processes: `worker` holds the pool in a Ray actor, `remote` is how a process asks it.
- `mock` is a server without a model, for tests and benchmarks.
"""

__all__: list[str] = []
