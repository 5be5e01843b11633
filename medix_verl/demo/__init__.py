# SPDX-License-Identifier: Apache-2.0
"""The demo: real medical pictures that two installed wheels carry, questions about them, and models small enough to
train on a CPU.

`pictures` lists the sources, `draw` crops and marks them, `questions` asks, `rows` puts samples together;
`tokenizer`, `policy`, `warmup` and `judge_model` make the tiny models; `build` makes all of it once, in one folder.
Nothing is downloaded, and nothing here is a benchmark: the models know ten pictures.
"""

__all__: list[str] = []
