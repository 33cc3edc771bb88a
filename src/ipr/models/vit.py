"""A vision transformer for small images (Dosovitskiy et al., ICLR 2021): torchvision's class at sizes that two cores
train.
"""

from __future__ import annotations

import math

from torch import nn
from torchvision.models import VisionTransformer

from ipr.config.registry import register
from ipr.errors import InputError

DEPTH = 6
HEAD = 32
"""Numbers of a token that one head of attention sees."""


def patch_size(image_size: int) -> int:
    """The side of a patch: of the sizes that divide an image's side, the nearest to an eighth of it."""
    sizes = [size for size in range(1, image_size + 1) if image_size % size == 0]
    return min(sizes, key=lambda size: abs(math.log(8 * size / image_size)))


@register("vit")
class ViT(VisionTransformer):  # type: ignore[misc]  # torchvision has no types
    """Six blocks of attention and MLP, each behind a layer norm; 192 numbers a token at width 1 (ViT-Tiny's)."""

    def __init__(self, *, norm: str, width: float, channels_in: int, image_size: int, num_classes: int) -> None:
        if norm != "bn":
            raise InputError("model.norm", norm, "a transformer has layer norms", "give bn, which leaves them")
        heads, patch = max(1, round(6 * width)), patch_size(image_size)
        tokens = heads * HEAD
        super().__init__(image_size, patch, DEPTH, heads, tokens, 4 * tokens, num_classes=num_classes)
        if channels_in != 3:
            self.conv_proj = nn.Conv2d(channels_in, tokens, patch, patch)
