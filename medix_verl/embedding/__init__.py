# SPDX-License-Identifier: Apache-2.0
"""The room that says how similar two texts are; twin of medix_verl.judge, and it knows nothing of rewards.

`spec` is the recipe's section, `build` turns it into an encoder. `encoder` holds a sentence-transformers model,
`hashing` counts character n-grams and needs none.
"""

__all__: list[str] = []
