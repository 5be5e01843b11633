# SPDX-License-Identifier: Apache-2.0
"""Computes the similarity of two texts: the encoder behind the reward's semantic term. Does not depend on rewards.

`spec` is the recipe's section. `encoder` compares texts (batches, cache, credentialed rows) and builds what a spec
describes: `local` runs a sentence-transformers model, which `model` loads; `server` calls `/v1/embeddings`; `hashing`
needs no model. `service` is the encoder shared by a Ray run. `curve` maps a cosine to a term and fits that to labels.
"""

__all__: list[str] = []
