# SPDX-License-Identifier: Apache-2.0
"""The demo: real medical pictures from two installed wheels, questions about them, and models small enough to train on
a CPU.

`questions/table.py` lists the question sets: `pictures` has the sources, `draw` crops and marks them,
`picture_questions` makes questions, `picture_rows` makes samples; `ontology_rows` asks about an ontology's terms.
`models/policies.py` lists the policies: `tiny` is our own; `smollm2` is pretrained, and `weights` finds or downloads
its file; `warmup` teaches the format. `build` creates all of it once, in one folder; `run` trains and measures, and can
resume a stopped run (`resume`). Nothing else is downloaded. The demo is not a benchmark: there are only ten pictures.
"""

__all__: list[str] = []
