# SPDX-License-Identifier: Apache-2.0
"""The room that says whether an answer matches its reference; it knows nothing of rewards.

`spec` is the recipe's section, `build` turns it into a judge. `text` and `quantity` say when two texts are plainly the
same, `equality` when that makes an answer right without asking anybody. `rule` is the judge without a model, `client`
the one that asks an OpenAI-compatible server, with `prompt` for what is asked, `verdict` for how a reply is read and
`retry` for when to ask again.
"""

__all__: list[str] = []
