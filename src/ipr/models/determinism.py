"""Which networks torch cannot train on a CUDA GPU so that the same seed gives the same bits."""

from __future__ import annotations

from torch import nn

RAISING = (
    nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool2d, nn.AvgPool3d, nn.EmbeddingBag,
    nn.FractionalMaxPool2d, nn.FractionalMaxPool3d, nn.MaxUnpool1d, nn.MaxUnpool2d, nn.MaxUnpool3d,
    nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d,
)  # fmt: skip
"""Modules whose gradients have no deterministic form on CUDA, so that they raise where one is asked for (the list of
`torch.use_deterministic_algorithms`)."""

INTERPOLATING = ("linear", "bilinear", "bicubic", "trilinear")
"""Modes of `nn.Upsample` of which the same is true."""


def without_deterministic_gradient(network: nn.Module) -> str | None:
    """The first module of a network that raises in training on a CUDA GPU in deterministic mode; None where none does.

    Of the networks that can be built here torchvision's AlexNet and VGG do, which pool to more than one pixel. What a
    network does outside modules is not seen.

    Args:
        network: on whatever device.

    Returns:
        Its name and kind: `avgpool (AdaptiveAvgPool2d)`.
    """
    for name, module in network.named_modules():
        if _raises(module):
            return f"{name} ({type(module).__name__})"
    return None


def _raises(module: nn.Module) -> bool:
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveAvgPool3d):
        sizes = module.output_size
        return any(size != 1 for size in (sizes if isinstance(sizes, tuple) else (sizes,)))  # to one pixel: a mean
    if isinstance(module, nn.Upsample):
        return module.mode in INTERPOLATING
    return isinstance(module, RAISING) or getattr(module, "padding_mode", None) == "reflect"  # a convolution's
