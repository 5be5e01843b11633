# SPDX-License-Identifier: Apache-2.0
"""What `medix-verl doctor` asks of a fresh process that imports verl: `python -m medix_verl.cli.probe`.

It runs apart because importing verl takes seconds, may hang or crash on a broken machine, and must be seen as a
training process sees it. Its words are the recipe to look into, or nothing for the one that fits the platform, and
overrides of it. The last line of its standard output is MARKER and one JSON object: `verl_error`, `plugin`,
`platform`, `recipes`, `chosen`. Nothing else imports this module, and it changes nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["MARKER", "first_cause", "main", "probe"]

MARKER = "MEDIX_PROBE "


def main() -> None:
    """Write the report; exceptions are part of it."""
    recipe, *overrides = sys.argv[1:] or [""]
    sys.stdout.write(f"\n{MARKER}{json.dumps(probe(recipe, overrides))}\n")


def probe(recipe: str = "", overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Import verl and describe what became of the plugin, the platform, all recipes, and the chosen one.

    Args:
        recipe: A name, or several with commas; empty is `medix_cpu` on the CPU and `medix` elsewhere.
        overrides: Further words of its command line.
    """
    try:
        import verl  # noqa: F401
    except Exception as error:  # noqa: BLE001 - whatever stops verl is what the doctor has to show
        return {"verl_error": first_cause(error), "plugin": None, "platform": None, "recipes": {}, "chosen": None}
    platform = _platform()
    recipe = recipe or ("medix_cpu" if platform["device"] == "cpu" else "medix")
    chosen = {"name": recipe, **_compose(f"[{recipe}]", overrides)}
    return {
        "verl_error": None, "plugin": _plugin(), "platform": platform, "recipes": _recipes(), "chosen": chosen
    }  # fmt: skip


def first_cause(error: BaseException) -> str:
    """One line for the exception that started it all, not for the last one that was raised on top of it."""
    seen = {id(error)}
    while (deeper := error.__cause__ or error.__context__) is not None and id(deeper) not in seen:
        error = deeper
        seen.add(id(error))
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _plugin() -> dict[str, Any]:
    loaded = "medix_verl.plugin" in sys.modules
    try:
        from medix_verl.plugin import status

        return {"loaded": loaded, **status()}
    except Exception as error:  # noqa: BLE001 - whatever stops the plugin is what the doctor has to show
        return {"loaded": False, "registered": False, "searchpath": False, "error": first_cause(error)}


def _platform() -> dict[str, Any]:
    try:
        from verl.plugin.platform.platform_manager import get_platform

        platform = get_platform()
        available = bool(platform.is_available())
        return {
            "device": str(platform.device_name),
            "vendor": str(platform.vendor_name),
            "available": available,
            "count": int(platform.device_count()) if available else 0,
            "error": None,
        }
    except Exception as error:  # noqa: BLE001 - drivers fail in their own ways
        return {"device": "", "vendor": "", "available": False, "count": 0, "error": first_cause(error)}


def _recipes() -> dict[str, Any]:
    try:
        from medix_verl.recipes_index import recipe_heads

        heads = recipe_heads().values()
        return {head.name: _compose(f"[medix,{head.name}]" if head.is_overlay else head.name) for head in heads}
    except Exception as error:  # noqa: BLE001 - a missing recipes folder is a finding, not a crash
        return {"": {"error": first_cause(error)}}


def _compose(name: str, more: Sequence[str] = ()) -> dict[str, Any]:
    try:
        from hydra import compose, initialize_config_module
        from omegaconf import OmegaConf

        with initialize_config_module("verl.trainer.config", version_base=None):
            config = compose("ppo_trainer", overrides=[f"+recipe={name}", *more])
        if isinstance(config.get("recipe"), str):
            # Hydra takes a group that it does not know for a plain new key, and says nothing.
            return {"error": "it does not land: Hydra does not know the group 'recipe'"}
        medix: Any = OmegaConf.to_container(config.reward.medix, resolve=True)
        files = [*_listed(config.data.train_files), *_listed(config.data.val_files)]
    except Exception as error:  # noqa: BLE001 - Hydra and OmegaConf raise many kinds; each is a finding
        return {"error": first_cause(error)}
    judge, semantic = medix.get("judge") or {}, medix.get("semantic") or {}
    return {"error": None, "judge": judge, "semantic": semantic, "files": files}


def _listed(files: Any) -> list[str]:
    """`data.train_files` is one path, several, or null."""
    return [] if files is None else [files] if isinstance(files, str) else [str(path) for path in files]


if __name__ == "__main__":
    main()
