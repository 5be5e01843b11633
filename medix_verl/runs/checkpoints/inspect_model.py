# SPDX-License-Identifier: Apache-2.0
"""`python -m medix_verl.runs.checkpoints.inspect_model DIR [--trust]`: check a model with transformers; one JSON line.

It runs as a separate process, because transformers is slow to import and a broken model can hang or kill the process.
The model is built without memory for its weights (device `meta`); transformers compares names and shapes on loading.
The values are read file by file, so that no more memory is needed than for the largest tensor.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["inspect_model", "load_model", "main"]


def inspect_model(folder: Path, trust: bool = False) -> dict[str, Any]:
    """The findings: class, missing and unexpected names, tensors and values, processor and tokenizer.

    Args:
        folder: The model's folder.
        trust: Whether its own code may be run (`auto_map`).
    """
    from transformers import AutoTokenizer

    model, info = load_without_weights(folder, trust)
    found: dict[str, Any] = {
        "class": type(model).__name__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **{key: sorted(str(name) for name in info.get(f"{key}_keys") or ()) for key in ("missing", "unexpected")},
        "mismatched": sorted(str(item) for item in info.get("mismatched_keys") or ()),
        "tokens": len(AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)),
        "pictures": has_processor(folder, trust),
    }
    return {**found, **read_values(folder)}


def load_without_weights(folder: Path, trust: bool = False) -> tuple[Any, dict[str, Any]]:
    """The model on the device `meta`, and the differences in names and shapes that transformers found."""
    model, info = model_class(folder, trust).from_pretrained(
        folder, device_map="meta", output_loading_info=True, trust_remote_code=trust
    )
    return model, info


def load_model(folder: Path) -> Any:
    """The model with its weights, in their saved type."""
    return model_class(folder).from_pretrained(folder, dtype="auto")


def model_class(folder: Path, trust: bool = False) -> Any:
    """The class for pictures and text if there is one, else the class for text."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
    known = type(config) in AutoModelForImageTextToText._model_mapping
    return AutoModelForImageTextToText if known else AutoModelForCausalLM


def has_processor(folder: Path, trust: bool = False) -> bool:
    """Whether a picture processor exists and loads."""
    names = ("processor_config.json", "preprocessor_config.json")
    if not any((folder / name).is_file() for name in names):
        return False
    from transformers import AutoProcessor

    return hasattr(AutoProcessor.from_pretrained(folder, trust_remote_code=trust), "image_processor")


def read_values(folder: Path) -> dict[str, Any]:
    """Number of tensors, their types, and the names of those with non-finite values."""
    import torch
    from safetensors import safe_open

    tensors, dtypes, not_finite = 0, set(), []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - safe_open has keys() but is not iterable
                value = opened.get_tensor(name)
                tensors += 1
                dtypes.add(str(value.dtype).removeprefix("torch."))
                if not torch.isfinite(value).all():
                    not_finite.append(name)
    return {"tensors": tensors, "dtypes": sorted(dtypes), "not_finite": not_finite}


def main() -> None:
    """Print the findings as the last line of standard output."""
    found = inspect_model(Path(sys.argv[1]), trust="--trust" in sys.argv[2:])
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
