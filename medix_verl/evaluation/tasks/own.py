# SPDX-License-Identifier: Apache-2.0
"""Reads a user's own tasks: a file `mine.yaml`, a table `own:questions.csv`, or a set of `medix-verl prepare`.

    name: wrists                        # default: the file's name
    source: questions.csv               # relative to this file; a table, or what the converter reads (folder, hub id)
    columns: {question: Frage}          # for a table: our column name, and the table's
    split: test                         # rows with this value in the column `split`; without that column, all rows
    grading: binary                     # or report05, rubric
    metrics: [rouge_l, bertscore]       # for reports, in addition to the grade; default: those of the run
    prompt: published                   # prompt template of the questions; default: that of the run

A file contains one task or a list of tasks. `medix-verl prepare own --explain` lists the accepted columns and values.
A table is opened when its task is selected, so that a missing column is reported before a model is started.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from medix_verl.data.converters import registry
from medix_verl.data.converters.base import SPLITS, SetSpec, resolve_options
from medix_verl.data.converters.own import questions
from medix_verl.data.io.listing import is_hub_id
from medix_verl.data.prompts import template_text
from medix_verl.data.source import Source
from medix_verl.errors import ConfigError
from medix_verl.evaluation.grading.text_metrics import TEXT_METRICS
from medix_verl.evaluation.tasks.table import ANSWERS, METRICS, SETS, TaskSpec, offered_names, tasks
from medix_verl.specs import Choice, Count, Section, Text, Words, spec

__all__ = ["OwnTask", "is_own", "of_converter", "read_own"]

TABLE = "own:"
"""Prefix of a table's path."""
SUFFIXES = (".yaml", ".yml")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
KINDS = {"binary": ("open", "closed"), "report05": ("report",), "rubric": ("rubric",)}
"""Grading -> kinds of answers, for a task that lists none."""
GRADING = {"report": "report05", "rubric": "rubric"}
"""A converter's kind of task -> grading, where it is not `binary`."""
AGREEMENT = "the consent of the data's owner"


@spec("task {name!r}", label="task {name!r}: {key}")
class OwnTask(Section):
    """One task of a file.

    Raises:
        ConfigError: A field has a value that is not accepted.
    """

    source: Text | None = None
    """A path relative to the file's folder, or a hub id; None uses the converter's published set."""
    name: Text | None = None
    title: Text | None = None
    converter: Text = "own"
    """Name of a converter, as accepted by medix_verl.data.converters.registry.find."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """For a table: our name of a column -> the table's name."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The converter's options, as for `prepare --set`; paths are relative to the file's folder."""
    split: Annotated[str, Choice(SPLITS)] = "test"
    grading: Annotated[str, Choice(METRICS)] = "binary"
    answers: Annotated[tuple[str, ...], Words(ANSWERS)] = ()
    metrics: Annotated[tuple[str, ...], Words(TEXT_METRICS)] = ()
    """Text metrics of reports, in addition to the grade."""
    prompt: Text | None = None
    pictures: bool | None = None
    """Whether questions have pictures; None takes it from the table's columns, or from the converter."""
    licence: Text | None = None
    size: Count | None = None
    """Expected number of questions; another number is reported as a deviation."""
    credentialed: bool = False
    """Whether questions and answers must not leave the machine."""


def is_own(word: str) -> bool:
    """Whether a word is the path of a file with own tasks, or of a table."""
    return word.startswith(TABLE) or word.lower().endswith(SUFFIXES)


def read_own(word: str) -> list[TaskSpec]:
    """The tasks of a file, or of a table.

    Raises:
        ConfigError: There is no such file, or it does not define a task.
        DataError: A table cannot be read.
    """
    path = Path(word.removeprefix(TABLE)).expanduser()
    if not path.is_file():
        raise ConfigError(f"{word}: there is no such file; give a table as own:FILE, or a file .yaml with own tasks")
    if word.startswith(TABLE):
        return [task_of({"source": path.name}, path)]
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is not YAML ({' '.join(str(error).split())}); write `source: FILE.csv`") from error
    listed = found if isinstance(found, list) else [found]
    if not listed or not all(isinstance(item, dict) for item in listed):
        raise ConfigError(f"{path} holds no task; write a mapping with the key `source`, or a list of such mappings")
    return [task_of(item, path) for item in listed]


def task_of(given: Mapping[str, Any], path: Path) -> TaskSpec:
    """One task, from its mapping in a file."""
    named = re.sub(r"[^A-Za-z0-9_-]+", "_", path.stem).strip("_-")
    own = OwnTask.from_mapping({"name": named, **given, **texts(given)})
    called = f"task {own.name!r}"
    if own.name in SETS or not NAME.fullmatch(own.name or ""):
        raise ConfigError(f"{path}: {called} is not a task name; write letters, digits, _ and -, and none of a set")
    module = registry.find(own.converter)
    known: SetSpec = module.SPEC
    if own.split not in known.splits:
        raise ConfigError(f"{called}: split is {own.split!r}; {own.converter} has {', '.join(known.splits)}")
    if own.metrics and own.grading != "report05":
        raise ConfigError(f"{called}: metrics are of reports, and grading is {own.grading!r}; set grading: report05")
    if own.prompt is not None:
        template_text(own.prompt)
    stays = own.credentialed or known.credentialed or own.options.get("credentialed") == "yes"
    options = options_for(own, path.parent.absolute(), stays, called)
    place = place_of(own, path, called)
    pictures = own.pictures
    if pictures is None:
        resolved = resolve_options(called, registry.options_of(module), options)
        table = own.converter == "own"
        pictures = questions.has_pictures(Source(str(place), options=resolved), own.split) if table else known.pictures
    return TaskSpec(
        name=str(own.name),
        title=own.title or str(own.name),
        group="vlm" if pictures else "llm",
        converter=own.converter,
        split=own.split,
        metric=own.grading,
        answer_types=own.answers or KINDS[own.grading],
        licence=own.licence or known.licence,
        hub_id=None if isinstance(place, Path) else place,
        source=str(place) if isinstance(place, Path) else None,
        size=own.size,
        credential=(known.credential or AGREEMENT) if stays else "",
        credentialed=stays,
        pictures=pictures,
        options=options,
        prompt=own.prompt,
        metrics=own.metrics,
    )


def texts(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options as strings: YAML reads `yes` as true and `0.1` as a number."""
    options = given.get("options")
    if not isinstance(options, Mapping):
        return {}
    words = {True: "yes", False: "no"}
    return {"options": {key: words[value] if isinstance(value, bool) else str(value) for key, value in options.items()}}


def options_for(own: OwnTask, folder: Path, stays: bool, called: str) -> dict[str, str]:
    """The converter's options, including those that follow from the task's other keys."""
    offered = registry.options_of(registry.find(own.converter))
    made = {
        "columns": "".join(f"{ours}={theirs}\n" for ours, theirs in own.columns.items()),
        "licence": own.licence or "",
        "credentialed": "yes" if stays else "",
        "split_by": "any",
    }
    if own.columns and "columns" not in offered:
        raise ConfigError(f"{called}: columns is for tables, and {own.converter} is none; leave it out")
    given = {**{key: text for key, text in made.items() if text and key in offered}, **own.options}
    resolve_options(called, offered, given)
    # Paths are relative to the folder of the task's file, as `source` is.
    return {key: str(folder / Path(text).expanduser()) if offered[key].place else text for key, text in given.items()}


def place_of(own: OwnTask, path: Path, called: str) -> Path | str:
    """Where the rows are: a local path, or a hub id."""
    known: SetSpec = registry.find(own.converter).SPEC
    wanted = own.source or known.hub_id
    if wanted is None:
        raise ConfigError(f"{called} lacks source; write the path of its table, or of what {own.converter} reads")
    local = (path.parent / Path(wanted).expanduser()).absolute()
    if own.source is not None and local.exists():
        return local
    if own.converter == "own" or not is_hub_id(wanted):
        raise ConfigError(f"{called}: source is {wanted!r}, and there is no {local}; give a path from {path.name}")
    return wanted


def of_converter(name: str) -> list[TaskSpec]:
    """The default task of a converter's set: its test split, or else its validation split.

    Raises:
        ConfigError: There is no such set, it is read from the user's own files, or it has only a training split.
    """
    sets = registry.names()
    if name not in sets:
        near = get_close_matches(name.lower().replace("-", "_"), [*tasks(), *SETS, *offered_names(), *sets], n=1)
        hint = f"did you mean {near[0]!r}?" if near else "`medix-verl evaluate list` shows them"
        raise ConfigError(f"unknown task {name!r}; {hint}")
    known: SetSpec = registry.find(name).SPEC
    split = next((split for split in ("test", "val") if split in known.splits), None)
    if known.hub_id is None and not known.credentialed and not known.rows:
        raise ConfigError(f"{name!r} is read from your own files; name a table as own:FILE, or write a file .yaml")
    if split is None:
        raise ConfigError(f"{name!r} has no split but {', '.join(known.splits)}, which models are trained on")
    grading = GRADING.get(known.task, "binary")
    return [
        TaskSpec(
            name=re.sub(r"[^A-Za-z0-9_]+", "_", name),
            title=known.title,
            group="vlm" if known.pictures else "llm",
            converter=name,
            split=split,
            metric=grading,
            answer_types=KINDS[grading],
            licence=known.licence,
            hub_id=known.hub_id,
            size=known.rows.get(split),
            credential=known.credential or (AGREEMENT if known.credentialed else ""),
            credentialed=known.credentialed,
            pictures=known.pictures,
        )
    ]
