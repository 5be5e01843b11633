# SPDX-License-Identifier: Apache-2.0
"""The room that says how similar two texts are; twin of medix_verl.judge, and it knows nothing of rewards.

`spec` is the recipe's section; `connect` gives a process its encoder: `worker` is one shared Ray actor, `build` makes
one of its own. `encoder` batches and remembers, `passes` runs the model, `model` loads it, `stats` counts; `hashing`
counts character n-grams and needs no model. `curve` says what a cosine is worth, `calibrate` fits that to labels.
"""

__all__: list[str] = []
