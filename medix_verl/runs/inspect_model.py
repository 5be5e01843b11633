# SPDX-License-Identifier: Apache-2.0
"""`python -m medix_verl.runs.inspect_model DIR`: what transformers says of a model's folder, as one JSON line.

A process of its own, because transformers is heavy and a broken model can hang or kill what loads it. The model is
built without memory for its weights (device `meta`); their names and shapes are compared by transformers' own loading,
and their values are read file by file, so that a model needs no more memory here than its largest tensor.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["inspect_model", "load_model", "main"]


def inspect_model(folder: Path) -> dict[str, Any]:
    """The findings: class, names that are missing or too many, tensors and values, processor and tokenizer."""
    from transformers import AutoTokenizer

    model, info = load_without_weights(folder)
    found: dict[str, Any] = {
        "class": type(model).__name__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **{key: sorted(str(name) for name in info.get(f"{key}_keys") or ()) for key in ("missing", "unexpected")},
        "mismatched": sorted(str(item) for item in info.get("mismatched_keys") or ()),
        "tokens": len(AutoTokenizer.from_pretrained(folder)),
        "pictures": has_processor(folder),
    }
    return {**found, **read_values(folder)}


def load_without_weights(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The model on the device `meta`, and what transformers found while it compared names and shapes."""
    model, info = model_class(folder).from_pretrained(folder, device_map="meta", output_loading_info=True)
    return model, info


def load_model(folder: Path) -> Any:
    """The model with its weights, in the type that they are saved in."""
    return model_class(folder).from_pretrained(folder, dtype="auto")


def model_class(folder: Path) -> Any:
    """The class for pictures and text, or else the one for text."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    known = type(AutoConfig.from_pretrained(folder)) in AutoModelForImageTextToText._model_mapping
    return AutoModelForImageTextToText if known else AutoModelForCausalLM


def has_processor(folder: Path) -> bool:
    """Whether a picture processor is there, and loads."""
    names = ("processor_config.json", "preprocessor_config.json")
    if not any((folder / name).is_file() for name in names):
        return False
    from transformers import AutoProcessor

    return hasattr(AutoProcessor.from_pretrained(folder), "image_processor")


def read_values(folder: Path) -> dict[str, Any]:
    """Number of tensors, their types, and the names of those with a value that is no number."""
    import torch
    from safetensors import safe_open

    tensors, dtypes, not_finite = 0, set(), []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - safe_open has keys() and is no mapping
                value = opened.get_tensor(name)
                tensors += 1
                dtypes.add(str(value.dtype).removeprefix("torch."))
                if not torch.isfinite(value).all():
                    not_finite.append(name)
    return {"tensors": tensors, "dtypes": sorted(dtypes), "not_finite": not_finite}


def main() -> None:
    """Print the findings; the last line of standard output is theirs."""
    sys.stdout.write("\n" + json.dumps(inspect_model(Path(sys.argv[1]))) + "\n")


if __name__ == "__main__":
    main()
