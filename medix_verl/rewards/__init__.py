# SPDX-License-Identifier: Apache-2.0
"""Turns an answer and its reference into an itemised score.

`spec` has the recipe's sections, `term` defines the interface of a term, `terms/` contains the package's terms,
`composite` calls the terms and is the only place that decides what "unscored" means, `keys` writes the score for verl
and for the command line. `manager`, `sampler` and `advantage` are the parts that verl loads; README.md follows one
answer through them.
"""

__all__: list[str] = []
