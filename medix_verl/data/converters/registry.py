# SPDX-License-Identifier: Apache-2.0
"""Find a converter by name, entry point, dotted module or .py file.

A converter's module is imported only when it is requested. Other packages register converters in the entry-point
group `medix_verl.datasets` (name -> module; `medix-verl new package` creates such a package). A user's own converter
is given as `package.module` or as the path of its file and need not be installed. A built-in name always selects the
built-in converter.
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
    "medix-rl-data": f"{_HERE}.vqa.medix_rl_data",
    "slake": f"{_HERE}.vqa.slake",
    "vqa-rad": f"{_HERE}.vqa.vqa_rad",
    "path-vqa": f"{_HERE}.vqa.path_vqa",
    "pmc-vqa": f"{_HERE}.vqa.pmc_vqa",
    "omnimedvqa": f"{_HERE}.vqa.omnimedvqa",
    "pubmedvision": f"{_HERE}.vqa.pubmedvision",
    "kvasir-vqa": f"{_HERE}.vqa.kvasir_vqa",
    "medxpertqa": f"{_HERE}.vqa.medxpertqa",
    "medframeqa": f"{_HERE}.vqa.medframeqa",
    "gmai-mmbench": f"{_HERE}.vqa.gmai_mmbench",
    "mimic-cxr": f"{_HERE}.radiology.mimic_cxr",
    "iu-xray": f"{_HERE}.radiology.iu_xray",
    "medqa": f"{_HERE}.text.medqa",
    "medmcqa": f"{_HERE}.text.medmcqa",
    "pubmedqa": f"{_HERE}.text.pubmedqa",
    "mmlu-medical": f"{_HERE}.text.mmlu_medical",
    "medical-o1-verifiable-problem": f"{_HERE}.text.medical_o1_verifiable",
    "healthbench": f"{_HERE}.text.healthbench",
    "medbullets": f"{_HERE}.text.medbullets",
    "supergpqa-medical": f"{_HERE}.text.supergpqa_medical",
    "cmb-exam": f"{_HERE}.text.cmb_exam",
    "own": f"{_HERE}.own.questions",
    "dicom": f"{_HERE}.own.dicom_folder",
}
"""Name that the user types -> the converter's module."""


def names() -> list[str]:
    """Return every name that `find` knows: first the built-in ones, then those of other packages."""
    return [*NAMES, *(name for name in _offered() if name not in NAMES)]


def find(name: str) -> ModuleType:
    """Return the converter of that name.

    Args:
        name: One of `names()`, a dotted module, or a path that ends in `.py`.

    Returns:
        A module with SPEC and read (see `base`).

    Raises:
        ConfigError: There is no such converter, or the module is not a converter.
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
        module = importlib.import_module(target)
    except ImportError as cause:
        raise ConfigError(f"data set {name!r}: module {target} cannot be imported ({cause}); install it") from cause
    except Exception as cause:  # a third-party module can raise anything; the message names the module
        said = f"{type(cause).__name__}: {cause}"
        raise ConfigError(f"data set {name!r}: module {target} cannot be imported ({said}); fix it") from cause
    return _checked(module, name)


def options_of(converter: ModuleType) -> Mapping[str, Option]:
    """Return the options that `--set` accepts for a converter."""
    options: Mapping[str, Option] = getattr(converter, "OPTIONS", {})
    return options


def _offered() -> dict[str, str]:
    return {point.name: point.value.split(":")[0] for point in _entry_points()}


def _entry_points() -> Iterator[metadata.EntryPoint]:
    yield from sorted(metadata.entry_points(group=GROUP), key=lambda point: (point.name, point.value))


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give the .py file of a converter (SPEC and read)")
    # Files of the same name in different folders must become different modules.
    place = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    spec = importlib.util.spec_from_file_location(f"medix_verl_dataset_{path.stem}_{place}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file; give the .py file of a converter (SPEC and read)")
    module = importlib.util.module_from_spec(spec)
    # dataclasses looks up the module during its import, and pickle does so later.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as cause:  # a user's file can raise anything; the message names the file
        sys.modules.pop(spec.name, None)
        raise ConfigError(f"{path} cannot be imported: {type(cause).__name__}: {cause}; fix it") from cause
    return module


def _checked(module: ModuleType, name: str) -> ModuleType:
    if not isinstance(getattr(module, "SPEC", None), SetSpec) or not callable(getattr(module, "read", None)):
        remedy = "write both as examples/add_a_dataset.py does"
        raise ConfigError(f"{name} is not a converter: it needs SPEC (a SetSpec) and read(source, split); {remedy}")
    return module
