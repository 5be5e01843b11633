# SPDX-License-Identifier: Apache-2.0
"""The house style that can be measured: sizes, heads, names, and nothing in a file that belongs to one machine."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("medix_verl", "recipes", "examples", "tests")
TEXT = {".cfg", ".ini", ".jinja", ".json", ".jsonl", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml", ""}

FILE_LINES, FILE_LINES_HARD = 300, 450
FUNCTION_LINES, FUNCTION_LINES_HARD = 30, 60

LONG_FILES: set[str] = set()
"""Files that may have more than 300 lines, each for a reason that its docstring gives."""
LONG_FUNCTIONS: set[str] = set()
"""`file:function` that may have more than 30 lines, docstring not counted."""

MACHINE_PATH = re.compile(r"(?<![\w.\-/}~])/(?:home|work|root|tmp|Users)/\w")
SECRET = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{30,}|AKIA[0-9A-Z]{16})\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|(?i:password|passwd|api_key|secret)\s*[=:]\s*['\"][^'\"\s{}$]{12,}['\"]"
)
BANNER = re.compile(r"^\s*#\s*([-=#*~])\1{3,}", re.MULTILINE)


def project_files() -> list[Path]:
    """Every text file that is ours: the four rooms and what lies beside them, hidden folders but .ci left out."""
    inside = [path for room in (*ROOMS, ".ci") for path in (ROOT / room).rglob("*")]
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


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def function_sizes(source: str) -> Iterator[tuple[str, int]]:
    """Name and number of lines of each function, its docstring left out."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                docstring = node.body[0]
                lines -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
            yield node.name, lines


@pytest.mark.parametrize("path", PYTHON, ids=short)
def test_files_and_functions_are_below_the_hard_limits(path: Path) -> None:
    assert len(read(path).splitlines()) <= FILE_LINES_HARD
    assert {name: size for name, size in function_sizes(read(path)) if size > FUNCTION_LINES_HARD} == {}


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_modules_are_small(path: Path) -> None:
    if short(path) not in LONG_FILES:
        assert len(read(path).splitlines()) <= FILE_LINES
    long = {f"{short(path)}:{name}": size for name, size in function_sizes(read(path)) if size > FUNCTION_LINES}
    assert {name: size for name, size in long.items() if name not in LONG_FUNCTIONS} == {}


def test_allow_lists_name_only_what_is_still_long() -> None:
    sizes = {short(path): len(read(path).splitlines()) for path in MODULES}
    functions = {f"{short(path)}:{name}": size for path in MODULES for name, size in function_sizes(read(path))}
    assert {name for name in LONG_FILES if sizes.get(name, 0) <= FILE_LINES} == set()
    assert {name for name in LONG_FUNCTIONS if functions.get(name, 0) <= FUNCTION_LINES} == set()


@pytest.mark.parametrize("path", PYTHON, ids=short)
def test_every_file_has_its_head(path: Path) -> None:
    source = read(path)
    assert source.startswith("# SPDX-License-Identifier: Apache-2.0\n")
    assert ast.get_docstring(ast.parse(source)), "no module docstring"
    assert not BANNER.search(source), "a banner comment"


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_every_module_says_what_it_offers(path: Path) -> None:
    names = {
        target.id
        for node in ast.parse(read(path)).body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    if path.name != "__init__.py" or len(ast.parse(read(path)).body) > 1:
        assert "__all__" in names


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_only_cli_and_demo_write_to_standard_output(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(read(path))) if isinstance(node, ast.Call)]
    prints = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    to_stdout = [call.lineno for call in prints if "file" not in {keyword.arg for keyword in call.keywords}]
    assert path.relative_to(ROOT / "medix_verl").parts[0] in {"cli", "demo"} or to_stdout == []


@pytest.mark.parametrize("path", PYTHON, ids=short)
def test_every_broad_except_gives_its_reason(path: Path) -> None:
    assert re.findall(r"noqa: BLE001(?! - \w)", re.sub(r"r\"noqa.*", "", read(path))) == []


@pytest.mark.parametrize("path", PYTHON, ids=short)
def test_names_are_plain(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}
    assert path.name in {"__init__.py", "__main__.py"} or not path.name.startswith("_")


@pytest.mark.parametrize("path", FILES, ids=short)
def test_no_file_belongs_to_one_machine(path: Path) -> None:
    source = read(path)
    if not ("tests" in path.parts and "tmp_path" in source):
        assert MACHINE_PATH.findall(source) == []
    assert SECRET.search(source) is None


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


def test_function_sizes_leave_out_the_docstring() -> None:
    assert dict(function_sizes('def f():\n    """One.\n\n    Two.\n    """\n    return 1\n')) == {"f": 2}
