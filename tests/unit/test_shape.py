# SPDX-License-Identifier: Apache-2.0
"""The house style that can be measured: heads, names, and nothing in a file that belongs to one machine.

One test for each rule, which lists every file that breaks it.
"""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from helpers.places import ROOT

FOLDERS = ("medix_verl", "recipes", "examples", "tests")
TEXT = {".cfg", ".ini", ".jinja", ".json", ".jsonl", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml", ""}

MACHINE_PATH = re.compile(r"(?<![\w.\-/}~])/(?:home|work|root|tmp|Users)/\w")
SECRET = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{30,}|AKIA[0-9A-Z]{16})\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|(?i:password|passwd|api_key|secret)\s*[=:]\s*['\"][^'\"\s{}$]{12,}['\"]"
)
BANNER = re.compile(r"^\s*#\s*([-=#*~])\1{3,}", re.MULTILINE)


def project_files() -> list[Path]:
    """Every text file that is ours: the four folders and what lies beside them, hidden folders but .ci left out."""
    inside = [path for folder in (*FOLDERS, ".ci") for path in (ROOT / folder).rglob("*")]
    beside = [path for path in ROOT.iterdir() if not path.name.startswith(".")]
    return sorted(
        path
        for path in {*inside, *beside}
        if path.is_file() and path.suffix in TEXT and "__pycache__" not in path.parts and path.name != "LICENSE"
    )


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


FILES = project_files()
PYTHON = [path for path in FILES if path.suffix == ".py"]
MODULES = [path for path in PYTHON if short(path).startswith("medix_verl/") and path.name != "__main__.py"]


@cache
def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(read(path))


Rule = Callable[[Path], Iterator[str]]


def broken(rule: Rule, paths: list[Path]) -> list[str]:
    """`file: why` for each file that breaks a rule."""
    return [f"{short(path)}: {why}" for path in paths for why in rule(path)]


def head(path: Path) -> Iterator[str]:
    if not read(path).startswith("# SPDX-License-Identifier: Apache-2.0\n"):
        yield "the first line is not `# SPDX-License-Identifier: Apache-2.0`"
    if not ast.get_docstring(parsed(path)):
        yield "no module docstring"
    if BANNER.search(read(path)):
        yield "a banner comment"


def offer(path: Path) -> Iterator[str]:
    names = {
        target.id
        for node in parsed(path).body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    if "__all__" not in names and (path.name != "__init__.py" or len(parsed(path).body) > 1):
        yield "no __all__"


def output(path: Path) -> Iterator[str]:
    if path.relative_to(ROOT / "medix_verl").parts[0] in {"cli", "demo"}:
        return
    for node in ast.walk(parsed(path)):
        is_print = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        if is_print and "file" not in {keyword.arg for keyword in node.keywords}:
            yield f"line {node.lineno} prints to standard output"


def broad_except(path: Path) -> Iterator[str]:
    for _ in re.findall(r"noqa: BLE001(?! - \w)", re.sub(r"r\"noqa.*", "", read(path))):
        yield "a broad except without its reason (`# noqa: BLE001 - why`)"


def name(path: Path) -> Iterator[str]:
    if path.stem in {"utils", "util", "helpers", "misc", "common"}:
        yield "a name that says nothing of what it holds"
    if path.name.startswith("_") and path.name not in {"__init__.py", "__main__.py"}:
        yield "a name with an underscore before it"


def machine(path: Path) -> Iterator[str]:
    if not ("tests" in path.parts and "tmp_path" in read(path)):
        yield from (f"the path {found}... of one machine" for found in MACHINE_PATH.findall(read(path)))
    if SECRET.search(read(path)):
        yield "what looks like a secret"


@pytest.mark.parametrize(
    ("rule", "paths"),
    [
        (head, PYTHON),
        (offer, MODULES),
        (output, MODULES),
        (broad_except, PYTHON),
        (name, PYTHON),
        (machine, FILES),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_file_keeps_the_rule_of_its(rule: Rule, paths: list[Path]) -> None:
    assert len(paths) > 150
    found = broken(rule, paths)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "source", "why"),
    [
        (head, '"""Says what."""\n', ["first line"]),
        (head, "# SPDX-License-Identifier: Apache-2.0\nx = 1\n", ["docstring"]),
        (head, '# SPDX-License-Identifier: Apache-2.0\n"""Says what."""\n# ------\n', ["banner"]),
        (head, '# SPDX-License-Identifier: Apache-2.0\n"""Says what."""\n', []),
        (offer, '"""Says what."""\nx = 1\n', ["__all__"]),
        (offer, '"""Says what."""\n__all__: list[str] = []\n', []),
        (output, "import sys\nprint(1)\nprint(2, file=sys.stderr)\n", ["line 2"]),
        (broad_except, "try:\n    pass\nexcept Exception:  # noqa: " + "BLE001\n    pass\n", ["reason"]),
        (broad_except, "try:\n    pass\nexcept Exception:  # noqa: " + "BLE001 - any may come\n    pass\n", []),
        (machine, "x = '/ho" + "me/anna/data'\n", ["one machine"]),
        (machine, "x = 'sk-" + "b1" * 12 + "'\n", ["secret"]),
    ],
)
def test_a_file_that_breaks_a_rule_is_named(
    rule: Rule, source: str, why: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    path = tmp_path / "medix_verl" / "judge" / "new.py"
    path.parent.mkdir(parents=True)
    path.write_text(source)
    found = broken(rule, [path])
    assert len(found) == len(why)
    assert all(
        line.startswith("medix_verl/judge/new.py: ") and part in line for line, part in zip(found, why, strict=True)
    )


@pytest.mark.parametrize("stem", ["utils", "_private"])
def test_a_name_that_says_nothing_is_seen(stem: str) -> None:
    assert len(broken(name, [ROOT / "medix_verl" / f"{stem}.py"])) == 1


@pytest.mark.parametrize(
    "text", ["'/ho" + "me/anna/data'", "cd /wo" + "rk/main", "path: /ro" + "ot/x", "(/tm" + "p/y)"]
)
def test_a_machine_path_is_seen(text: str) -> None:
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize("text", ["https://example.org/home/page", "~/work/data", "a/tmp/b", "work/main", "/tmp"])
def test_other_paths_are_not(text: str) -> None:
    assert not MACHINE_PATH.search(text)


@pytest.mark.parametrize(
    "text",
    ["hf_" + "a" * 34, "sk-" + "b1" * 12, "api_key" + ' = "0123456789abcdef"', "-----BEGIN RSA PRIVATE" + " KEY-----"],
)
def test_a_secret_is_seen(text: str) -> None:
    assert SECRET.search(text)


def test_names_of_variables_are_no_secrets() -> None:
    assert not SECRET.search('api_key_env: OPENAI_API_KEY\napi_key = os.environ["OPENAI_API_KEY"]')
