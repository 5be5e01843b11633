# SPDX-License-Identifier: Apache-2.0
"""No text makes the package slow: every regular expression and every reader of texts takes time linear in its input.

A policy under training writes the answers, a server writes the replies, and rows come from anywhere. The expressions
are found, not listed: those that modules hold, and those that a call such as `re.search("...", text)` has in its
source. For each, hostile texts are made from its own parts: what leads to a repetition, then what the repetition
takes, thousands of times, then something that fails.
"""

import ast
import asyncio
import contextlib
import gc
import importlib
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from helpers.places import PACKAGE
from medix_verl.chat_template import read_prompt, read_reply_start
from medix_verl.choices import Choices as Choosable
from medix_verl.choices import read_choice, read_yes_no
from medix_verl.data.converters.assemble import Choices, assemble, question_of
from medix_verl.data.converters.own.columns import read_renamed
from medix_verl.data.converters.own.table import list_of
from medix_verl.data.converters.radiology.report_parts import parts_of
from medix_verl.data.converters.vqa.mmmu_medical import texts_in
from medix_verl.data.converters.vqa.pmc_vqa import SPEC
from medix_verl.data.dicom.deidentify import as_text, is_anonymised
from medix_verl.data.dicom.pixel_data import codestream_size
from medix_verl.data.dicom.window import parse_window
from medix_verl.data.duplicates.fingerprints import fingerprint
from medix_verl.data.io.encodings import is_western
from medix_verl.data.io.jsonl import read_object
from medix_verl.data.io.row_files import read_rows
from medix_verl.data.io.tables import read_table
from medix_verl.data.modalities import read_modality
from medix_verl.data.pictures.metadata import strip_notes
from medix_verl.data.prepare.checks import answer_flags, question_flags
from medix_verl.data.prompts import render_prompt
from medix_verl.embedding.contrast import aspects, contrast
from medix_verl.embedding.hashing import HashingEncoder
from medix_verl.errors import MedixError
from medix_verl.evaluation.grading.subjects import candidate_of
from medix_verl.evaluation.grading.votes import read_binary
from medix_verl.judge.judge import Question
from medix_verl.judge.prompt import fill
from medix_verl.judge.reply import probability_of_yes, read_verdict
from medix_verl.judge.rule.equality import equal
from medix_verl.judge.rule.guards import guard
from medix_verl.judge.rule.judge import RuleJudge
from medix_verl.judge.rule.normalise import normalise
from medix_verl.judge.rule.quantity import read_quantity
from medix_verl.openai_client import Completion, read_retry_after, split_reasoning
from medix_verl.recipe.heads import read_head
from medix_verl.report.run.page import settings_of
from medix_verl.response import parse_response
from medix_verl.rewards.reading import parse_ground_truth, parse_published
from medix_verl.secrets import find_secrets, scrub
from medix_verl.types import Reference, Sample

try:
    from re import _constants as codes
    from re import _parser as parser
except ImportError:  # Python 3.10
    import sre_constants as codes
    import sre_parse as parser

NOT_IMPORTED = {
    *("data/dataset.py", "rewards/manager.py", "rewards/sampler.py", "rewards/advantage.py", "cpu/platform.py"),
    *("plugin.py", "__main__.py"),
}
"""Files that load torch and verl or do something when they are imported; they are read from the source only."""
OPS = {"match", "fullmatch", "search", "finditer", "findall", "sub", "subn", "split"}

SHORT, LONG = 20, 4000
"""Lengths of a hostile text: at the first, an exponential expression shows; at the second, a quadratic one."""
SHORT_S, LONG_S = 0.005, 0.0025
"""What a linear expression stays below; what does not is measured again, by its growth."""
READER_CHARS, READER_S = 3000, 0.012
"""Length of a reader's hostile text, and what it stays below; what does not is measured again in the same way."""
AT_MOST_S = 0.6
"""No text of that length may take longer, whatever its growth."""
GROWTH = 8.0
"""Four times the length takes four times as long where the time is linear, and sixteen times where it is quadratic."""
ALPHABET = "a0 _.,:;-+/\\\"'<>()[]{}=|*@#$%&!?~^\n\tA肺é"
END = "\x01"
"""A character that few repetitions take, so that what came before fails."""
MADE_WHEN_NEEDED = {
    # A user's own expression for a DICOM series, from the command line.
    "data/dicom/series.py: re.compile(self.description)": None,
    "data/dicom/series.py: re.compile(choice.description)": None,
    "data/dicom/deidentify.py: re.compile('|'.join": "anonymised",
}
"""Calls whose expression is not in the source -> the function that gives it; None where it is not ours."""


@cache
def sources() -> list[tuple[str, ast.Module]]:
    files = sorted(PACKAGE.rglob("*.py"))
    return [(path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))) for path in files]


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


def calls_of_re(name: str, tree: ast.Module) -> Iterator[tuple[str, str, ast.expr]]:
    """(function, operation, expression) of each `re.search(expression, text)` and its like, within a function.

    Of a file that is not imported, those outside of functions too.
    """
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    for scope in [tree] if name in NOT_IMPORTED else functions:
        for node in ast.walk(scope):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                of_re = isinstance(node.func.value, ast.Name) and node.func.value.id == "re"
                if of_re and node.func.attr in {*OPS, "compile"}:
                    yield getattr(scope, "name", ""), node.func.attr, node.args[0]


def operations() -> dict[str, set[str]]:
    """Name of a variable -> what is done with the expression in it, anywhere in the package."""
    found: dict[str, set[str]] = defaultdict(set)
    for _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in OPS:
                owner = node.value
                found[getattr(owner, "id", getattr(owner, "attr", ""))].add(node.attr)
    return found


def expressions() -> dict[tuple[str, re.Pattern[str]], set[str]]:
    """(where, expression) -> what is done with it; `search` where that cannot be seen."""
    found: dict[tuple[str, re.Pattern[str]], set[str]] = defaultdict(set)
    used = operations()
    for name, tree in sources():
        for key, value in ({} if name in NOT_IMPORTED else vars(import_file(name))).items():
            for pattern in held(value):
                if isinstance(pattern.pattern, str):
                    found[f"{name}: {key}", pattern] |= used.get(key) or {"search"}
        for function, operation, argument in calls_of_re(name, tree):
            text = literal(argument)
            call = f"{name}: re.{operation}({ast.unparse(argument)})"
            made = made_when_needed(name, call) if text is None else re.compile(text)
            if made is not None:
                found[f"{name}: {function}", made].add(operation)
    return found


def made_when_needed(name: str, call: str) -> re.Pattern[str] | None:
    """The expression of a call that has none in the source; None where it is not ours."""
    known = [giver for start, giver in MADE_WHEN_NEEDED.items() if call.startswith(start)]
    assert known, f"{call}: name in MADE_WHEN_NEEDED what gives this expression"
    return None if known[0] is None else getattr(import_file(name), known[0])()


def import_file(name: str) -> Any:
    parts = Path(name).with_suffix("").parts
    return importlib.import_module(".".join((PACKAGE.name, *(parts[:-1] if parts[-1] == "__init__" else parts))))


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


def seconds(call: Callable[[], Any], times: int = 1) -> float:
    """Processor time of a call, the best of several; nothing is remembered from one to the next.

    As in timeit, garbage is not collected meanwhile: with all modules of the tests that takes a tenth of a second.
    """
    best = float("inf")
    gc.disable()
    try:
        for done in range(times):
            for function in memories():
                function.cache_clear()
            start = time.process_time()
            call()
            best = min(best, time.process_time() - start)
            if best > 0.1 and done:  # twice more than another process on this machine could add
                break
    finally:
        gc.enable()
    return best


@cache
def memories() -> list[Any]:
    """Functions of the rule judge and of the contrast that remember what they gave."""
    held = ("medix_verl.judge.rule", "medix_verl.embedding.statements")
    modules = [module for name, module in sys.modules.items() if name.startswith(held)]
    return [value for module in modules for value in vars(module).values() if hasattr(value, "cache_clear")]


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
    """Why a call is slow on a hostile text; empty where it is not. It is timed again before it is called slow."""
    text, quarter = grow(parts, size), grow(parts, size // 4)
    if seconds(lambda: call(text)) <= bound:
        return ""
    whole = seconds(lambda: call(text), 3)
    times = whole / max(seconds(lambda: call(quarter), 5), 1e-6)
    if times > GROWTH:
        return f"{times:.0f} times as long for 4 times as much of {parts!r}"
    return f"{whole:.1f} s for {size} characters of {parts!r}" if whole > AT_MOST_S else ""


def slow_expression(pattern: re.Pattern[str], operation: str) -> str:
    """Why an expression is not linear on its hostile texts; empty where it is."""
    for parts in hostile_texts(pattern):
        if seconds(lambda: run(pattern, operation, grow(parts, SHORT)), 2) > SHORT_S:  # noqa: B023 - called at once
            return f"{operation} is exponential on {parts!r}"
        if found := slow(lambda text: run(pattern, operation, text), parts, LONG, LONG_S):
            return f"{operation} takes {found}"
    return ""


@pytest.mark.skipif(find_spec("verl") is None, reason="every module is imported, and some need verl")
def test_every_expression_takes_linear_time() -> None:
    found = expressions()
    assert len(found) > 90
    slow = [
        f"{place} {pattern.pattern!r}: {why}"
        for (place, pattern), operations in found.items()
        for operation in sorted({name if name in ("match", "fullmatch") else "search" for name in operations})
        if (why := slow_expression(pattern, operation))
    ]
    assert not slow, "\n".join(slow)


@pytest.mark.parametrize(
    ("expression", "operation"),
    [
        (r"(?P<key>[\w.\-]+)['\"]?\s*[=:]\s*(?P<value>'[^']*'|\"[^\"]*\"|[^\s,{}\[\]&?'\"]+)", "search"),
        (r"([-+]?(?:\d+\.?\d*|\.\d+))/([-+]?(?:\d+\.?\d*|\.\d+))", "fullmatch"),
        (r"^[\W_]+|[\W_]+$", "search"),
        (r"\s*(?:[,;/|\n]|\b(?:and/or|or|either)\b)\s*", "search"),
        (r"\s*\bAnswer Choices:\s*\(A\).*\Z", "search"),
        (r"^defaults: *(?:#.*)?\n(?P<lines>(?:(?: +.*|#.*)?\n)+)", "search"),
        (r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}", "search"),
        (r"<\s*/?\s*think>", "search"),
        (r"<answer>.*?</answer>", "search"),
        (r"(?:\w+\s?)*$", "match"),
        (r"(a|a)*b", "fullmatch"),
    ],
)
def test_a_slow_expression_is_seen(expression: str, operation: str) -> None:
    assert slow_expression(re.compile(expression), operation)


CHOICE = ("a cyst", "pneumonia", "no abnormality", "fracture")


def row(text: str, **more: Any) -> Sample:
    return Sample("q1", "own", **{"question": text, "answer": text, **more})


def in_file(name: str, read: Callable[[Path], Any]) -> Callable[[str, Path], Any]:
    def call(text: str, folder: Path) -> None:
        path = folder / name
        path.write_text(text, encoding="utf-8")
        result = read(path)
        list(result) if isinstance(result, Iterator) else None

    return call


def octets(text: str) -> bytes:
    return text.encode("latin-1", "replace")


READERS: dict[str, Callable[[str, Path], Any]] = {
    "strip_notes, a JPEG": lambda text, _: strip_notes(b"\xff\xd8\xff\xda\0\2" + octets(text)),
    "strip_notes, a PNG": lambda text, _: strip_notes(b"\x89PNG\r\n\x1a\n" + octets(text)),
    "strip_notes, a GIF": lambda text, _: strip_notes(b"GIF89a" + octets(text)),
    "codestream_size, a JPEG": lambda text, _: codestream_size(b"\xff\xd8" + octets(text.replace("a", "\xff"))),
    "guard, a plain reference": lambda text, _: guard(text, Reference("pneumonia", question="What is shown here?")),
    "guard, options": lambda text, _: guard(text, Reference("B", question="Which is it?", options=CHOICE)),
    "guard, long options": lambda text, _: guard(
        text, Reference("B", options=tuple(f"{choice} {'with a long text ' * 30}"[:450] for choice in CHOICE))
    ),
    "guard, a hostile reference": lambda text, _: guard(
        "B or C " * 500, Reference("B", question=text, options=("a cyst", text))
    ),
    "guard, the text on both sides": lambda text, _: guard(
        f"{text[:3900]} B", Reference("B", question=text, options=(text[: len(text) // 2], text[:50]))
    ),
    "equal": lambda text, _: equal(text, Reference(f"{text}x", synonyms=("3 cm",))),
    "equal, a label": lambda text, _: equal(text, Reference("b", options=(*CHOICE, text[:300]), label="B")),
    "equal, a list": lambda text, _: equal(f"heart, {text}"[:290], Reference(f"{text[:280]} and heart")),
    "read_choice": lambda text, _: read_choice(text, Choosable.of(CHOICE)),
    "read_choice, the text is an option": lambda text, _: read_choice(text, Choosable.of((text[:40], "a cyst"))),
    "read_choice, explained": lambda text, _: read_choice(f"The answer is B. {text}", Choosable.of(CHOICE)),
    "read_yes_no": lambda text, _: [read_yes_no(text, "Is there a cyst?"), read_yes_no(f"Yes, {text}", text)],
    "RuleJudge": lambda text, _: asyncio.run(RuleJudge().ask(Question(text[:1900], Reference("3 cm", options=CHOICE)))),
    "normalise": lambda text, _: normalise(text),
    "read_quantity": lambda text, _: [read_quantity(text), read_quantity(text[:120])],
    "fill": lambda text, _: fill("{question}{reference}{fence}{candidate}", text, Reference(text, question=text), 4000),
    "read_verdict": lambda text, _: [read_verdict(text)],
    "probability_of_yes": lambda text, _: probability_of_yes({"content": [{"token": text, "logprob": 0.0}]}),
    "read_verdict, a reply that is not too long": lambda text, _: read_verdict(text[:4000]),
    "split_reasoning": lambda text, _: split_reasoning(Completion(text)),
    "read_retry_after": lambda text, _: read_retry_after(text),
    "parse_response": lambda text, _: parse_response(text),
    "parse_response, in a block": lambda text, _: parse_response(f"<think>{text}</think><answer>{text}</answer>"),
    "parse_response, behind an open prompt": lambda text, _: parse_response(text, "open"),
    "parse_response, behind a closed prompt": lambda text, _: parse_response(text, "closed"),
    "read_prompt": lambda text, _: read_prompt(text),
    "read_reply_start": lambda text, _: read_reply_start(text),
    "parse_published": lambda text, _: parse_published(text),
    "parse_published, in a block": lambda text, _: parse_published(f"<think>{text}</think><answer>{text}</answer>"),
    "parse_ground_truth": lambda text, _: parse_ground_truth(text),
    "parse_ground_truth, a modality": lambda text, _: parse_ground_truth("x", text),
    "candidate_of": lambda text, _: candidate_of(text),
    "read_binary": lambda text, _: read_binary(text),
    "find_secrets": lambda text, _: find_secrets({text: text, "a": [text]}, {"A_TOKEN": text, "B": text}, [text]),
    "scrub": lambda text, _: scrub({"a": text, text: [text]}, {"abcdef", text}),
    "read_head": lambda text, _: [read_head("a", text), read_head("a", f"# table: {text}\ndefaults:\n  - {text}\n")],
    "parse_window": lambda text, _: parse_window(text),
    "answer_flags": lambda text, _: answer_flags(row(text, options=(text, text[:9], text[:-1])), 400),
    "question_flags": lambda text, _: question_flags(row(text)),
    "fingerprint": lambda text, _: fingerprint(row(text, options=(text, text[1:])), []),
    "read_modality": lambda text, _: read_modality(text),
    "render_prompt": lambda text, _: render_prompt(row(text, options=(text, text[1:]))),
    "parts_of": lambda text, _: parts_of(text),
    "question_of": lambda text, _: question_of(text),
    "assemble": lambda text, _: assemble(
        SPEC, "train", text, question=text, answer=text, choices=Choices({"A": text, "B": text[1:]})
    ),
    "list_of": lambda text, _: list_of(text, "options"),
    "texts_in": lambda text, _: texts_in(text),
    "is_anonymised": lambda text, _: is_anonymised(as_text(text)),
    "read_object": lambda text, _: read_object(text.encode()),
    "compare": lambda text, _: asyncio.run(HashingEncoder().compare(text, text[1:])),
    "aspects": lambda text, _: aspects(text),
    "contrast, to a short reference": lambda text, _: contrast(text, "no left effusion of 3 cm, stage II", text),
    "contrast, the text on both sides": lambda text, _: contrast(f"{text[:390]}a", text[:390]),
    "settings_of": in_file("settings.yaml", settings_of),
    "read_rows, JSON": in_file("rows.json", read_rows),
    "read_rows, a list": lambda text, folder: in_file("rows.json", read_rows)(f"[{text}", folder),
    "read_rows, JSON lines": in_file("rows.jsonl", read_rows),
    "read_rows, CSV": in_file("rows.csv", read_rows),
    "read_table": in_file("table.csv", read_table),
    "is_western": lambda text, _: is_western([text.encode(), text.encode("cp1252", "replace")]),
    "read_renamed": lambda text, _: read_renamed(text, ("question", "answer")),
}
"""What reads a text that somebody else wrote."""

PIECES = (
    *(
        "a",
        "a ",
        " ",
        "\n",
        "\t",
        ".",
        ",",
        "-",
        "*",
        "**",
        "'",
        '"',
        "(",
        "[",
        "[]",
        "{",
        "}",
        "<",
        ">",
        "=",
        ":",
        "/",
        "$",
        "0",
    ),
    *("a, ", "a,", "a or ", "or ", "yes or ", "no, ", "(a) ", "B ", "b. ", "option a ", "a cyst ", "no abnormality, "),
    *("the answer is ", "answer: ", "let me think ", "solution.", "reference ", "ground truth", "\n> verdict:", "> "),
    *("3 cm ", "3,", "3 x ", "1,000", "0.", ".0", "1/2 ", "10\u2075", "2\u00bd", "+", "\u00b1", ">= ", "1e9"),
    *("<think>", "</think>", "<think>a</think>", "<answer>", "</answer>", "<answer>a</answer>", "< ", "</ ", "<X_RAY>"),
    *('{"score": ', '{"score": 1} ', '{"a": ', '["a", ', '"a", ', "```json", "\\", '\\"', "null,", "{}"),
    *(
        "key=",
        "token=",
        "api_key: ",
        "token='",
        'token="',
        "sk-",
        "eyJ",
        "eyJabcdefghij.",
        "hf_",
        "://",
        "a@",
        "${",
        "Bearer ",
    ),
    *(
        "FINDINGS:",
        "IMPRESSION:\n",
        "\nHISTORY :",
        "<image>",
        "[image ",
        "&amp;",
        "&#",
        "&#1",
        "&",
        "image ",
        "see the ",
    ),
    *(
        "\u200b",
        "\u00e9",
        "e\u0301",
        "\u80ba",
        "\ufdfa",
        "\u0130",
        "\u1e9e",
        "word",
        "Mon, 01 Jan ",
        "defaults:\n",
        "  - a\n",
        "# @package ",
    ),
)


def slow_reader(read: Callable[[str, Path], Any], folder: Path) -> str:
    """Why a reader is not linear on a hostile text; empty where it is."""

    def call(text: str) -> None:
        with contextlib.suppress(MedixError):
            read(text, folder)

    return next((why for piece in PIECES if (why := slow(call, ("", piece, "a"), READER_CHARS, READER_S))), "")


def test_every_reader_of_texts_takes_linear_time(tmp_path: Path) -> None:
    slow_readers = [f"{name}: {why}" for name, read in READERS.items() if (why := slow_reader(read, tmp_path))]
    assert not slow_readers, "\n".join(slow_readers)
