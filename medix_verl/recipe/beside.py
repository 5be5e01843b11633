# SPDX-License-Identifier: Apache-2.0
"""OmegaConf resolver `${medix.beside:lab/judge.txt}`: a file in the folder of the namespace `lab`'s recipes.

The install folder of a shared recipe is not known in advance, so its prompts and code are named by this resolver. The
plugin registers it in every process that imports verl.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from medix_verl.errors import ConfigError

__all__ = ["RESOLVER", "beside", "register"]

RESOLVER = "medix.beside"


def beside(name: str) -> str:
    """Path of a file below a folder `recipe`; raises ConfigError if it is missing or resolves to another folder."""
    from medix_verl.recipe.index import GROUP, search_paths

    for folder in search_paths().values():
        top = Path(str(folder)) / GROUP
        path = top / name
        if path.is_file() and path.resolve().is_relative_to(top.resolve()):
            return str(path)
    raise ConfigError(f"${{{RESOLVER}:{name}}}: no file {name} lies beside a recipe; type medix-verl recipe list")


def register(omegaconf: ModuleType) -> None:
    """Register the resolver with the imported module `omegaconf`."""
    omegaconf.OmegaConf.register_new_resolver(RESOLVER, beside, replace=True)
