# SPDX-License-Identifier: Apache-2.0
"""Runs a function right after a module is imported, so that unneeded work-arounds cost no import time."""

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
    """The module's own loader; calls the hooks after it."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        # inspect, linecache and pickle need more of a module's loader than importlib does.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        for hook in _finder.hooks.get(module.__name__, ()):
            hook(module)
        # Removed only now: an import that failed is tried again and needs the hooks.
        _finder.hooks.pop(module.__name__, None)


class _HookFinder(importlib.abc.MetaPathFinder):
    """Finds the hooked modules through the other finders, and wraps their loaders."""

    def __init__(self) -> None:
        self.hooks: dict[str, list[Hook]] = {}
        self._asking: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.hooks or fullname in self._asking:
            return None
        self._asking.add(fullname)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking.discard(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _HookedLoader(spec.loader)
        return spec


_finder = _HookFinder()


def after_import(name: str, hook: Hook) -> None:
    """Call `hook(module)` once module `name` is imported, or now if it already is.

    Args:
        name: The dotted module name.
        hook: Called once, before any `from name import ...` of the importer sees the module.
    """
    if name in sys.modules:
        hook(sys.modules[name])
        return
    hooks = _finder.hooks.setdefault(name, [])
    if hook not in hooks:
        hooks.append(hook)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
