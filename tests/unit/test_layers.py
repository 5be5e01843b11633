# SPDX-License-Identifier: Apache-2.0
"""Imports point one way: what each package and top-level module may import, and who may import the frameworks.

Imports are read from the source, those inside functions too; nothing is imported. The order is that of DESIGN.md: what
stands below in LAYOUT may import what stands above, as far as its line says so.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.places import PACKAGE

BASE = {
    *("after_import", "chat_template", "credentialed", "errors", "invisible", "openai_client", "response", "runtime"),
    *("secrets", "specs", "thinking", "types"),
}
LOWER = BASE | {"choices", "data", "embedding", "judge"}
UPPER = LOWER | {"rewards", "evaluation", "cpu", "demo", "runs"}

LAYOUT: dict[str, set[str]] = {
    "after_import": set(),
    "errors": set(),
    "invisible": set(),
    "secrets": set(),
    "types": {"errors"},
    "credentialed": {"errors"},
    "specs": {"errors"},
    "thinking": set(),
    "response": {"errors", "types", "thinking"},
    "chat_template": {"errors", "types", "thinking", "response"},
    "choices": {"errors", "invisible", "types", "response"},
    "openai_client": {"errors", "types", "credentialed"},
    "runtime": {"errors", "types", "specs", "openai_client"},
    "judge": BASE | {"choices"},
    "embedding": BASE | {"judge"},  # contrast reads units by the rule judge's table
    "data": BASE | {"choices"},
    "rewards": BASE | {"choices", "judge", "embedding"},
    "evaluation": LOWER | {"rewards"},
    "cpu": BASE,
    "recipe": LOWER | {"rewards", "evaluation", "cpu"},
    "demo": BASE | {"data", "judge", "rewards", "evaluation"},  # the intervals of its figures
    "runs": BASE | {"data", "evaluation", "recipe"},
    "report": UPPER,
    "cli": UPPER | {"recipe", "report"},
    "plugin": BASE | {"cpu", "recipe"},
    "__init__": {"errors", "types", "response", "embedding", "judge", "rewards", "evaluation"},
    "__main__": {"cli"},
}
"""Package or top-level module -> the others that it may import."""

PROBE = "recipe/checks/probe.py"  # a process of its own, that sees verl and the plugin as a training process does
PICTURES = "judge/pictures.py"  # what a judge is shown goes through the one loader of pictures
MORE = {PROBE: {"plugin"}, PICTURES: {"data"}}
"""File -> what it alone may import beyond its package's line."""

FRAMEWORKS = {
    # The composed configuration has recipes and verl's own keys.
    "verl": {
        *("plugin.py", "data/dataset.py", "rewards/manager.py", "rewards/sampler.py", "rewards/advantage.py"),
        *("cpu/", PROBE, "recipe/validate.py", "recipe/compose.py", "recipe/sft.py", "runs/start.py"),
        "data/sft/dataset.py",
    },
    "ray": {"runtime/shared_actor.py", "data/prepare/cluster.py"},
    "vllm": {"cpu/"},
    # The one client of servers, and the judge's server of the tests; no other file sends a request.
    "aiohttp": {"openai_client/", "judge/mock.py"},
    "httpx": set(),
}
"""Framework -> files, and folders, that may import it."""

HEAVY = {"aiohttp", "ray", "sentence_transformers", "torch", "transformers", "verl", "vllm"}
HEAVY_AT_IMPORT = {
    "data/dataset.py",
    "data/sft/dataset.py",
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


def part_of(name: str) -> str:
    """`medix_verl.judge.judge` -> `judge`; a name of the front door, such as `medix_verl.__version__`, -> ``."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LAYOUT else ""


def wrong_imports(name: str, source: str) -> list[str]:
    """`file: why` for what a file (`judge/pool.py`) imports and may not."""
    module = ".".join((PACKAGE.name, *Path(name).with_suffix("").parts))
    part = part_of(module)
    if not part:
        return [f"{name}: LAYOUT does not know this package or module"]
    found = list(imports(source, module))
    used = {part_of(other) for other, _ in found if other.split(".")[0] == PACKAGE.name}
    why = [f"imports {other}" for other in used - {part, ""} - LAYOUT[part] - MORE.get(name, set())]
    tops = {(other.split(".")[0], eager) for other, eager in found}
    for framework, allowed in FRAMEWORKS.items():
        if framework in {top for top, _ in tops} and not any(
            name == place or (place.endswith("/") and name.startswith(place)) for place in allowed
        ):
            why.append(f"imports {framework}")
    if name not in HEAVY_AT_IMPORT:
        why += [f"imports {top} when it is imported; do it in a function" for top in HEAVY if (top, True) in tops]
    return [f"{name}: {reason}" for reason in sorted(why)]


def test_imports_point_one_way() -> None:
    files = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
    assert len(files) > 150
    found = [line for name, path in files.items() for line in wrong_imports(name, path.read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


def test_the_layout_has_no_circle() -> None:
    """Each line of LAYOUT names only what has its own line, and no two parts import each other, however far round."""
    left = dict(LAYOUT)
    while free := [part for part, used in left.items() if not used & set(left)]:
        left = {part: used for part, used in left.items() if part not in free}
    assert left == {}
    assert set().union(*LAYOUT.values()) <= set(LAYOUT)


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("judge/pool.py", "from medix_verl.rewards.terms import x", ["rewards"]),
        ("judge/pool.py", "def f():\n    import medix_verl.embedding.base", ["embedding"]),
        ("judge/pool.py", "from ..data import schema", ["data"]),
        ("judge/pool.py", "from medix_verl import cli", ["cli"]),
        ("judge/pool.py", "from .base import Judge\nfrom medix_verl.types import Verdict", []),
        ("judge/pool.py", "from medix_verl.runtime.files import x\nfrom medix_verl import openai_client", []),
        ("rewards/terms.py", "from medix_verl.judge.judge import Judge", []),
        ("errors.py", "from medix_verl import types", ["types"]),
        ("runtime/dispatch.py", "from medix_verl.openai_client import OpenAIClient", []),
        ("runtime/dispatch.py", "from medix_verl.judge.spec import JudgeSpec", ["judge"]),
        ("openai_client/client.py", "from medix_verl.runtime import files", ["runtime"]),
        ("evaluation/tasks.py", "from medix_verl.rewards import terms", []),
        ("rewards/terms.py", "from medix_verl.evaluation import tasks", ["evaluation"]),
        ("newcomer.py", "", ["LAYOUT"]),
        ("judge/pool.py", "def f():\n    import ray", ["imports ray"]),
        ("runtime/shared_actor.py", "def f():\n    import ray", []),
        ("runtime/shared_actor.py", "import ray", ["imports ray when"]),
        ("judge/pool.py", "import torch", ["imports torch when"]),
        ("judge/pool.py", "def f():\n    import torch", []),
        ("data/source.py", "def f():\n    from verl import x", ["imports verl"]),
        ("data/dataset.py", "import torch\nfrom verl import x", []),
        ("judge/pool.py", "def f():\n    import vllm", ["imports vllm"]),
        (PROBE, "from medix_verl import plugin", []),
        (PICTURES, "def f():\n    from medix_verl.data.pictures.images import load_image", []),
        ("cli/scoring/score.py", "from medix_verl import plugin", ["plugin"]),
    ],
)
def test_a_wrong_import_is_seen(name: str, source: str, expected: list[str]) -> None:
    found = wrong_imports(name, source)
    assert len(found) == len(expected)
    assert all(line.startswith(f"{name}: ") and part in line for line, part in zip(found, expected, strict=True))


def test_eager_and_lazy_imports_are_told_apart() -> None:
    source = "import ray\nif TYPE_CHECKING:\n    import torch\ndef f():\n    import verl\nclass A:\n    import vllm\n"
    assert dict(imports(source, "medix_verl.x")) == {"ray": True, "torch": False, "verl": False, "vllm": True}
