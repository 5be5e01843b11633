# SPDX-License-Identifier: Apache-2.0
"""The room that turns an answer and its reference into an itemised score.

`spec` holds the weights, `terms` is the arithmetic, `reference` reads a ground truth, `composite` asks the judge and
the encoder and decides what "unscored" means (only there), `keys` writes the score for verl and for the command line.
"""

__all__: list[str] = []
