# SPDX-License-Identifier: Apache-2.0
"""No text makes the package slow: every regular expression and every reader of texts takes time linear in its input.

A policy under training writes the answers, a server writes the replies, and rows come from anywhere. The expressions
are found, not listed: those that modules hold, and those that a call such as `re.search("...", text)` has in its
source. For each, hostile texts are made from its own parts: what leads to a repetition, then what the repetition
takes, thousands of times, then something that fails.
"""

import ast
import importlib
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

try:
    from re import _constants as codes
    from re import _parser as parser
except ImportError:  # Python 3.10
    import sre_constants as codes
    import sre_parse as parser

PACKAGE = Path(__file__).parents[2] / "medix_verl"
HEAVY = {"data/dataset.py", "rewards/manager.py", "rewards/sampler.py", "rewards/advantage.py", "cpu/platform.py"}
"""Files that load torch and verl; their expressions are read from the source only."""
HEAVY |= {"__main__.py"}
OPS = {"match", "fullmatch", "search", "finditer", "findall", "sub", "subn", "split"}

SHORT, LONG = 24, 4000
"""Lengths of a hostile text: at the first, an exponential expression shows; at the second, a quadratic one."""
SHORT_S, LONG_S = 0.01, 0.0025
"""What a linear expression stays below; what does not is measured again, by its growth."""
GROWTH = 8.0
"""Four times the length takes four times as long where the time is linear, and sixteen times where it is quadratic."""
ALPHABET = "a0 _.,:;-+/\\\"'<>()[]{}=|*@#$%&!?~^\n\tA肺é"
END = "\x01"
"""A character that few repetitions take, so that what came before fails."""


# --- where the expressions are ---


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def held(value: Any) -> Iterator[re.Pattern[str]]:
    """The compiled expressions in a value, however deep in tuples, lists, sets and mappings."""
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from held(item)
    elif isinstance(value, (tuple, list, set, frozenset)):
        for item in value:
            yield from held(item)


def literal(node: ast.expr) -> str | None:
    """The expression in a call's first argument, with a word for each value that is put in; None where it is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "value" for part in node.values)
    return None


def calls_of_re(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "re" and node.func.attr != "escape":
                yield node.func.attr, node.args[0]


def operations() -> dict[str, set[str]]:
    """Name of a variable -> what is done with the expression in it, anywhere in the package."""
    found: dict[str, set[str]] = defaultdict(set)
    for _, tree in sources():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in OPS
                and isinstance(node.value, (ast.Name, ast.Attribute))
            ):
                found[node.value.id if isinstance(node.value, ast.Name) else node.value.attr].add(node.attr)
    return found


def expressions() -> dict[tuple[str, re.Pattern[str]], set[str]]:
    """(where, expression) -> what is done with it; `search` where that cannot be seen."""
    found: dict[tuple[str, re.Pattern[str]], set[str]] = {}
    used = operations()
    for name, tree in sources():
        if name not in HEAVY:
            module = importlib.import_module(".".join((PACKAGE.name, *Path(name).with_suffix("").parts)))
            for key, value in vars(module).items():
                for pattern in held(value):
                    if isinstance(pattern.pattern, str):
                        found.setdefault((f"{name}: {key}", pattern), set()).update(used.get(key) or {"search"})
        for function in ast.walk(tree):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for operation, argument in calls_of_re(function):
                    text = literal(argument)
                    if text is not None:
                        place = (f"{name}: {function.name}", re.compile(text))
                        found.setdefault(place, set()).add("search" if operation == "compile" else operation)
    return found


# --- what is hostile to them ---


def accepted(items: list[Any]) -> list[str]:
    """Characters that a set such as [a-z_] takes."""
    own = [chr(value) for code, value in items if code is codes.LITERAL]
    own += [chr(value[0]) for code, value in items if code is codes.RANGE]
    taken = [char for char in dict.fromkeys([*ALPHABET, *own]) if takes(items, char)]
    return taken or [END]


def takes(items: list[Any], char: str) -> bool:
    kinds = {
        codes.CATEGORY_SPACE: str.isspace,
        codes.CATEGORY_DIGIT: str.isdigit,
        codes.CATEGORY_WORD: lambda one: one.isalnum() or one == "_",
        codes.CATEGORY_NOT_SPACE: lambda one: not one.isspace(),
        codes.CATEGORY_NOT_DIGIT: lambda one: not one.isdigit(),
        codes.CATEGORY_NOT_WORD: lambda one: not (one.isalnum() or one == "_"),
    }
    hit = any(
        (code is codes.LITERAL and ord(char) == value)
        or (code is codes.RANGE and value[0] <= ord(char) <= value[1])
        or (code is codes.CATEGORY and kinds[value](char))
        for code, value in items
    )
    return hit != any(code is codes.NEGATE for code, _ in items)


def chars_of(code: Any, value: Any) -> list[str] | None:
    """Characters that an element of one character takes; None for any other element."""
    if code is codes.LITERAL:
        return [chr(value)]
    if code is codes.NOT_LITERAL:
        return [char for char in ALPHABET if ord(char) != value]
    if code is codes.ANY:
        return list(ALPHABET.replace("\n", ""))
    return accepted(value) if code is codes.IN else None


REPEATS = {codes.MAX_REPEAT, codes.MIN_REPEAT, *filter(None, [getattr(codes, "POSSESSIVE_REPEAT", None)])}


def inside(code: Any, value: Any) -> list[Any]:
    """The expressions within an element: branches, a group's or a repetition's content."""
    if code is codes.BRANCH:
        return list(value[1])
    if code is codes.SUBPATTERN or code in REPEATS:
        return [value[-1]]
    if code is codes.ASSERT:
        return [value[1]]
    return [value] if code is getattr(codes, "ATOMIC_GROUP", None) else []


def example(tree: Any, times: int) -> str:
    """A text that an expression takes; each repetition is taken as seldom as it may be, at least `times`."""
    text = ""
    for code, value in tree:
        chars = chars_of(code, value)
        if chars is not None:
            text += chars[0]
        elif code in REPEATS:
            text += example(value[2], times) * max(value[0], min(times, value[1]))
        elif inside(code, value) and not (code is codes.ASSERT and value[0] > 0):
            text += example(inside(code, value)[0], times)
    return text


def pumps(tree: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """What leads to each repetition, and a text that it takes once."""
    for index, (code, value) in enumerate(tree):
        lead = before + example(tree[:index], 0)
        if code in REPEATS and value[1] > 16:
            body = value[2]
            single = chars_of(*body[0]) if len(body) == 1 else None
            for pump in single or [example([element], 1) for element in branches(body)] + [example(body, 1)]:
                yield lead, pump
        for content in inside(code, value):
            yield from pumps(content, lead)


def branches(tree: Any) -> list[Any]:
    """The elements of all branches of an expression."""
    return [element for code, value in tree for content in inside(code, value) for element in content]


def hostile_texts(pattern: re.Pattern[str]) -> list[tuple[str, str, str]]:
    """(lead, what is repeated, end) of texts that may be slow."""
    tree = parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE & ~re.DEBUG)
    whole, least = example(tree, 1), example(tree, 0)
    texts: dict[tuple[str, str, str], None] = {}
    for lead, pump in pumps(tree):
        for end in ("", END):
            texts |= {(lead, pump, end): None, ("", lead + pump, end): None, (f"{lead}a", pump, f"a{END}"): None}
    for text in {whole, least, whole[:-1], least[:-1], whole[: len(whole) // 2], whole[1:]}:
        texts |= {("", text, ""): None, ("", f"{text} ", END): None}
    for char in dict.fromkeys(whole + " 0a"):
        texts |= {("", char, END): None, ("a", char, "a"): None}
    return [text for text in texts if text[1]]


# --- how long they take ---


def seconds(call: Callable[[], Any], times: int = 1) -> float:
    """Processor time of a call, the best of several."""
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


def run(pattern: re.Pattern[str], operation: str, text: str) -> None:
    if operation in ("match", "fullmatch"):
        getattr(pattern, operation)(text)
    else:
        for _ in pattern.finditer(text):
            pass


def grow(parts: tuple[str, str, str], size: int) -> str:
    lead, pump, end = parts
    return lead + pump * max(1, size // len(pump)) + end


def slow(call: Callable[[str], Any], parts: tuple[str, str, str], size: int, bound: float) -> str:
    """Why a call is not linear on a hostile text; empty where it is. It is timed again before it is called slow."""
    text = grow(parts, size)
    if seconds(lambda: call(text)) <= bound:
        return ""
    quarter = grow(parts, size // 4)
    times = seconds(lambda: call(text), 3) / max(seconds(lambda: call(quarter), 5), 1e-6)
    return f"{times:.0f} times as long for 4 times as much of {parts!r}" if times > GROWTH else ""


def slow_expression(pattern: re.Pattern[str], operation: str) -> str:
    """Why an expression is not linear on its hostile texts; empty where it is."""
    for parts in hostile_texts(pattern):
        if seconds(lambda: run(pattern, operation, grow(parts, SHORT)), 2) > SHORT_S:  # noqa: B023 - called at once
            return f"{operation} is exponential on {parts!r}"
        if found := slow(lambda text: run(pattern, operation, text), parts, LONG, LONG_S):
            return f"{operation} takes {found}"
    return ""


def test_every_expression_takes_linear_time() -> None:
    found = expressions()
    assert len(found) > 90
    slow = [
        f"{place} {pattern.pattern!r}: {why}"
        for (place, pattern), operations in found.items()
        for operation in sorted({"search" if name not in ("match", "fullmatch") else name for name in operations})
        if (why := slow_expression(pattern, operation))
    ]
    assert not slow, "\n".join(slow)
