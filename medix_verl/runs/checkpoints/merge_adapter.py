# SPDX-License-Identifier: Apache-2.0
"""`python -m medix_verl.runs.checkpoints.merge_adapter DIR`: merge DIR/lora_adapter (LoRA) into its weights.

verl's merger writes the base model's weights and, separately, the adapter. A server that is given that folder would
serve the base model without a warning, so an export merges the adapter; the adapter's folder is kept.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

__all__ = ["main", "merge_adapter"]

ADAPTER = "lora_adapter"


def merge_adapter(folder: Path) -> int:
    """Merge and save; returns the number of adapted modules.

    Raises:
        ValueError: The adapter does not fit the model, or has no scale (verl writes alpha 0 if it is unknown).
    """
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    from medix_verl.runs.checkpoints.inspect_model import load_model

    config = LoraConfig.from_pretrained(str(folder / ADAPTER))
    if not config.lora_alpha:
        raise ValueError("the adapter's lora_alpha is 0, so it would change nothing: lora_train_meta.json is missing")
    weights = load_file(folder / ADAPTER / "adapter_model.safetensors")
    adapted = get_peft_model(load_model(folder), config)
    result: Any = set_peft_model_state_dict(adapted, weights)
    if result.unexpected_keys:
        raise ValueError(f"the adapter has weights that the model has no place for: {result.unexpected_keys[:3]}")
    adapted.merge_and_unload().save_pretrained(folder)
    return len(weights) // 2


def main() -> None:
    """Merge the adapter in the folder of the command line."""
    sys.stdout.write(f"merged an adapter of {merge_adapter(Path(sys.argv[1]))} modules\n")


if __name__ == "__main__":
    main()
