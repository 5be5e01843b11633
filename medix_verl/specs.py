# SPDX-License-Identifier: Apache-2.0
"""`@spec`: a frozen dataclass validated by pydantic, for a section of a recipe or of another settings file.

    @spec("judge")
    class JudgeSpec(Section):
        timeout_s: Positive = 60.0
        kind: Annotated[str, Choice(KINDS)] = "rule"

Values are refused, never converted: "0.8" is not a number, True is not an integer, NaN is never accepted. Lists become
tuples. What pydantic refuses is raised as a ConfigError with the section, the key and what is accepted. Rules between
fields are in `__post_init__`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, fields
from difflib import get_close_matches
from functools import cache, wraps
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, PlainValidator, ValidationError
from pydantic.dataclasses import dataclass
from typing_extensions import Self, dataclass_transform

from medix_verl.errors import ConfigError

__all__ = [
    "Amount",
    "Choice",
    "Count",
    "Integer",
    "Natural",
    "Number",
    "Positive",
    "Refused",
    "Section",
    "Share",
    "Text",
    "Words",
    "check",
    "read_mapping",
    "spec",
]

T = TypeVar("T")


class Refused(ValueError):
    """A rule's refusal of a value; the key's name is added to the message later."""

    def __init__(self, got: Any, words: str) -> None:
        """Store the refused value and the description of what is accepted."""
        super().__init__(got, words)
        self.got, self.words = got, words


def Number(low: float = 0.0, high: float = math.inf, above: bool = False) -> PlainValidator:
    """A finite number in [low, high], or in (low, high] if `above`; an integer stays an integer."""
    bound = f"{'above' if above else 'of at least'} {low:g}" + (f" and at most {high:g}" if high < math.inf else "")

    def read(value: Any) -> Any:
        right_kind = isinstance(value, (int, float)) and not isinstance(value, bool)
        if right_kind and math.isfinite(value) and low <= value <= high and not (above and value == low):
            return value
        raise Refused(value, f"set it to a finite number {bound}")

    return PlainValidator(read)


def Integer(low: int = 0, high: int | None = None) -> PlainValidator:
    """An integer of at least `low`, and at most `high` if given."""
    bound = f"of at least {low}" + ("" if high is None else f" and at most {high}")

    def read(value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value and (high is None or value <= high):
            return value
        raise Refused(value, f"set it to an integer {bound}")

    return PlainValidator(read)


def Choice(accepted: Iterable[str] | Callable[[], Iterable[str]]) -> PlainValidator:
    """A text from a closed set; a function is called for the set at each check."""

    def read(value: Any) -> Any:
        menu = list(accepted() if callable(accepted) else accepted)
        if isinstance(value, str) and value in menu:
            return value
        near = get_close_matches(str(value), menu, n=1)
        raise Refused(value, f"accepted: {', '.join(menu)}" + (f"; did you mean {near[0]!r}?" if near else ""))

    return PlainValidator(read)


def Words(accepted: Iterable[str]) -> PlainValidator:
    """A list of texts from a closed set, without repeats."""
    menu = tuple(accepted)
    word = Choice(menu).func

    def read(value: Any) -> Any:
        if not isinstance(value, tuple):
            raise Refused(value, f"give a list out of {', '.join(menu)}")
        return tuple(dict.fromkeys(word(item) for item in value))  # type: ignore[call-arg]

    return PlainValidator(read)


def _text(value: Any) -> Any:
    if isinstance(value, str) and value.strip():
        return value
    raise Refused(value, "set it to a non-empty text")


Amount = Annotated[float, Number()]
Positive = Annotated[float, Number(above=True)]
Share = Annotated[float, Number(high=1.0)]
Natural = Annotated[int, Integer()]
Count = Annotated[int, Integer(1)]
Text = Annotated[str, PlainValidator(_text)]


class Section:
    """Base class of specs that are read from a mapping."""

    __slots__ = ()
    section: ClassVar[str]
    label: ClassVar[str]

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Read the section; see medix_verl.specs.read_mapping for what is refused."""
        return read_mapping(cls, mapping)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def spec(section: str, label: str | Callable[[str], str] | None = None) -> Callable[[type[T]], type[T]]:
    """Make a class a frozen dataclass with slots, whose fields are checked strictly.

    Args:
        section: The section's name in messages; `{FIELD}` is replaced by that field's value.
        label: A key's name in messages: `{key}` is its name, `{flag}` its name with dashes, `{FIELD}` as above; None is
            SECTION.KEY; a function returns a key's name. A field's `metadata["label"]` takes precedence.
    """

    def make(plain: type[T]) -> type[T]:
        cls: Any = dataclass(frozen=True, slots=True, config=ConfigDict(strict=True, extra="forbid"))(plain)
        build = cls.__init__

        @wraps(build)
        def __init__(self: Any, *args: Any, **values: Any) -> None:
            given = {key: _frozen(value) for key, value in values.items()}
            refusal = None
            try:
                build(self, *map(_frozen, args), **given)
            except ValidationError as error:
                refusal = _refusal(cls, dict(zip(_names(cls), args, strict=False)) | given, error)
            # Not in the handler: pydantic's message repeats every value, which may be a URL with a password.
            if refusal is not None:
                raise refusal

        cls.__init__ = __init__
        cls.section, cls.label = section, label or f"{section}.{{key}}"
        return cls

    return make


def check(name: str, value: Any, rule: PlainValidator) -> None:
    """Check a value that is not a field, such as a flag.

    Raises:
        ConfigError: The rule does not accept it.
    """
    try:
        rule.func(value)  # type: ignore[call-arg]
    except Refused as refused:
        raise ConfigError(f"{name} is {refused.got!r}; {refused.words}") from None


def read_mapping(cls: type[T], mapping: Mapping[str, Any]) -> T:
    """Build a spec and its nested sections from a recipe's section (a dict, or a mapping of Hydra).

    Raises:
        ConfigError: The section is not a mapping, has an unknown key, or a value that `cls` does not accept.
    """
    made: Any = cls
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{_where(made)} is {mapping!r}; it must be a mapping with keys of {_names(cls)}")
    for key in mapping:
        if key not in _names(cls):
            raise _unknown(cls, mapping, key)
    inner = _inner(made)
    return cls(**{key: inner[key](value) if key in inner else value for key, value in mapping.items()})


class _Given(dict[str, Any]):
    """The given values; a field that was not given is None."""

    def __missing__(self, key: str) -> None:
        return None


def _where(cls: Any, given: Mapping[str, Any] | None = None) -> str:
    return str(cls.section.format_map(_Given(given or {})))


def _names(cls: Any) -> list[str]:
    return [item.name for item in fields(cls)]


@cache
def _inner(cls: Any) -> dict[str, Callable[[Any], Any]]:
    """Fields that are sections or tuples of sections, with the functions that read them."""
    found: dict[str, Callable[[Any], Any]] = {}
    for name, kind in get_type_hints(cls).items():
        inner = get_args(kind)[0] if get_origin(kind) is tuple else kind
        if isinstance(inner, type) and issubclass(inner, Section):
            found[name] = inner.from_mapping if inner is kind else _reader_of_several(inner)
    return found


def _reader_of_several(inner: type[Section]) -> Callable[[Any], Any]:
    return lambda values: tuple(map(inner.from_mapping, values))


def _frozen(value: Any) -> Any:
    """A value with lists converted to tuples, so that it cannot be changed from outside."""
    if type(value) in (list, tuple):
        return tuple(_frozen(item) for item in value)
    return {key: _frozen(item) for key, item in value.items()} if type(value) is dict else value


def _unknown(cls: Any, given: Mapping[str, Any], key: Any) -> ConfigError:
    known = _names(cls)
    near = get_close_matches(str(key), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "remove it"
    return ConfigError(f"{_where(cls, given)} has an unknown key {key!r}; accepted: {', '.join(known)}; {hint}")


def _refusal(cls: Any, given: dict[str, Any], error: ValidationError) -> Exception:
    """Convert pydantic's error: report unknown keys first, then missing ones, then the first refused value."""
    names = _names(cls)
    found = error.errors(include_url=False)
    keys = [item["loc"][0] if item["loc"] else "" for item in found]
    keys = [names[key] if isinstance(key, int) and key < len(names) else key for key in keys]
    for key in keys:
        if key and key not in names:
            return _unknown(cls, given, key)
    missing = [
        str(key) for key, item in zip(keys, found, strict=True) if item["type"] == "missing" and len(item["loc"]) == 1
    ]
    if missing:
        return ConfigError(f"{_where(cls, given)} lacks {', '.join(missing)}; write it there")
    cause = found[0].get("ctx", {}).get("error")
    if isinstance(cause, Exception) and not isinstance(cause, Refused):
        return cause
    key = str(keys[0])
    got, words = (cause.got, cause.words) if isinstance(cause, Refused) else (found[0]["input"], _words(found[0]))
    if words.startswith("set it to") and type(None) in get_args(get_type_hints(cls)[key]):
        words += " or to null"
    label = cls.__dataclass_fields__[key].metadata.get("label", cls.label)
    name = (
        label(key)
        if callable(label)
        else label.format_map(_Given({**given, "key": key, "flag": key.replace("_", "-")}))
    )
    return ConfigError(f"{name} is {got!r}; {words}")


def _words(item: Any) -> str:
    """What is accepted, for a value of the wrong type."""
    kinds = {
        "bool_type": "set it to true or false",
        "string_type": "set it to a text",
        "tuple_type": "set it to a list of one or more texts",
        "too_short": "set it to a list of one or more texts",
        "dict_type": "set it to a mapping",
        "mapping_type": "set it to a mapping",
    }
    kind = item.get("ctx", {}).get("class_name") or item.get("ctx", {}).get("class")
    return f"it must be a {kind}" if kind else kinds.get(item["type"], f"this is not accepted: {item['msg']}")
