# SPDX-License-Identifier: Apache-2.0
"""Renders a leaderboard as one self-contained HTML file without scripts; all texts are escaped."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from medix_verl.evaluation.reports.leaderboard import Board, difference_text, p_text
from medix_verl.report.page import TEMPLATES, finished, percent

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["render_page"]


def render_page(board: Board) -> str:
    """The page."""
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return finished(load_template().render(board=board, style=style))


@cache
def load_template() -> Template:
    """The compiled template."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, difference=difference_text, p=p_text)
    return environment.from_string((TEMPLATES / "leaderboard.html.jinja").read_text(encoding="utf-8"))
