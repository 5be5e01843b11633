# SPDX-License-Identifier: Apache-2.0
"""Which converters there are, and where: by name, by entry point, by dotted module or by a .py file.

A converter's module is imported when it is asked for and not before. Another package offers its own through the
entry-point group `medix_verl.datasets` (name -> module); a user's own is given by `package.module` or by the path of
its file, and needs no installation. A built-in name always means the built-in converter.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path
from types import ModuleType

from medix_verl.data.converters.base import Option, SetSpec
from medix_verl.errors import ConfigError

__all__ = ["GROUP", "NAMES", "find", "names", "options_of"]

GROUP = "medix_verl.datasets"
_HERE = "medix_verl.data.converters"

NAMES: Mapping[str, str] = {
    "medix-rl-data": f"{_HERE}.medix_rl_data",
    "slake": f"{_HERE}.slake",
    "vqa-rad": f"{_HERE}.vqa_rad",
    "path-vqa": f"{_HERE}.path_vqa",
    "pmc-vqa": f"{_HERE}.pmc_vqa",
    "omnimedvqa": f"{_HERE}.omnimedvqa",
    "pubmedvision": f"{_HERE}.pubmedvision",
    "kvasir-vqa": f"{_HERE}.kvasir_vqa",
    "medxpertqa": f"{_HERE}.medxpertqa",
    "mimic-cxr": f"{_HERE}.mimic_cxr",
    "iu-xray": f"{_HERE}.iu_xray",
    "medqa": f"{_HERE}.medqa",
    "medmcqa": f"{_HERE}.medmcqa",
    "pubmedqa": f"{_HERE}.pubmedqa",
    "mmlu-medical": f"{_HERE}.mmlu_medical",
    "medical-o1-verifiable-problem": f"{_HERE}.medical_o1_verifiable",
    "healthbench": f"{_HERE}.healthbench",
    "own": f"{_HERE}.own",
    "dicom": f"{_HERE}.dicom_folder",
}
"""What the user types -> the converter's module."""


def names() -> list[str]:
    """Every name that `find` knows: the built-in ones, then those of other packages."""
    return [*NAMES, *(name for name in _offered() if name not in NAMES)]


def find(name: str) -> ModuleType:
    """The converter of that name.

    Args:
        name: One of `names()`, a dotted module, or a path that ends in `.py`.

    Returns:
        A module with SPEC and read (see `base`).

    Raises:
        ConfigError: There is no such converter, or what is there is none.
    """
    if name in NAMES:
        return importlib.import_module(NAMES[name])
    if name.endswith(".py"):
        return _checked(_from_file(Path(name).expanduser()), name)
    offered = _offered()
    target = offered.get(name, name if "." in name else "")
    if not target:
        near = get_close_matches(name, [*names(), "demo"], n=1)
        hint = f"did you mean {near[0]!r}?" if near else "`medix-verl prepare --list` shows them"
        raise ConfigError(f"unknown data set {name!r}: {hint} (or give your own converter: package.module or FILE.py)")
    try:
        return _checked(importlib.import_module(target), name)
    except ImportError as cause:
        raise ConfigError(f"data set {name!r}: module {target} cannot be imported ({cause}); install it") from cause


def options_of(converter: ModuleType) -> Mapping[str, Option]:
    """What `--set` may say to a converter."""
    options: Mapping[str, Option] = getattr(converter, "OPTIONS", {})
    return options


def _offered() -> dict[str, str]:
    return {point.name: point.value.split(":")[0] for point in _entry_points()}


def _entry_points() -> Iterator[metadata.EntryPoint]:
    yield from sorted(metadata.entry_points(group=GROUP), key=lambda point: (point.name, point.value))


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give the .py file of a converter (SPEC and read)")
    # Two files of one name in two folders are two modules.
    place = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    spec = importlib.util.spec_from_file_location(f"medix_verl_dataset_{path.stem}_{place}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file; give the .py file of a converter (SPEC and read)")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their own module up while it is being imported, and pickle does later.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as cause:  # a user's file may fail in any way; the message says whose it is
        sys.modules.pop(spec.name, None)
        raise ConfigError(f"{path} cannot be imported: {type(cause).__name__}: {cause}; mend it") from cause
    return module


def _checked(module: ModuleType, name: str) -> ModuleType:
    if not isinstance(getattr(module, "SPEC", None), SetSpec) or not callable(getattr(module, "read", None)):
        remedy = "write both as examples/add_a_dataset.py does"
        raise ConfigError(f"{name} is no converter: it needs SPEC (a SetSpec) and read(source, split); {remedy}")
    return module
