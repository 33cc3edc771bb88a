"""Networks for small images, each written once, in plain PyTorch; no scheme inside. And those of other libraries."""

from __future__ import annotations

from functools import partial

from torch import nn

from ipr.config.registry import entries, load
from ipr.errors import InputError
from ipr.models import from_timm, from_torchvision

LIBRARIES = {
    from_torchvision.PREFIX: from_torchvision.from_torchvision,
    from_timm.PREFIX: from_timm.from_timm,
}
"""What the name of another library's model begins with, and what builds it."""


def build_model(
    name: str, *, norm: str, width: float, channels_in: int, image_size: int, num_classes: int
) -> nn.Module:
    """A plain network, initialised from torch's global generator.

    Args:
        name: a registered model of ours or of an installed package, or `torchvision:` or `timm:` and the name of one of
            their classifiers. A claim may name one, too: no more is run for it than what was installed.
        norm: `bn` or `gn`.
        width: multiplies the number of channels of every convolution; 1 is Table III.
        channels_in: channels of an image.
        image_size: its height and width, in pixels.
        num_classes: number of logits.

    Raises:
        InputError: an unknown name, or a size that the network cannot take.
    """
    library = next((build for prefix, build in LIBRARIES.items() if name.startswith(prefix)), None)
    if library is None and name not in entries("model"):
        known = ", ".join([*entries("model"), *(f"{prefix}NAME" for prefix in LIBRARIES)])
        raise InputError("model.name", name, "is not a model", f"choose among: {known}")
    if not width > 0:
        raise InputError("model.width", width, "must be above 0", "give e.g. 0.25, or 1 for Table III")
    if image_size < 8:
        raise InputError("dataset.image_size", image_size, f"is too small for {name}", "use images of 8 pixels or more")
    build = partial(library, name) if library else load("model", name)
    network: nn.Module = build(
        norm=norm, width=width, channels_in=channels_in, image_size=image_size, num_classes=num_classes
    )
    return network
