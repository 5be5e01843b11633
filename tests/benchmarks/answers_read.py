# SPDX-License-Identifier: Apache-2.0
"""How answers are read without a model: this package's equality, guards and rule judge, and others beside them.

    python tests/benchmarks/answers_read.py CASES.jsonl [...] [--against CHECKOUT] [--medevalkit CLONE]
        [--vlmevalkit CLONE] [--math-verify]

A line of a file has `question`, `reference`, `options` (or null), `candidate`, and `expect`: yes, no, or ask (only a
judge can say). `--against` reads the same lines with another version of this package. The others' functions are read
from the source of a clone, without what they import; where a set of theirs has neither options nor yes and no, their
exact match is taken. math-verify is imported (pip install math-verify).
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import re
import string
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

EXPECTED = ("yes", "no", "ask")
COUNT = """
import json, sys
from medix_verl.judge.rule.equality import equal
from medix_verl.judge.rule.guards import guard
from medix_verl.judge.rule.judge import RuleJudge
from medix_verl.types import Reference
judge = RuleJudge()
for line in sys.stdin:
    row = json.loads(line)
    options = tuple(row["options"]) if row["options"] else None
    reference = Reference(row["reference"], question=row["question"], options=options)
    same = equal(row["candidate"], reference)
    stopped = not same and guard(row["candidate"], reference) is not None
    right = same or (not stopped and judge.follows(row["candidate"], reference))
    print(json.dumps([same, stopped, right]))
"""


def main() -> None:
    """Read the files, and print one table of this package and one of the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", type=Path)
    parser.add_argument("--against", metavar="CHECKOUT", type=Path, help="another version of this package")
    parser.add_argument("--medevalkit", metavar="CLONE", type=Path)
    parser.add_argument("--vlmevalkit", metavar="CLONE", type=Path)
    parser.add_argument("--math-verify", action="store_true")
    asked = parser.parse_args()
    rows = {path: [json.loads(line) for line in path.read_text("utf-8").splitlines()] for path in asked.cases}
    show_own("this version", rows, Path(__file__).parents[2])
    if asked.against:
        show_own(f"the version in {asked.against.name}", rows, asked.against)
    others: dict[str, Callable[[dict[str, Any]], bool]] = {}
    if asked.medevalkit:
        others["MedEvalKit"] = medevalkit(asked.medevalkit)
    if asked.vlmevalkit:
        others["VLMEvalKit"] = vlmevalkit(asked.vlmevalkit)
    if asked.math_verify:
        others["math-verify"] = math_verify()
    for name, reads in others.items():
        counts = {expect: [reads(row) for row in all_of(rows) if row["expect"] == expect] for expect in EXPECTED}
        print(f"{name}: " + ", ".join(f"{expect} {sum(found)} of {len(found)}" for expect, found in counts.items()))


def all_of(rows: dict[Path, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of every file."""
    return [row for one in rows.values() for row in one]


def show_own(name: str, rows: dict[Path, list[dict[str, Any]]], checkout: Path) -> None:
    """What one version of this package makes of the rows: a line for each file and expected verdict."""
    print(f"{name}\n{'file':24} {'expect':>6} {'rows':>5} {'equal':>6} {'guard NO':>9} {'rule YES':>9}")
    for path, lines in rows.items():
        results = read_with(checkout, lines)
        for expect in EXPECTED:
            found = [result for row, result in zip(lines, results, strict=True) if row["expect"] == expect]
            if found:
                same, stopped, right = (sum(column) for column in zip(*found, strict=True))
                print(f"{path.stem:24} {expect:>6} {len(found):5} {same:6} {stopped:9} {right:9}")


def read_with(checkout: Path, rows: list[dict[str, Any]]) -> list[list[bool]]:
    """Equal, stopped by a guard, right by the rule judge, for each row, by the package in a folder."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    done = subprocess.run(
        [sys.executable, "-c", COUNT],
        input=lines,
        capture_output=True,
        text=True,
        cwd=checkout,
        check=True,
        timeout=300,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


# The others ----------------------------------------------------------------------------------------------------------


def functions(source: Path, names: set[str], given: dict[str, Any]) -> dict[str, Any]:
    """The named functions and constants of a source file, made without the file's imports."""
    tree = ast.parse(source.read_text("utf-8"))
    kept: list[ast.stmt] = [
        node
        for node in tree.body
        if (isinstance(node, ast.FunctionDef) and node.name in names)
        or (isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id in names for to in node.targets))
    ]
    space = dict(given)
    exec(compile(ast.Module(kept, []), str(source), "exec"), space)
    return space


def medevalkit(clone: Path) -> Callable[[dict[str, Any]], bool]:
    """MedEvalKit's judge-free matching (utils/utils.py)."""
    names = {"judge_multi_choice", "judge_judgement", "parse_response", "find_most_similar_index", "extract"}
    names |= {"str_similarity", "get_content_between_a_b"}
    space = functions(
        clone / "utils" / "utils.py", names, {"re": re, "difflib": difflib, "extract_boxed_content": boxed}
    )

    def reads(row: dict[str, Any]) -> bool:
        if row["options"]:
            return bool(space["judge_multi_choice"](list(row["options"]), row["reference"], row["candidate"]))
        if row["reference"].lower() in ("yes", "no"):
            return bool(space["judge_judgement"](row["reference"], row["candidate"]))
        return bool(space["parse_response"](row["candidate"]) == row["reference"].lower())

    return reads


def boxed(text: str) -> str:
    """What stands in the last box (mathruler's function, which is not installed with this package)."""
    found = re.findall(r"boxed\{([^{}]*)\}", text)
    return found[-1] if found else "None"


def vlmevalkit(clone: Path) -> Callable[[dict[str, Any]], bool]:
    """VLMEvalKit's judge-free matching (vlmeval/utils/matching_util.py, dataset/utils/yorn.py)."""
    import copy
    import os

    given = {"cp": copy, "os": os, "re": re, "string": string, "Counter": Counter}
    names = {"can_infer", "can_infer_option", "can_infer_text", "_VERBOSE_ANSWER_RE"}
    space = functions(clone / "vlmeval" / "utils" / "matching_util.py", names, given)

    def reads(row: dict[str, Any]) -> bool:
        if row["options"]:
            labels = string.ascii_uppercase[: len(row["options"])]
            found = space["can_infer"](row["candidate"], dict(zip(labels, row["options"], strict=True)))
            return bool(found) and found == gold_label(row)
        words = re.sub(r"[^\w\s]", " ", row["candidate"].lower()).split()
        if row["reference"].lower() in ("yes", "no"):  # YOrN_Extraction
            other = "no" if row["reference"].lower() == "yes" else "yes"
            return row["reference"].lower() in words and other not in words
        return bool(row["candidate"].strip().lower() == row["reference"].strip().lower())

    return reads


def gold_label(row: dict[str, Any]) -> str | None:
    """The letter of the right option: the reference itself, or its place among the options."""
    if row["reference"] in row["options"]:
        return string.ascii_uppercase[row["options"].index(row["reference"])]
    return row["reference"][:1] if re.match(r"[A-Z](?:\W|$)", row["reference"]) else None


def math_verify() -> Callable[[dict[str, Any]], bool]:
    """math-verify's verify(parse(reference), parse(candidate))."""
    from math_verify import parse, verify

    def reads(row: dict[str, Any]) -> bool:
        try:
            return bool(verify(parse(row["reference"]), parse(row["candidate"])))
        except Exception:  # noqa: BLE001 - whatever their parser raises on a text, it did not accept it
            return False

    return reads


if __name__ == "__main__":
    main()
