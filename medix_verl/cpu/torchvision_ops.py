# SPDX-License-Identifier: Apache-2.0
"""Makes a CUDA build of torchvision importable with a CPU build of torch.

While it is imported, torchvision registers shape rules for `torchvision::nms` and `torchvision::qnms`
(torchvision/_meta_registrations.py); its compiled library, which defines these operators, cannot be loaded with a CPU
torch. Two schemas without an implementation are enough: no boxes are detected here, and transformers' image processors
need only the transforms. Importing this module installs the hook; it does not import torch or torchvision, and does
nothing if torch has an accelerator or torchvision's build matches.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["TorchvisionFinder", "define_schemas", "install"]

_SCHEMAS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_kept: list[Any] = []
"""torch drops an operator with the library object that defined it, so the object is kept until the process ends."""


class TorchvisionFinder:
    """A meta-path finder that never finds a module: it only reacts to the import of torchvision."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Define the schemas at the first import of torchvision."""
        # It stays on the meta path: importlib iterates the live list, and a removal would skip the next finder.
        if name == "torchvision":
            define_schemas()


def define_schemas() -> bool:
    """Define the two operators' schemas if torchvision's own library cannot.

    Returns:
        True if they were defined by this call.
    """
    from medix_verl.cpu.environment import is_cuda_build, package_folder, torch_is_cpu_only

    folder = package_folder("torchvision")
    if _kept or folder is None or not torch_is_cpu_only() or not is_cuda_build(folder):
        return False
    import torch

    # A fragment, because the namespace itself belongs to torchvision.
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _SCHEMAS:
        library.define(name + _SIGNATURE)
    _kept.append(library)
    return True


def install() -> None:
    """Install the finder; no effect if torchvision is already imported or the finder is installed."""
    if "torchvision" in sys.modules or any(isinstance(finder, TorchvisionFinder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, TorchvisionFinder())


install()
