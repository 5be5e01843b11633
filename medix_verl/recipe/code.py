# SPDX-License-Identifier: Apache-2.0
"""Lists the code that a configuration would load from outside verl and medix_verl, without loading any of it.

A recipe is code: verl imports the files and modules that it names, Hydra calls its `_target_`s, Ray applies its
`runtime_env`, and a model with `trust_remote_code` has its own code. A run executes all of it. `recipe check`, `doctor`
and `recipe install` print the list instead, and the user accepts lines with `--trust NAME`.
"""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import lru_cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

from medix_verl.errors import ConfigError
from medix_verl.evaluation.tasks.table import SETS, tasks
from medix_verl.judge.spec import installed_kinds
from medix_verl.recipe.beside import beside
from medix_verl.recipe.compose import changes, compose_with_hydra, leaves
from medix_verl.rewards.term import ENTRY_POINTS
from medix_verl.rewards.terms import BUILT_IN

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["Trust", "config_class", "foreign_code", "foreign_hydra", "not_accepted", "trust_word"]

Trust = bool | Collection[str]
"""True: all listed code may be loaded. Otherwise the names of the accepted code."""

_LOADED = re.compile(
    r"(?:^|\.)(?:_target_|external_lib|trust_remote_code|py_executable|worker_process_setup_hook|\w+_(?:class|cls|fqn|hook)"
    r"|(?:tool|interaction|agent_loop)_config_path)$"
)
"""Keys whose values verl, Hydra or Ray import or call, or read further such names from."""
_IN_RUNTIME = re.compile(r"(?:^|\.)runtime_env\.")
_HARMLESS_VARIABLES = ("OMP_NUM_THREADS", "VERL_FILE_LOGGER_ROOT")
_KNOWN = re.compile(r"^(?:pkg://)?(?:verl|medix_verl)\.[\w.]+$")
_CODE = re.compile(r"^(?:pkg|file)://|\.py$")
_NAME = re.compile(r"(?!(?:True|False)$)[\d.:/~-]*[^\W\d][\w.:/~-]*")
"""A value that names code; other values, such as the True of trust_remote_code, are accepted with their key."""
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_BESIDE = re.compile(r"/recipe/(?P<name>[a-z][a-z0-9_]*/[\w.-]+)$")
_OUR_CALLBACK = re.compile(r"^medix_verl\.runs(?:\.\w+)+$")


def not_accepted(lines: Iterable[str], trust: Trust) -> list[str]:
    """The lines of foreign_code or foreign_hydra that are not accepted.

    Args:
        lines: `KEY=VALUE`.
        trust: Accepted names: a whole line, its value, or the value's module or a parent package of it.
    """
    if isinstance(trust, bool):
        return [] if trust else list(lines)
    return [line for line in lines if not any(_is_accepted(line, word) for word in trust)]


def trust_word(line: str) -> str:
    """The argument of --trust that accepts a line, quoted for a shell."""
    value = _named(line)
    return shlex.quote(value if _NAME.fullmatch(value) else line)


def _is_accepted(line: str, word: str) -> bool:
    value = _named(line)
    if word in (line, f"{line.partition('=')[0]}={value}") or (word == value and _NAME.fullmatch(value) is not None):
        return True
    return _DOTTED.fullmatch(word) is not None and value.removeprefix("pkg://").startswith((f"{word}.", f"{word}:"))


def _named(line: str) -> str:
    """The value of a line; `lab/terms.py` for a file in the folder of the namespace lab's recipes."""
    value = line.partition("=")[2]
    found = _BESIDE.search(value)
    try:
        return found["name"] if found and beside(found["name"]) == value else value
    except ConfigError:
        return value


def foreign_code(config: DictConfig) -> list[str]:
    """`KEY=VALUE` for code outside verl and medix_verl that a composed configuration would load; imports nothing."""
    from omegaconf import OmegaConf

    values: Any = OmegaConf.to_container(config, resolve=True)
    found = dict(_in_values(leaves(values)))
    found |= dict(_by_name(values))
    return [f"{key}={value}" for key, value in found.items()]


def foreign_hydra(words: list[str]) -> list[str]:
    """`KEY=VALUE` for changes to Hydra's own section by a command line: callbacks, launchers, variables, loggers.

    Args:
        words: Overrides of verl's ppo_trainer, including the recipes.
    """
    found = changes(_bare_hydra(), compose_with_hydra(words).hydra)
    keys = {key: value for key, (_, value) in found.items() if key.startswith(_RUN_BY_HYDRA)}
    return [f"hydra.{key}={value}" for key, value in keys.items() if not _is_ours(key, value)]


@lru_cache(maxsize=1)
def _bare_hydra() -> DictConfig:
    """Hydra's own section without a recipe. The cached value must not be changed."""
    found: DictConfig = compose_with_hydra([]).hydra
    return found


_RUN_BY_HYDRA = ("callbacks.", "launcher.", "sweeper.", "hydra_logging.", "job_logging.", "env.", "job.env_")
"""Parts of Hydra's section that name code, or set environment variables that may."""


def _is_ours(key: str, value: Any) -> bool:
    return key.startswith("callbacks.") and key.endswith("._target_") and bool(_OUR_CALLBACK.match(str(value)))


def config_class(dotted: str) -> Any:
    """The verl configuration class of a `_target_`; None for anything else, which is not imported."""
    module, _, name = dotted.rpartition(".")
    if not module.startswith("verl."):
        return None
    try:
        found = vars(importlib.import_module(module)).get(name)
    except ImportError:
        return None
    return found if isinstance(found, type) and is_dataclass(found) else None


def _in_values(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        last = key.rpartition(".")[2]
        if value in (None, False, "", [], {}):
            continue
        if _IN_RUNTIME.search(key):
            if last not in _HARMLESS_VARIABLES:
                yield key, value
        elif last == "_target_":
            if config_class(str(value)) is None:
                yield key, value
        elif _LOADED.search(key) or any(_CODE.search(text) for text in _texts(value)):
            if not all(_KNOWN.match(text) for text in _texts(value)):
                yield key, value
        elif last == "path" and f"{key.rpartition('.')[0]}.name" in values:
            yield key, value


def installed_terms() -> dict[str, str]:
    """Terms of installed packages: name -> `module:class`."""
    return {
        point.name: point.value for point in metadata.entry_points(group=ENTRY_POINTS) if point.name not in BUILT_IN
    }


def _by_name(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Terms and judges that are entry points of installed packages."""
    terms = installed_terms()

    reward = (values.get("reward") or {}).get("medix") or {}
    for name, entry in (reward.get("terms") or {}).items():
        if isinstance(entry, Mapping) and name in terms and not entry.get("path"):
            yield f"reward.medix.terms.{name}", terms[name]
    judge, judges = reward.get("judge") or {}, installed_kinds()
    after = (values.get("medix") or {}).get("on_save_options") or {}
    for task in after.get("tasks") or ():
        if task not in tasks() and task not in SETS:
            yield "medix.on_save_options.tasks", f"{task}, which is not a task of ours"
    if (kind := (after.get("judge") or {}).get("kind")) in judges:
        yield "medix.on_save_options.judge.kind", judges[kind].value
    for place, one in (
        ("judge", judge),
        *((f"judge.panel.{i}", one) for i, one in enumerate(judge.get("panel") or ())),
    ):
        if isinstance(one, Mapping) and (kind := one.get("kind")) in judges:
            yield f"reward.medix.{place}.kind", judges[kind].value


def _texts(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]
