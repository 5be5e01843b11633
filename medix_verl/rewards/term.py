# SPDX-License-Identifier: Apache-2.0
"""Defines the interface of a reward term, and makes objects from a recipe's `terms`.

A term is a class with a name and one coroutine, `score(answer)`, which returns a number in [0, 1], None if the term
does not apply, or Failed. It is part of the package (BUILT_IN), an entry point of the group `medix_verl.terms`, or in a
module or file that the recipe names. No code outside this folder depends on particular terms.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path
from typing import Any

from medix_verl.errors import ConfigError
from medix_verl.rewards.spec import TermSpec
from medix_verl.types import Failed, Failure, Reference, Response, TermKeys, Verdict

__all__ = ["ENTRY_POINTS", "Answer", "BoundTerm", "Graded", "Score", "Term", "checked", "keys_of", "term_class"]

ENTRY_POINTS = "medix_verl.terms"
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
RESERVED = frozenset(
    {
        "score",
        "acc",
        "reward",
        "reason",
        "answer",
        "id",
        "uid",
        "step",
        "input",
        "output",
        "gts",
        "data_source",
        "terms",
    }
    | {"modality_tag", "val", "encoder", "failed", "unscored", "lone"}
)
"""Names that have another meaning in a row, or in the training log below `medix/`."""
REDUCERS = ("max", "min", "sum", "total")
"""verl chooses a metric's reducer by these words in its name (verl/trainer/ppo/v1/utils.py, MetricsAggregator)."""
PACKAGE = "pkg://"


@dataclass(frozen=True, slots=True)
class Answer:
    """The input of a term: one answer."""

    response: Response
    """The parsed response; `response.answer` is None if there is no answer block."""
    reference: Reference
    """The right answer, and the question with its options."""
    decided: Verdict | None = None
    """The verdict if it needs no judge: right by equality, wrong by a guard; None if a judge must decide."""

    @property
    def text(self) -> str | None:
        """The content of the answer block."""
        return self.response.answer


@dataclass(frozen=True, slots=True)
class Graded:
    """A term's value with its hard verdict, for a term that decides right and wrong and has graded values."""

    value: float
    acc: bool


Score = float | Failed | Graded | None


class Term:
    """Base of a term with defaults; a class that only has `name` and `score` gets them too."""

    name: str = ""
    acc: bool = False
    """Whether this term decides right and wrong; a value of 0.5 or more is right, unless it returns Graded."""
    can_fail: bool = True
    """False for a term that always has a value or does not apply; rows then have no NAME_ok."""
    can_be_absent: bool = True
    """False for a term that applies to every answer; rows then have no NAME_applies."""
    tells_right: bool = False
    """Whether a renormalised score (failure.policy renormalise) may be based on this term alone."""

    async def score(self, answer: Answer) -> Score:
        """A number in [0, 1]; None if the term does not apply; Failed if it could not be computed."""
        raise NotImplementedError(f"{type(self).__name__} has no score; write: async def score(self, answer)")

    async def close(self) -> None:
        """Release the term's resources."""


@dataclass(frozen=True, slots=True)
class BoundTerm:
    """A term of a recipe, with its name and weight."""

    name: str
    """Its name in rows, logs and reports: its key in the recipe."""
    weight: float
    """Its weight in the content, of which only proportions matter; 0 for `format`, which is not part of the content."""
    term: Term

    @property
    def keys(self) -> TermKeys:
        """Its keys in a row."""
        return keys_of(self.name, type(self.term))


def keys_of(name: str, cls: type[Term]) -> TermKeys:
    """The keys of a term of this class in a row."""
    return TermKeys(name, cls.can_fail, cls.can_be_absent)


def term_class(name: str, spec: TermSpec, built_in: Mapping[str, type]) -> type[Term]:
    """The class of a term that a recipe lists, with the defaults of Term.

    Args:
        name: Its key in `reward.medix.terms`.
        spec: Its entry there.
        built_in: The package's own terms.

    Raises:
        ConfigError: The name is not allowed, or the class is not found or is not a term.
    """
    if name in built_in and spec.path is None:
        return built_in[name]
    check_name(name, built_in)
    found = load(name, spec) if spec.path is not None else entry_point(name, built_in)
    if not inspect.isclass(found) or not inspect.iscoroutinefunction(inspect.getattr_static(found, "score", None)):
        raise ConfigError(
            f"reward.medix.terms.{name}: {found!r} is not a reward term; give a class with a name and "
            "`async def score(self, answer)` that returns a number in [0, 1], None or Failed"
        )
    return found if issubclass(found, Term) else type(found.__name__, (found, Term), {})


def check_name(name: str, built_in: Mapping[str, type]) -> None:
    """Refuse a name that has another meaning in verl's log or in a row.

    Raises:
        ConfigError: The name is not allowed.
    """
    why = ""
    if name in built_in:
        why = "is a term of the package, which has no path; give yours another name"
    elif not NAME.fullmatch(name):
        why = "is not a name; use lower-case letters, digits and _"
    elif name in RESERVED or name.endswith(("_ok", "_applies")):
        why = "has another meaning in a row of scores; give it another name"
    elif word := next((word for word in REDUCERS if word in name), None):
        why = f"contains {word!r}, by which verl would reduce its metrics; give it another name"
    if why:
        raise ConfigError(f"reward.medix.terms.{name}: {name!r} {why}")


def load(name: str, spec: TermSpec) -> Any:
    """The object that `path` and `name` of a recipe refer to: in `pkg://MODULE`, or in a file.

    Raises:
        ConfigError: There is no such module, file or object.
    """
    path, wanted = str(spec.path), spec.name or name
    try:
        if path.startswith(PACKAGE):
            module = importlib.import_module(path[len(PACKAGE) :])
        else:
            module = load_file(Path(path.removeprefix("file://")).expanduser())
        return vars(module)[wanted]
    except KeyError as error:
        raise ConfigError(f"reward.medix.terms.{name}: {path} has no {wanted!r}; name a class in it") from error
    except Exception as error:
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ConfigError(
            f"reward.medix.terms.{name}.path is {path!r}, which cannot be imported ({cause}); accepted: "
            "pkg://PACKAGE.MODULE, or the path of a .py file"
        ) from error


def load_file(path: Path) -> Any:
    """The module of a file; a file is imported only once."""
    place = path.resolve(strict=True)
    known = f"medix_verl_term_{place.stem}_{abs(hash(str(place))):x}"
    if known not in sys.modules:
        source = importlib.util.spec_from_file_location(known, place)
        if source is None or source.loader is None:
            raise ImportError("it is no .py file")
        module = importlib.util.module_from_spec(source)
        sys.modules[known] = module
        try:
            source.loader.exec_module(module)
        except BaseException:
            del sys.modules[known]
            raise
    return sys.modules[known]


def entry_point(name: str, built_in: Mapping[str, type]) -> Any:
    """The class that an installed package registers under a name.

    Raises:
        ConfigError: No package does.
    """
    offered = {found.name: found for found in metadata.entry_points(group=ENTRY_POINTS)}
    if name not in offered:
        known = [*built_in, *sorted(offered)]
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "give its path: {path: pkg://PACKAGE.MODULE, name: CLASS}"
        raise ConfigError(f"reward.medix.terms has an unknown term {name!r}; accepted: {', '.join(known)}; {hint}")
    return offered[name].load()


def checked(score: Any) -> Score:
    """The term's result, or Failed if the result is not valid."""
    if score is None or isinstance(score, Failed):
        return score
    value = score.value if isinstance(score, Graded) else score
    if not isinstance(value, (int, float)) or not math.isfinite(value) or not 0 <= value <= 1:
        return Failed(Failure.INTERNAL, f"the term gave {value!r}; it must lie in [0, 1]")
    return score if isinstance(score, Graded) else float(value)
