# SPDX-License-Identifier: Apache-2.0
"""Lets a CUDA build of torchvision be imported beside a CPU torch.

torchvision registers shape rules for `torchvision::nms` and `torchvision::qnms` while it is imported
(torchvision/_meta_registrations.py); its compiled library, which would define these operators, cannot load beside a
CPU torch. Two schemas without an implementation are enough: nothing here detects boxes, transformers' picture
processors need the transforms only. Importing this module arranges that; it imports neither torch nor torchvision
itself, and it does nothing where torch has an accelerator or torchvision's build fits.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["TorchvisionFinder", "define_schemas", "install"]

_SCHEMAS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_kept: list[Any] = []
"""torch drops an operator with the library object that defined it, so the object lives as long as the process."""


class TorchvisionFinder:
    """A meta-path finder that finds nothing: it only notices that torchvision is about to be imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Define the schemas at the first import of torchvision."""
        # It stays on the meta path: importlib walks the live list, and a removal would make it skip the next finder.
        if name == "torchvision":
            define_schemas()


def define_schemas() -> bool:
    """Define the two operators' schemas where torchvision's own library cannot.

    Returns:
        True when they were defined now.
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
    """Wait for the import of torchvision; without effect when it is already imported or waited for."""
    if "torchvision" in sys.modules or any(isinstance(finder, TorchvisionFinder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, TorchvisionFinder())


install()
