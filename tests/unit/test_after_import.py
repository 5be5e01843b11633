# SPDX-License-Identifier: Apache-2.0
"""Hooks on imports: called once, after the module's own code, and nothing else about the import changes."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from medix_verl import after_import as after
from medix_verl.after_import import after_import


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package `hooked` with a module `hooked.inner`; forgotten afterwards."""
    (tmp_path / "hooked").mkdir()
    (tmp_path / "hooked" / "__init__.py").write_text("")
    (tmp_path / "hooked" / "inner.py").write_text("def value():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "hooked.inner"
    for name in [name for name in sys.modules if name.partition(".")[0] == "hooked"]:
        del sys.modules[name]
    after._finder.hooks.clear()
    if after._finder in sys.meta_path:
        sys.meta_path.remove(after._finder)


def test_the_hook_runs_after_the_module_and_before_the_importer_sees_it(package: str) -> None:
    def double(module: ModuleType) -> None:
        original = module.value
        module.value = lambda: 2 * original()  # type: ignore[attr-defined]

    after_import(package, double)
    from hooked.inner import value  # type: ignore[import-not-found]

    assert value() == 2


def test_the_hook_runs_once(package: str) -> None:
    seen: list[str] = []
    after_import(package, lambda module: seen.append(module.__name__))
    importlib.import_module(package)
    importlib.import_module(package)
    assert seen == [package]


def test_an_imported_module_is_hooked_at_once(package: str) -> None:
    module = importlib.import_module(package)
    seen: list[ModuleType] = []
    after_import(package, seen.append)
    assert seen == [module]
    assert after._finder not in sys.meta_path


def test_two_hooks_of_one_module_both_run_in_order(package: str) -> None:
    seen: list[int] = []
    after_import(package, lambda _module: seen.append(1))
    after_import(package, lambda _module: seen.append(2))
    importlib.import_module(package)
    assert seen == [1, 2]


def test_the_module_looks_as_it_would_without_a_hook(package: str) -> None:
    after_import(package, lambda _module: None)
    module = importlib.import_module(package)
    assert module.__file__ is not None and module.__file__.endswith("inner.py")
    assert module.__spec__ is not None and module.__spec__.name == package
    assert "return 1" in inspect.getsource(module.value)
    assert module.__loader__ is module.__spec__.loader
    assert module.__loader__.get_source(package).startswith("def value")  # type: ignore[union-attr]
    assert importlib.reload(module).value() == 1


def test_a_module_that_does_not_exist_is_still_missing(package: str) -> None:
    after_import("hooked.absent", lambda _module: None)
    with pytest.raises(ModuleNotFoundError, match=r"hooked\.absent"):
        importlib.import_module("hooked.absent")


def test_a_failed_import_keeps_the_hook_for_the_next_try(package: str, tmp_path: Path) -> None:
    path = tmp_path / "hooked" / "inner.py"
    path.write_text("raise ImportError('a dependency is missing')\n")
    seen: list[str] = []
    after_import(package, lambda module: seen.append(module.__name__))
    with pytest.raises(ImportError, match="a dependency is missing"):
        importlib.import_module(package)
    path.write_text("value = 'a longer text than before, so that the cached code is not used'\n")
    importlib.import_module(package)
    assert seen == [package]


def test_a_failing_hook_is_not_swallowed(package: str) -> None:
    def broken(_module: ModuleType) -> None:
        raise AttributeError("the line is gone")

    after_import(package, broken)
    with pytest.raises(AttributeError, match="the line is gone"):
        importlib.import_module(package)
    assert package not in sys.modules


def test_other_imports_pass(package: str) -> None:
    after_import(package, lambda _module: None)
    assert after._finder.find_spec("hooked", None) is None
    assert sys.meta_path.count(after._finder) == 1
    after_import(package, lambda _module: None)
    assert sys.meta_path.count(after._finder) == 1
