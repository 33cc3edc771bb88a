"""Networks for small images, each written once, in plain PyTorch; no scheme inside."""

from __future__ import annotations

from torch import nn

from ipr.config.registry import entries, load
from ipr.errors import InputError
from ipr.models.from_torchvision import PREFIX, from_torchvision


def build_model(
    name: str, *, norm: str, width: float, channels_in: int, image_size: int, num_classes: int
) -> nn.Module:
    """A plain network, initialised from torch's global generator.

    Args:
        name: a registered model of ours or of an installed package, or `torchvision:` and the name of a classifier of
            torchvision. A claim may name one, too: no more is run for it than what was installed.
        norm: `bn` or `gn`.
        width: multiplies the number of channels of every convolution; 1 is Table III.
        channels_in: channels of an image.
        image_size: its height and width, in pixels.
        num_classes: number of logits.

    Raises:
        InputError: an unknown name, or a size that the network cannot take.
    """
    if name not in entries("model") and not name.startswith(PREFIX):
        known = ", ".join(entries("model"))
        raise InputError("model.name", name, "is not a model", f"choose among: {known}, {PREFIX}NAME")
    if not width > 0:
        raise InputError("model.width", width, "must be above 0", "give e.g. 0.25, or 1 for Table III")
    if image_size < 8:
        raise InputError("dataset.image_size", image_size, f"is too small for {name}", "use images of 8 pixels or more")
    sizes = {"channels_in": channels_in, "image_size": image_size, "num_classes": num_classes}
    if name.startswith(PREFIX):
        return from_torchvision(name, norm=norm, width=width, **sizes)
    network: nn.Module = load("model", name)(norm=norm, width=width, **sizes)
    return network
