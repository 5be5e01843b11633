# SPDX-License-Identifier: Apache-2.0
"""Renders the page of a training run as one self-contained HTML file, in the style of an evaluation's page.

Curves (SVG), pictures and the only script are embedded. The content security policy forbids other scripts and all
network access. All texts of records are escaped, and strings that look like keys are removed from settings. The same
records give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from medix_verl.evaluation.audit.agreement import MIN_CLUSTERS
from medix_verl.report.charts import figure
from medix_verl.report.page import TEMPLATES, finished, percent, script_and_hash
from medix_verl.report.run.content import Run, ShownAnswer, read_run
from medix_verl.report.run.dumps import OUTCOMES
from medix_verl.report.run.files import RunFiles
from medix_verl.report.run.record import CHECKPOINTS
from medix_verl.report.samples import clip
from medix_verl.runtime.files import write_text
from medix_verl.secrets import scrub_text

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["render_run", "settings_of", "write_run_page"]

SETTINGS_CHARS = 60_000
CHIPS = {"right": "right", "wrong": "wrong"}


def write_run_page(files: RunFiles, out: Path, data: Sequence[Path] = (), samples: int = 60) -> Run:
    """Write the page of a run; see `medix_verl.report.run.content.read_run`.

    Args:
        files: Where its records are.
        out: The HTML file; atomic write.
        data: Parquet files for pictures and modalities.
        samples: Most answers shown of training and of validation.
    """
    run = read_run(files, data, samples)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, render_run(run), errors="replace")
    return run


def render_run(run: Run) -> str:
    """The page as HTML."""
    script, digest = script_and_hash()
    style = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "run.css"))
    page = load_template().render(
        run=run,
        title=title_of(run.files),
        facts=facts_of(run),
        figures=[figure(panel) for panel in run.panels if any(line.points for line in panel.series)],
        empty=[panel.title for panel in run.panels if not any(line.points for line in panel.series)],
        counts={name: count_outcomes(shown) for name, shown in run.shown},
        totals={"Training": run.training.answers, "Validation": run.validation.answers},
        chips=CHIPS,
        settings=[(name_in(run.files.folder, path), settings_of(path)) for path in run.files.settings],
        style=style,
        script=script,
        script_hash=digest,
    )
    return finished(page)


@cache
def load_template() -> Template:
    """The compiled template, with the filters that it uses."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals["min_clusters"] = MIN_CLUSTERS
    environment.filters.update(clip=clip, percent=percent)
    return environment.from_string((TEMPLATES / "run.html.jinja").read_text(encoding="utf-8"))


def count_outcomes(shown: Sequence[ShownAnswer]) -> dict[str, int]:
    """Outcome -> number of shown answers, without zeros."""
    found = {outcome: sum(item.answer.outcome == outcome for item in shown) for outcome in OUTCOMES}
    return {outcome: count for outcome, count in found.items() if count}


def facts_of(run: Run) -> list[tuple[str, str]]:
    """The head of the page."""
    steps = run.metrics.training
    seconds = sum(run.metrics.values("timing_s/step"))
    facts = [("Steps", f"{len(steps)}, the last is {steps[-1]}" if steps else "no trained step recorded")]
    if seconds:
        facts.append(("Time of the steps", f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"))
    for name, dumps in (("training", run.training), ("validation", run.validation)):
        if dumps.answers:
            facts.append((f"Answers of {name}", f"{dumps.answers:,} in {len(dumps.steps)} files"))
    if run.files.metrics:
        facts.append(("Metrics", run.files.metrics.name))
    return facts


def title_of(files: RunFiles) -> str:
    """The name of the run's folder, also if only a part of it was named."""
    folder = (files.record.path.parent if files.record else files.folder).resolve()
    return folder.parent.name if folder.name == CHECKPOINTS else folder.name


def name_in(folder: Path, path: Path) -> str:
    """A file's path relative to the run's folder; its name if it is elsewhere."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def settings_of(path: Path) -> str:
    """A file of settings as text, of bounded length, without secrets."""
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read(SETTINGS_CHARS + 1)
    cut = f"{text[:SETTINGS_CHARS]}\n… cut" if len(text) > SETTINGS_CHARS else text
    return scrub_text(cut)
