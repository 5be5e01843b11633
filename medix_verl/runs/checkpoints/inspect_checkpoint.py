# SPDX-License-Identifier: Apache-2.0
"""`python -m medix_verl.runs.checkpoints.inspect_checkpoint MODEL FILE...`: list names in files of torch.save, as JSON.

The pickles are parsed and never executed. The result is for a message; the protection is that torch then refuses to
create anything but tensors (medix_verl.runs.checkpoints.trust). It runs as a separate process because torch and
transformers are slow to import.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["called_by", "main"]

SAFE_FROM = (2, 10)
"""First torch version whose weights-only loading has no known vulnerability (CVE-2026-24747)."""


def called_by(path: Path, version: str) -> list[str]:
    """Names in a file other than tensors and their layout; empty for a file that torch loads as tensors only.

    Args:
        path: A file of torch.save.
        version: torch's version.
    """
    import torch.distributed.tensor  # noqa: F401 - registers DTensor and its layout as safe for torch
    from torch.serialization import get_unsafe_globals_in_checkpoint

    if tuple(int(part) for part in version.split("+")[0].split(".")[:2]) < SAFE_FROM:
        return [f"anything, by a hole in torch {version}; 2.10 has it fixed"]
    try:
        return sorted(get_unsafe_globals_in_checkpoint(str(path)))
    except (ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as cause:
        return [f"no file of tensors alone ({' '.join(str(cause).split())[:80]})"]


def is_own_class(model: Path) -> bool:
    """Whether transformers has no class for a model's type."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    kind = json.loads((model / "config.json").read_text(encoding="utf-8")).get("model_type")
    return kind not in CONFIG_MAPPING_NAMES


def main(words: Sequence[str]) -> None:
    """Print the findings as the last line of standard output."""
    import torch

    called = {Path(word).name: called_by(Path(word), torch.__version__) for word in words[1:]}
    sys.stdout.write("\n" + json.dumps({"called": called, "own_class": is_own_class(Path(words[0]))}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
