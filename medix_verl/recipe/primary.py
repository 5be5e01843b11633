# SPDX-License-Identifier: Apache-2.0
"""Finds the keys of a user's own primary configuration that a typed recipe has changed.

Hydra applies `+recipe=NAME` after the whole primary configuration, so the recipe overrides it; a recipe in its
`defaults` list before `_self_` does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medix_verl.recipe.check import Check
from medix_verl.recipe.compose import leaves
from medix_verl.recipe.index import names_of_ours

__all__ = ["lost_keys"]

MAINS = ("main", "command-line")
"""Hydra's provider names of a primary configuration: `--config-path`, and `--config-dir`."""
SHOWN = 10


def lost_keys(config: Any, words: Sequence[str]) -> Iterator[Check]:
    """A warning if the recipe has changed the values of keys in the user's own file.

    Args:
        config: Composed, with Hydra's own section.
        words: Overrides as typed.
    """
    from omegaconf import OmegaConf

    names = names_of_ours(words)
    typed = {word.split("=", 1)[0].lstrip("+~") for word in words}
    lost = []
    for key, value in own_keys(config).items() if names else ():
        now = OmegaConf.select(config, key)
        if key not in typed and "${" not in str(value) and now != value:
            lost.append(f"{key}: {value} -> {now}")
    if lost:
        found = f"the recipe changes what your configuration says: {'; '.join(lost[:SHOWN])}"
        todo = f"put `- recipe: {names[0]}` before `- _self_` into its defaults, and yours win; or type the keys"
        yield Check("own keys", "warn", found, todo)


def own_keys(config: Any) -> Mapping[str, Any]:
    """The keys in the primary configuration's file, without `defaults` and `hydra`; empty if it is verl's own file."""
    import yaml
    from omegaconf import OmegaConf

    name = str(OmegaConf.select(config, "hydra.job.config_name") or "").removesuffix(".yaml")
    sources: Any = OmegaConf.select(config, "hydra.runtime.config_sources") or ()
    places = [Path(str(one.path)) for one in sources if one.schema == "file" and one.provider in MAINS]
    found = next((path for place in places if (path := place / f"{name}.yaml").is_file()), None)
    if found is None or found.parts[-4:-1] == ("verl", "trainer", "config"):
        return {}
    read = yaml.safe_load(found.read_text(encoding="utf-8"))
    kept = {key: value for key, value in (read or {}).items() if key not in ("defaults", "hydra")}
    return leaves(kept) if kept else {}
