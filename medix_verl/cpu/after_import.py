# SPDX-License-Identifier: Apache-2.0
"""Runs a function right after a module is imported, so that a work-around costs nothing where it is not needed."""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["after_import"]

Hook = Callable[[ModuleType], None]


class _HookedLoader(importlib.abc.Loader):
    """The module's own loader, followed by the hook."""

    def __init__(self, loader: importlib.abc.Loader, hook: Hook) -> None:
        self._loader = loader
        self._hook = hook

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._hook(module)


class _HookFinder(importlib.abc.MetaPathFinder):
    """Finds the hooked modules through the other finders, and wraps their loaders."""

    def __init__(self) -> None:
        self.hooks: dict[str, Hook] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        hook = self.hooks.pop(fullname, None)
        if hook is None:
            return None
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _HookedLoader(spec.loader, hook)
        return spec


_finder = _HookFinder()


def after_import(name: str, hook: Hook) -> None:
    """Call `hook(module)` once module `name` is imported, or now if it already is.

    Args:
        name: dotted module name.
        hook: called once, before any `from name import ...` of the importer sees the module.
    """
    if name in sys.modules:
        hook(sys.modules[name])
        return
    _finder.hooks[name] = hook
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
