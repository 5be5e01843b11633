# SPDX-License-Identifier: Apache-2.0
"""Float32 linear layers by oneDNN on AMD processors with AVX-512, where torch's own way leaves half the speed unused.

torch multiplies float32 matrices with MKL, which gives AMD processors its AVX2 code only (90 GFLOP/s a core of Zen 5;
oneDNN, which torch brings as well and uses for bfloat16, does 209). The operator is the one that torch.compile emits
for a linear layer on the CPU (torch/_inductor/fx_passes/mkldnn_fusion.py); it is not public, so it is tried against
the layer itself first, and any difference or absence leaves the model as it was. Which way is taken depends on the
processor alone, never on a timing: the same machine gives the same vectors.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

__all__ = ["quicken", "vendor"]

CPUINFO = Path("/proc/cpuinfo")
TOLERANCE = 1e-4
"""Largest accepted difference from torch's own product, for numbers of the size of 1."""


def quicken(model: Any) -> int:
    """Let the plain linear layers of a float32 model on the CPU be computed by oneDNN, where that is faster.

    Args:
        model: A torch module, used for inference only from now on.

    Returns:
        The number of layers that were changed; 0 on other processors.
    """
    import torch

    if vendor() != "AuthenticAMD" or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return 0
    layers = [layer for layer in model.modules() if type(layer) is torch.nn.Linear]
    layers = [layer for layer in layers if layer.weight.dtype == torch.float32 and layer.weight.device.type == "cpu"]
    if not layers or not agrees(layers[0]):
        return 0
    for layer in layers:
        layer.forward = partial(product, layer)
    return len(layers)


def agrees(layer: Any) -> bool:
    """Whether the operator is there and computes what the layer computes."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        for shape in ((3, layer.in_features), (2, 5, layer.in_features)):
            x = torch.randn(shape, generator=generator)
            try:
                found = product(layer, x)
            except (AttributeError, RuntimeError, TypeError):
                return False
            if not torch.allclose(found, layer(x), atol=TOLERANCE):
                return False
    return True


def product(layer: Any, x: Any) -> Any:
    """The layer's output for x (..., in_features), by oneDNN; the weights are read where they are."""
    import torch

    return torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, "none", [], "")


def vendor() -> str:
    """The processor's maker as Linux names it, `AuthenticAMD` or `GenuineIntel`; empty where that is not known."""
    try:
        lines = CPUINFO.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ""
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id"))
    return next(names, "")
