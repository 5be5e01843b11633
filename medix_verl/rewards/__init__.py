# SPDX-License-Identifier: Apache-2.0
"""Turns an answer and its reference into an itemised score.

`spec` holds the recipe's sections, `term` says what a term is, `terms/` has those of the package, `composite` asks the
terms and decides what "unscored" means (only there), `keys` writes the score for verl and for the command line.
`manager`, `sampler` and `advantage` are what an unmodified verl is given; README.md follows one answer through them.
"""

__all__: list[str] = []
