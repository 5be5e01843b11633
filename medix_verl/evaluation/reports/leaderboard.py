# SPDX-License-Identifier: Apache-2.0
"""Builds a leaderboard: one row per evaluation, one column per task, and all pairs compared by question.

The average of a row is over the tasks that all evaluations have, so that all averages measure the same quantity.
Without a common task there is no average. A figure is shown with its interval, its marks (≥ for a lower bound, ~ for an
approximate interval) and the number of scored questions. Bounds replace it if too many questions have no score
(medix_verl.evaluation.stats.missing). Two evaluations are compared on their common questions, by the mean difference
over tasks; p-values are corrected for the number of pairs (Holm). Figures from different judges do not compare models,
so the settings that differ are listed for each pair.

Only figures are shown and no text of a question, so credentialed tasks may be included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from medix_verl.errors import ConfigError, DataError
from medix_verl.evaluation.audit.agreement import LEGEND, Estimate
from medix_verl.evaluation.audit.spreadsheet import csv_text
from medix_verl.evaluation.grading.judge_settings import LOWER_BOUND
from medix_verl.evaluation.reports.details import axes_of, texts_of
from medix_verl.evaluation.reports.table import between, bound_mark
from medix_verl.evaluation.stats.missing import counting_of, mean_bounds, summary_of
from medix_verl.evaluation.stats.paired import Macro, holm, macro_difference, match, settings_apart
from medix_verl.evaluation.stats.summary import Summary, TaskSummary, macro_average
from medix_verl.evaluation.store.read import Evaluation, read_evaluation
from medix_verl.evaluation.store.records import cut_off

__all__ = ["FORMATS", "Board", "Cell", "Pair", "Row", "build_board", "difference_text", "p_text"]

ROUNDS = 10_000
OTHER_QUESTIONS = "an id stands for two questions; evaluate both on the same version of the sets"


@dataclass(frozen=True, slots=True)
class Cell:
    """One evaluation on one task."""

    task: TaskSummary
    mark: str
    """≥ if the figure is a lower bound."""
    cut: int
    """Answers that were cut off."""
    deviations: Sequence[str]

    @property
    def text(self) -> str:
        """The figure with its interval, or the bounds."""
        return figure(self.task.overall, self.mark)

    @property
    def counts(self) -> str:
        """The number of scored questions, and of unscored and cut-off ones."""
        counts = self.task.overall.counts
        lost = f" of {counts.total}" if counts.scored < counts.total else ""
        turned = ", options turned" if self.task.rotations is not None else ""
        return f"n {counts.scored}{lost}{turned}{f', {self.cut} cut off' if self.cut else ''}"


@dataclass(frozen=True, slots=True)
class Row:
    """One evaluation."""

    name: str
    judge: str
    protocol: str
    finished: bool
    cells: Mapping[str, Cell]
    average: Estimate | None
    """Over the tasks that all rows have."""
    bounds: tuple[float, float] | None
    mark: str
    notes: Sequence[str]
    """Restrictions of its figures."""

    @property
    def text(self) -> str:
        """The average with its interval, or its bounds."""
        if self.average is not None:
            return self.mark + self.average.shown(".1%")
        return "none" if self.bounds is None else f"{between(*self.bounds)} (bounds)"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two evaluations on their common questions; the difference is b minus a."""

    a: str
    b: str
    tasks: int
    questions: int
    macro: Macro | None
    p_holm: float | None
    apart: Sequence[str]
    """Names of the settings that differ."""
    cause: str = ""
    """Why they cannot be compared."""


@dataclass(frozen=True, slots=True)
class Board:
    """The whole leaderboard, the best row first."""

    rows: Sequence[Row]
    tasks: Sequence[str]
    shared: Sequence[str]
    """Tasks that all rows have."""
    pairs: Sequence[Pair]

    @property
    def notes(self) -> list[str]:
        """Notes for reading the figures."""
        found = [f"Averages are over the {len(self.shared)} tasks that all have: {', '.join(self.shared)}."]
        if not self.shared:
            found = ["There is no average: no task is in all of these evaluations."]
        judging = sorted({f"{row.judge}, {row.protocol}" for row in self.rows})
        if len(judging) > 1:
            found.append(f"Judged in {len(judging)} ways, so the figures do not compare models: {'; '.join(judging)}.")
        found += [f"{row.name}: {note}." for row in self.rows for note in row.notes]
        said: dict[str, list[str]] = {}
        for row in self.rows:
            for task, cell in row.cells.items():
                for text in cell.deviations:
                    said.setdefault(f"{task}: {text}", []).append(row.name)
        found += [f"{text} ({', '.join(names)})." for text, names in said.items()]
        figures = [row.text for row in self.rows] + [cell.text for row in self.rows for cell in row.cells.values()]
        found += [f"{LOWER_BOUND}."] if any("≥" in text for text in figures) else []
        pairs = [pair.macro.difference.mark for pair in self.pairs if pair.macro is not None]
        return found + ([f"{LEGEND}."] if any("~" in text for text in (*figures, *pairs)) else [])

    @property
    def metrics(self) -> list[tuple[str, str, str, Estimate]]:
        """Row, task, name and value of each metric that is in no average."""
        return [
            (row.name, task, name, it)
            for row in self.rows
            for task, cell in row.cells.items()
            for name, it in {**texts_of(cell.task), **{f"axis {k}": v for k, v in axes_of(cell.task).items()}}.items()
        ]


def build_board(folders: Sequence[Path], seed: int = 0, rounds: int = ROUNDS) -> Board:
    """Read evaluations and build their leaderboard.

    Raises:
        ConfigError: No folder was named, or one twice.
        DataError: A folder is not an evaluation.
    """
    if not folders or len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError(f"got {len(folders)} folders of evaluations; name each once: leaderboard DIR...")
    read = [read_evaluation(folder) for folder in folders]
    evaluations = dict(zip(names_of(read, folders), read, strict=True))
    cells = {name: cells_of(evaluation) for name, evaluation in evaluations.items()}
    tasks = list(dict.fromkeys(task for found in cells.values() for task in found))
    shared = [task for task in tasks if all(task in found for found in cells.values())]
    rows = sorted((row_of(name, evaluations[name], cells[name], shared) for name in evaluations), key=rank)
    # B is the better one, so that most differences are above 0.
    ranked = [(row.name, evaluations[row.name]) for row in rows]
    pairs = [pair_of(lower, upper, seed, rounds) for upper, lower in combinations(ranked, 2)]
    return Board(rows, tasks, shared, with_holm(pairs))


def names_of(evaluations: Sequence[Evaluation], folders: Sequence[Path]) -> list[str]:
    """Names of the rows: the model, with its folder if the model occurs twice."""
    models = Counter(evaluation.model for evaluation in evaluations)
    places = Counter(folder.resolve().name for folder in folders)
    found = []
    for evaluation, folder in zip(evaluations, folders, strict=True):
        name = folder.resolve().name
        place = name if places[name] == 1 else str(folder)
        found.append(evaluation.model if models[evaluation.model] == 1 else f"{evaluation.model} ({place})")
    return found


def cells_of(evaluation: Evaluation) -> dict[str, Cell]:
    """The figures of an evaluation."""
    counting, judge = counting_of(evaluation.manifest), evaluation.manifest["judge"]
    found = {}
    for task, records in evaluation.tasks().items():
        summary = summary_of(task, records, counting)
        cut = sum(cut_off(records).values())
        found[task] = Cell(summary, bound_mark(judge, summary), cut, evaluation.deviations(task))
    return found


def row_of(name: str, evaluation: Evaluation, cells: Mapping[str, Cell], shared: Sequence[str]) -> Row:
    """A row with its average."""
    wholes = [cells[task].task.overall for task in shared]
    return Row(
        name=name,
        judge=evaluation.judge,
        protocol=evaluation.protocol,
        finished=evaluation.finished,
        cells=cells,
        average=macro_average([it.spread for it in wholes]),
        bounds=mean_bounds(wholes),
        mark=max((cells[task].mark for task in shared), default=""),
        notes=notes_of(evaluation),
    )


def notes_of(evaluation: Evaluation) -> list[str]:
    """Notes that apply to all figures of an evaluation."""
    limit = dict(evaluation.manifest.get("settings") or {}).get("limit")
    return [
        *([] if evaluation.finished else ["not finished"]),
        *([f"only {limit} questions of each task"] if limit else []),
        *(["no score counts as wrong"] if counting_of(evaluation.manifest).errors == "wrong" else []),
    ]


def rank(row: Row) -> tuple[bool, float, str]:
    """Sort key of rows: by descending average, then rows without one by descending lower bound."""
    value = row.average.value if row.average is not None else (row.bounds or (0.0, 0.0))[0]
    return row.average is None, -value, row.name


def pair_of(a: tuple[str, Evaluation], b: tuple[str, Evaluation], seed: int, rounds: int) -> Pair:
    """Two evaluations on the questions with a score in both."""
    left, right = a[1].tasks(), b[1].tasks()
    apart = settings_apart(a[1], b[1])
    try:
        matched = [match(task, left[task], right[task]) for task in left if task in right]
    except DataError:
        # The error quotes the questions, which may be credentialed.
        return Pair(a[0], b[0], 0, 0, None, None, apart, OTHER_QUESTIONS)
    paired = [pairs for pairs in matched if pairs.both]
    if not paired:
        return Pair(a[0], b[0], 0, 0, None, None, apart, "no question has a score in both")
    macro = macro_difference(paired, seed, rounds)
    return Pair(a[0], b[0], len(paired), sum(len(pairs.both) for pairs in paired), macro, None, apart)


def with_holm(pairs: Sequence[Pair]) -> list[Pair]:
    """Each pair with its corrected p-value."""
    tested = [number for number, pair in enumerate(pairs) if pair.macro is not None]
    corrected = holm([pairs[number].macro.p_value for number in tested])  # type: ignore[union-attr]
    found = list(pairs)
    for number, value in zip(tested, corrected, strict=True):
        found[number] = replace(pairs[number], p_holm=value)
    return found


def figure(summary: Summary, mark: str) -> str:
    """A figure with its interval, or the bounds."""
    if summary.estimate is not None:
        return mark + summary.estimate.shown(".1%")
    if not summary.counts.scored or summary.worst is None or summary.best is None:
        return "no score"
    return f"{between(summary.worst, summary.best)} (bounds)"


# The forms -----------------------------------------------------------------------------------------------------------


def p_text(pair: Pair) -> str:
    """The p-value of a pair, and in brackets the corrected one."""
    if pair.macro is None or pair.p_holm is None:
        return ""
    mark = pair.macro.difference.mark
    return f"{mark}{pair.macro.p_value:.4f} ({mark}{pair.p_holm:.4f})"


def difference_text(pair: Pair) -> str:
    """The difference of a pair, or why there is none."""
    return f"not compared: {pair.cause}" if pair.macro is None else pair.macro.difference.shown("+.1%")


def tables(board: Board) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, head and rows of each table."""
    head = ["model", "judge", "average", *board.tasks]
    figures = [
        [row.name, row.judge, row.text, *(cell_text(row.cells.get(task)) for task in board.tasks)] for row in board.rows
    ]
    found = [("Scores", head, figures)]
    if board.pairs:
        pairs = [
            [
                pair.a,
                pair.b,
                str(pair.tasks),
                str(pair.questions),
                difference_text(pair),
                p_text(pair),
                ", ".join(pair.apart),
            ]
            for pair in board.pairs
        ]
        names = ["A", "B", "tasks", "questions", "B - A [95 %]", "p (Holm)", "differ in"]
        found.append(("Paired by question", names, pairs))
    if board.metrics:
        rows = [[name, task, metric, it.shown(".1%"), str(it.count)] for name, task, metric, it in board.metrics]
        found.append(("In no average", ["model", "task", "metric", "value [95 %]", "answers"], rows))
    return found


def cell_text(cell: Cell | None) -> str:
    """A cell with its counts; empty for a task that is not in the evaluation."""
    return "" if cell is None else f"{cell.text} ({cell.counts})"


def as_markdown(board: Board) -> str:
    """The leaderboard in Markdown."""
    lines = ["# Leaderboard", ""]
    for title, head, rows in tables(board):
        cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (head, *rows)]
        lines += [f"## {title}", "", f"| {' | '.join(cells[0])} |", "|---" * len(head) + "|"]
        lines += [*(f"| {' | '.join(row)} |" for row in cells[1:]), ""]
    return "\n".join([*lines, *(f"- {note}" for note in board.notes)]) + "\n"


LATEX = str.maketrans({
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"$\sim$", "^": r"\textasciicircum{}", "≥": r"$\geq$", "<": "$<$", ">": "$>$"},
    **{"\n": " ", "²": "$^2$", "Σ": r"$\Sigma$"},
})  # fmt: skip


def as_latex(board: Board) -> str:
    """The leaderboard as LaTeX tables; they need the packages booktabs and adjustbox."""
    parts = ["% \\usepackage{booktabs,adjustbox}"]
    for title, head, rows in tables(board):
        words = [[cell.translate(LATEX) for cell in row] for row in (head, *rows)]
        lines = [f"{' & '.join(row)} \\\\" for row in words]
        columns = "ll" + "r" * (len(head) - 2)
        parts += [
            "\\begin{table}\n\\centering\n\\begin{adjustbox}{max width=\\textwidth}",
            f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{lines[0]}\n\\midrule",
            "\n".join(lines[1:]),
            "\\bottomrule\n\\end{tabular}\n\\end{adjustbox}",
            f"\\caption{{{' '.join([f'{title}.', *(board.notes if title == 'Scores' else ())]).translate(LATEX)}}}",
            "\\end{table}",
        ]
    return "\n".join(parts) + "\n"


COLUMNS = (
    *("model", "beside", "judge", "protocol", "finished", "task", "metric", "value", "low", "high", "approximate"),
    *("lower_bound", "worst", "best", "scored", "unscored", "errors", "cut_off", "p", "p_holm"),
)


Line = dict[str, "str | float | None"]


def as_csv(board: Board) -> str:
    """The leaderboard as CSV, one line per figure, by COLUMNS; without a value if there are only bounds."""
    lines: list[Line] = []
    for row in board.rows:
        who: Line = {"model": row.name, "judge": row.judge, "protocol": row.protocol, "finished": str(row.finished)}
        lines.append({**who, "metric": "average", **numbers(row.average), **ends(row.mark, row.bounds)})
        for task, cell in row.cells.items():
            whole, counts = cell.task.overall, cell.task.overall.counts
            bounds = None if whole.worst is None or whole.best is None else (whole.worst, whole.best)
            counted: Line = {"scored": counts.scored, "unscored": counts.unscored, "errors": counts.errors}
            counted |= {"cut_off": cell.cut, **ends(cell.mark, bounds)}
            lines.append({**who, "task": task, "metric": "score", **numbers(whole.estimate), **counted})
    for name, task, metric, it in board.metrics:
        lines.append({"model": name, "task": task, "metric": metric, **numbers(it), "scored": it.count})
    for pair in board.pairs:
        if pair.macro is not None:
            who = {"model": pair.b, "beside": pair.a, "metric": "difference", "scored": pair.questions}
            tested: Line = {"p": round(pair.macro.p_value, 6), "p_holm": pair.p_holm and round(pair.p_holm, 6)}
            lines.append({**who, **numbers(pair.macro.difference), **tested})
    return csv_text(COLUMNS, ([line.get(name) for name in COLUMNS] for line in lines))


def ends(mark: str, bounds: tuple[float, float] | None) -> Line:
    """Whether a figure is a lower bound, and its worst and best case."""
    worst, best = bounds or (None, None)
    found: Line = {"lower_bound": str(bool(mark))}
    return found if worst is None or best is None else {**found, "worst": round(worst, 6), "best": round(best, 6)}


def numbers(estimate: Estimate | None) -> Line:
    """Value, ends of the interval, and whether the interval is approximate."""
    if estimate is None:
        return {}
    found: Line = {name: round(getattr(estimate, name), 6) for name in ("value", "low", "high")}
    return {**found, "approximate": str(estimate.approximate)}


FORMATS = {".md": as_markdown, ".tex": as_latex, ".csv": as_csv}
"""File suffix -> function that renders it; HTML is in medix_verl.report.leaderboard_page."""
