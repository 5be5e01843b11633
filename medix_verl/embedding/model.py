# SPDX-License-Identifier: Apache-2.0
"""Finds and loads a sentence-transformers model from what is on this machine; it never waits for a network.

A model that is not here is an EncoderError that says which command brings it. Float32 models on AMD processors with
AVX-512 are made faster: torch multiplies float32 matrices with MKL, which gives these processors its AVX2 code only
(90 GFLOP/s a core of Zen 5); oneDNN, which torch brings as well and uses for bfloat16, does 209. The operator is the
one that torch.compile emits for a linear layer on the CPU (torch/_inductor/fx_passes/mkldnn_fusion.py); it is not
public, so it is tried against the layer itself first, and any difference or absence leaves the model as it was. Which
way is taken depends on the processor alone, never on a timing: the same machine gives the same vectors.
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
"""Files of which a hub repository of an encoder has one."""
MAX_THREADS = 16
"""Short texts give no work to more."""
EXTRAS = {"onnx": ("onnxruntime", "optimum"), "openvino": ("openvino", "optimum")}
"""Backends of sentence-transformers that need more than it brings itself."""
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
CPUINFO = Path("/proc/cpuinfo")
TOLERANCE = 1e-4
"""Largest accepted difference of oneDNN's product from torch's own, for numbers of the size of 1."""


def locate(name: str) -> str:
    """Turn `package:NAME` into that package's model folder; any other name is a folder or a hub id already.

    Raises:
        EncoderError: The package is not installed or holds no model.
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
        raise EncoderError(f"semantic.model {name!r}: its MODEL_DIR is no folder; reinstall the package")
    return str(folder)


def is_cached(name: str, revision: str | None = None) -> bool:
    """Whether a folder is there, or a hub id's weights are in the local cache."""
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
        # Said at once: the libraries take many seconds to find out the same.
        raise EncoderError(f"semantic.model {spec.model!r} is not on this machine; {advice(spec)}")
    kind = import_library()
    check_backend(spec)
    import torch

    # Ray would allow an actor without CPUs a single thread.
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
        EncoderError: One is missing.
    """
    missing = [name for name in EXTRAS.get(spec.backend, ()) if find_spec(name) is None]
    if missing:
        raise EncoderError(
            f"semantic.backend is {spec.backend!r} and {', '.join(missing)} is missing; type: pip install "
            f"'sentence-transformers[{spec.backend}]', or set semantic.backend to torch"
        )


def options(spec: SemanticSpec) -> dict[str, Any]:
    """What sentence-transformers hands on to the backend."""
    if spec.backend == "onnx":
        return {"provider": PROVIDERS[spec.device.partition(":")[0]]}
    if spec.backend == "openvino":
        return {}
    import torch

    return {"dtype": getattr(torch, spec.dtype)}


def widen(_module: Any, _inputs: Any, features: Any) -> Any:
    """Forward hook behind the transformer: pooling adds many numbers up, which half precision does badly."""
    features["token_embeddings"] = features["token_embeddings"].float()
    return features


def import_library() -> Any:
    """The class SentenceTransformer.

    Raises:
        EncoderError: The library is missing, or its torch and torchvision do not fit together.
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
    """Keep transformers' bar for loading weights out of stderr, where only our own lines belong."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def root_of(error: BaseException) -> BaseException:
    """The first cause: transformers hides a torchvision that does not fit behind an ImportError of its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def advice(spec: SemanticSpec) -> str:
    """What to type so that the model can be loaded."""
    if spec.model.startswith(PACKAGE) or Path(spec.model).exists():
        return "check the folder, or name another model"
    revision = f" --revision {spec.revision}" if spec.revision else ""
    return f"to bring it here type: hf download {spec.model}{revision}, or set semantic.model to a local folder"


def default_threads() -> int:
    """Half the machine's cores, at most MAX_THREADS; the others belong to verl, or to the event loop of the judge."""
    return max(1, min(MAX_THREADS, (os.cpu_count() or 2) // 2))


def use_onednn(model: Any) -> int:
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
