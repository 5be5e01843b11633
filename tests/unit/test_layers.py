# SPDX-License-Identifier: Apache-2.0
"""The rooms and their arrows: who may import whom, and who may import verl, ray and the other heavy packages.

Imports are read from the source, those inside functions too; nothing is imported. To move an arrow, change DESIGN and
this table together.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "medix_verl"
FILES = sorted(PACKAGE.rglob("*.py"))

BASE = {"after_import", "credentialed", "errors", "openai_client", "runtime", "specs", "types"}
LOWER = BASE | {"response", "data", "judge", "embedding"}
MIDDLE = {"rewards", "evaluation", "cpu", "demo", "runs"}

ARROWS = {
    "errors": set(),
    "types": {"errors"},
    "credentialed": {"errors"},
    "after_import": set(),
    "specs": {"errors"},
    "openai_client": {"credentialed", "errors", "types"},
    "runtime": {"errors", "openai_client", "types"},
    "recipe_heads": {"errors"},
    "recipes_index": {"errors", "recipe_heads"},
    "response": BASE,
    "data": BASE,
    "judge": BASE,
    "embedding": BASE,
    "rewards": BASE | {"response", "judge", "embedding"},
    "evaluation": BASE | {"response", "data", "judge"},
    "cpu": BASE,
    "demo": BASE | {"data"},
    "runs": BASE | {"data"},
    "report": LOWER | MIDDLE,
    "cli": LOWER | MIDDLE | {"report", "recipe_heads", "recipes_index"},
    "plugin": BASE | {"cpu", "recipes_index"},
    "__init__": {"types", "response", "rewards"},
    "__main__": {"cli"},
}
"""Room -> the other rooms that it may import."""

PROBE = "cli/probe.py"  # a process of its own, that sees verl and the plugin as a training process does
EXCEPTIONS = {"medix_verl.cli.probe": {"plugin"}}
VERL_FILES = {"plugin.py", "data/dataset.py", "rewards/manager.py", "rewards/sampler.py", "rewards/advantage.py", PROBE}
VERL_FILES |= {"cli/composed.py"}  # composes recipes with verl's own configuration
MAY_IMPORT = {
    "verl": lambda name: name in VERL_FILES or name.startswith("cpu/"),
    "ray": lambda name: name in {"judge/worker.py", "embedding/worker.py", "rewards/ledger.py"},
    "vllm": lambda name: name.startswith("cpu/"),
    # The one client of servers, and the judge's server of the tests; no other file sends a request.
    "aiohttp": lambda name: name in {"openai_client.py", "judge/mock.py", "judge/endpoint.py"},
    "httpx": lambda name: False,
    "requests": lambda name: False,
    "urllib.request": lambda name: name == "openai_client.py",
}

HEAVY = {"aiohttp", "ray", "sentence_transformers", "torch", "transformers", "verl", "vllm"}
HEAVY_AT_IMPORT = {
    "data/dataset.py",
    "rewards/manager.py",
    "rewards/sampler.py",
    "rewards/advantage.py",
    "cpu/platform.py",
}
"""Files that verl itself imports, in processes that hold torch already."""


def imports(source: str, module: str) -> Iterator[tuple[str, bool]]:
    """Dotted names that a module imports, relative ones resolved, each with: is it imported when the module is?"""
    tree = ast.parse(source)
    lazy = {id(child) for node in ast.walk(tree) if is_lazy(node) for child in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module.split(".")[: -node.level]) if node.level else ""
            source_module = ".".join(part for part in (base, node.module or "") if part)
            names = [source_module, *(f"{source_module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            yield name, id(node) not in lazy


def is_lazy(node: ast.AST) -> bool:
    """True for the blocks that do not run at import: functions, and what is for type checkers only."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test).endswith("TYPE_CHECKING")
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


def room_of(name: str) -> str:
    """`medix_verl.judge.judge` -> `judge`; a name of the front door, such as `medix_verl.__version__`, -> ``."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ARROWS else ""


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def short(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def forbidden(source: str, module: str) -> set[str]:
    """Rooms that a module imports and may not."""
    room = room_of(module)
    used = {room_of(name) for name, _ in imports(source, module) if name.split(".")[0] == "medix_verl"}
    return used - {room, ""} - ARROWS[room] - EXCEPTIONS.get(module, set())


@pytest.mark.parametrize("path", FILES, ids=short)
def test_arrows_point_down(path: Path) -> None:
    assert room_of(dotted(path)), f"{short(path)} is a room that ARROWS does not know"
    assert not forbidden(path.read_text(encoding="utf-8"), dotted(path))


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_few_files_import_the_frameworks(package: str) -> None:
    users = {
        short(path)
        for path in FILES
        for name, _ in imports(path.read_text(encoding="utf-8"), dotted(path))
        if f"{name}.".startswith(f"{package}.")
    }
    assert {name for name in users if not MAY_IMPORT[package](name)} == set()


@pytest.mark.parametrize("path", [path for path in FILES if short(path) not in HEAVY_AT_IMPORT], ids=short)
def test_importing_is_free(path: Path) -> None:
    names = imports(path.read_text(encoding="utf-8"), dotted(path))
    assert {name for name, eager in names if eager and name.split(".")[0] in HEAVY} == set()


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("medix_verl.judge.pool", "from medix_verl.rewards.terms import x", {"rewards"}),
        ("medix_verl.judge.pool", "def f():\n    import medix_verl.embedding.base", {"embedding"}),
        ("medix_verl.judge.pool", "from ..data import schema", {"data"}),
        ("medix_verl.judge.pool", "from medix_verl import cli", {"cli"}),
        ("medix_verl.judge.pool", "from .base import Judge\nfrom medix_verl.types import Verdict", set()),
        ("medix_verl.rewards.terms", "from medix_verl.judge.judge import Judge", set()),
        ("medix_verl.errors", "from medix_verl import types", {"types"}),
    ],
)
def test_a_wrong_arrow_is_seen(module: str, source: str, expected: set[str]) -> None:
    assert forbidden(source, module) == expected


def test_eager_and_lazy_imports_are_told_apart() -> None:
    source = "import ray\nif TYPE_CHECKING:\n    import torch\ndef f():\n    import verl\nclass A:\n    import vllm\n"
    assert dict(imports(source, "medix_verl.x")) == {"ray": True, "torch": False, "verl": False, "vllm": True}
