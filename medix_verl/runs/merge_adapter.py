# SPDX-License-Identifier: Apache-2.0
"""`python -m medix_verl.runs.merge_adapter DIR`: put the LoRA adapter DIR/lora_adapter into the weights of DIR.

verl's merger leaves the base model's weights and the adapter beside them. A server that is given that folder would
serve the base model without a word, so an export puts the adapter in, and leaves it where it is for who wants it.
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
        ValueError: The adapter does not fit the model, or has no scale (verl writes alpha 0 where it knows none).
    """
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    from medix_verl.runs.inspect_model import load_model

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
    """Merge the adapter of the folder that the command line names."""
    sys.stdout.write(f"merged an adapter of {merge_adapter(Path(sys.argv[1]))} modules\n")


if __name__ == "__main__":
    main()
