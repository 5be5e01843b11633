# SPDX-License-Identifier: Apache-2.0
"""Renders self-contained HTML pages of a finished evaluation, of a leaderboard, or of a training run (`run/`).

For an evaluation, `content` computes figures and warnings (the figures equal those of the evaluation's table),
`samples` selects samples, `published` has figures reported by others, and `page` renders the page. This package calls
no model, changes no record and uses no network.
"""

__all__: list[str] = []
