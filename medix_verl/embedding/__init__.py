# SPDX-License-Identifier: Apache-2.0
"""How similar two texts are: the encoder behind the reward's semantic term. Knows nothing of rewards.

`spec` is the recipe's section. `encoder` compares texts (batches, cache, credentialed rows) and builds what a spec
describes: `local` runs a sentence-transformers model, which `model` loads, `server` asks `/v1/embeddings`, `hashing`
needs no model; `service` is the shared one of a Ray run. `curve` says what a cosine is worth and fits that to labels.
"""

__all__: list[str] = []
