# SPDX-License-Identifier: Apache-2.0
"""Fixes training of Gemma 4 on several ranks with batches that mix rows with and without pictures.

FSDP gathers the weights of the vision tower when a rank runs it, and every rank must take part. A rank without pictures
in its rows does not run the tower, and the others hang (NCCL) or abort (gloo). verl runs the tower of Qwen's models on
a picture of zeros for this; for Gemma 4 (transformers' modeling_gemma4, Gemma4Model.forward) neither library does.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

__all__ = ["MODELING", "add_picture_pass"]

MODELING = "transformers.models.gemma4.modeling_gemma4"


def add_picture_pass(modeling: ModuleType) -> None:
    """Make Gemma4Model run its vision tower in every forward pass when there are several ranks.

    The output is multiplied by 0 and added to the text embeddings. The tower's gradients are then 0, and the backward
    pass visits tower and language model in the same order as on a rank with pictures.

    Args:
        modeling: transformers' module; its class is changed once, even if this is called again.
    """
    model = modeling.Gemma4Model
    forward = model.forward
    if hasattr(forward, "medix_verl"):
        return

    @functools.wraps(forward)
    def with_pass(self: Any, *args: Any, **kwargs: Any) -> Any:
        pictured = kwargs.get("pixel_values") is not None or kwargs.get("pixel_values_videos") is not None
        if pictured or self.config.vision_config is None or not _among_ranks():
            return forward(self, *args, **kwargs)
        nothing = 0.0 * _features_of_zeros(self).mean()
        embedding = self.get_input_embeddings()
        hook = embedding.register_forward_hook(lambda module, inputs, out: out + nothing.to(out.dtype))
        try:
            return forward(self, *args, **kwargs)
        finally:
            hook.remove()

    with_pass.medix_verl = True  # type: ignore[attr-defined]
    model.forward = with_pass


def _features_of_zeros(model: Any) -> Any:
    """The tower's output for the smallest picture: one token, of as many patches per side as are pooled into it."""
    import torch

    tower = model.config.vision_config
    side, device = tower.pooling_kernel_size, model.get_input_embeddings().weight.device
    pixels = torch.zeros(1, side * side, 3 * tower.patch_size**2, device=device)
    places = torch.cartesian_prod(torch.arange(side), torch.arange(side)).flip(1)[None].to(device)
    return model.get_image_features(pixels, places, return_dict=True).pooler_output


def _among_ranks() -> bool:
    import torch.distributed as ranks

    return ranks.is_available() and ranks.is_initialized() and ranks.get_world_size() > 1
