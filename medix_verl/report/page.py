# SPDX-License-Identifier: Apache-2.0
"""Renders the page of an evaluation as one self-contained HTML file.

Pictures and the only script are embedded. The content security policy forbids other scripts and all network access. All
texts of records are escaped. The same records give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from medix_verl.evaluation.audit.agreement import MIN_CLUSTERS, Estimate
from medix_verl.evaluation.audit.leakage import LOOKED_FOR
from medix_verl.evaluation.reports.details import FACET_TITLES, rotation_line, yes_line
from medix_verl.evaluation.reports.table import figures_of
from medix_verl.evaluation.stats.costs import costs_of
from medix_verl.evaluation.stats.missing import counting_of
from medix_verl.evaluation.store.read import read_evaluation
from medix_verl.evaluation.store.records import first_answers
from medix_verl.report.content import Beside, Content, build, warnings
from medix_verl.report.samples import OUTCOMES, Shown, clip, show
from medix_verl.report.tables import stackable
from medix_verl.runtime.files import write_text
from medix_verl.secrets import find_secrets, scrub

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["TEMPLATES", "finished", "percent", "render", "script_and_hash", "write_page"]

TEMPLATES = Path(__file__).with_name("templates")


def write_page(folder: Path, out: Path, beside: Beside | None = None, samples: int = 60, seed: int = 0) -> Content:
    """Write the page of an evaluation.

    Args:
        folder: The evaluation's folder.
        out: The HTML file; atomic write.
        beside: Additional inputs.
        samples: Most samples shown of each task.
        seed: Seed of their selection.

    Raises:
        DataError: The folder is not an evaluation, or its records are inconsistent.
    """
    content = build(read_evaluation(folder), beside, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, render(content, samples, seed), errors="replace")
    return content


def script_and_hash() -> tuple[str, str]:
    """The script of the pages, and its hash for the content security policy."""
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    return script, base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def render(content: Content, samples: int = 60, seed: int = 0) -> str:
    """The page as HTML."""
    evaluation = content.evaluation
    records = {task: first_answers(found) for task, found in evaluation.tasks().items()}
    shown = {
        line.task: show(evaluation.folder, records[line.task], samples, seed, evaluation.manifest)
        for line in content.lines
    }
    script, digest = script_and_hash()
    page = load_template().render(
        content=content,
        evaluation=evaluation,
        counting=counting_of(evaluation.manifest),
        warnings=warnings(content),
        shown=shown,
        outcomes=OUTCOMES,
        counts={task: count_outcomes(found) for task, found in shown.items()},
        totals={task: len(found) for task, found in records.items()},
        facts=facts_of(content),
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=digest,
    )
    return finished(page)


def finished(page: str) -> str:
    """Post-process a rendered page: tables that fit a phone; values of secret environment variables are removed."""
    return str(scrub(stackable(page), find_secrets({}, os.environ)[0]))


@cache
def load_template() -> Template:
    """The compiled template, with the filters that it uses."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals.update(min_clusters=MIN_CLUSTERS, looked_for=LOOKED_FOR, facet_titles=FACET_TITLES)
    environment.globals.update(yes_line=yes_line, rotation_line=rotation_line)
    environment.filters.update(
        clip=clip, figures_of=figures_of, percent=percent, signed=signed, decimal=decimal, sentence=sentence
    )
    return environment.from_string((TEMPLATES / "report.html.jinja").read_text(encoding="utf-8"))


def count_outcomes(shown: Sequence[Shown]) -> dict[str, int]:
    """How many of the shown samples have each outcome."""
    return {outcome: sum(item.outcome == outcome for item in shown) for outcome in OUTCOMES}


def facts_of(content: Content) -> list[tuple[str, str]]:
    """The head of the page."""
    manifest = content.evaluation.manifest
    settings = dict(manifest.get("settings") or {})
    versions = dict(manifest.get("versions") or {})
    asked = sum(line.summary.overall.counts.total for line in content.lines)
    facts = [
        ("Judge", f"{content.evaluation.judge}, protocol {content.evaluation.protocol}"),
        ("Tasks", f"{len(content.lines)}, {asked:,} questions"),
        ("Tokens", costs_of(manifest).line.removeprefix("Tokens: ")),
        ("Seed", str(manifest.get("seed", "not stated"))),
        ("Settings", ", ".join(f"{name} {value}" for name, value in settings.items() if value not in (None, [], {}))),
        ("Versions", ", ".join(f"{name} {value}" for name, value in versions.items())),
    ]
    return [(name, value) for name, value in facts if value]


def sentence(text: str) -> str:
    """A sentence with a capital letter."""
    return text[:1].upper() + text[1:]


def percent(value: Estimate | None) -> str:
    """A share with its interval."""
    return "no score" if value is None else value.shown(".1f", 100)


def signed(value: Estimate | None) -> str:
    """A difference of shares with its interval, in percentage points."""
    return "-" if value is None else value.shown("+.1f", 100)


def decimal(value: Estimate | None) -> str:
    """A coefficient with its interval."""
    return "-" if value is None else value.shown(".2f")
