"""torchvision's classifiers as they are, with fresh weights: `model.name=torchvision:resnet18`."""

from __future__ import annotations

from typing import Any

from torch import nn

from ipr.errors import InputError
from ipr.models.foreign import check_width, tried
from ipr.models.parts import norm_layer

PREFIX = "torchvision:"
"""What the name of such a model begins with."""


def from_torchvision(
    name: str, *, norm: str, width: float, channels_in: int, image_size: int, num_classes: int
) -> nn.Module:
    """A network of torchvision's own class, initialised by it from torch's global generator; nothing is downloaded.

    Args:
        name: `torchvision:` and a name that `torchvision.models.get_model` knows.
        norm: `bn`; or `gn`, where the network takes a norm of one's choice.
        width: 1, as the sizes of these networks are torchvision's.
        channels_in: 3, likewise.
        image_size: height and width of an image, in pixels.
        num_classes: number of logits.

    Raises:
        InputError: torchvision has no such classifier, or it cannot be built so, or cannot take such images.
    """
    from torchvision import models

    own = name.removeprefix(PREFIX)
    if own not in models.list_models(module=models):
        known = ", ".join(models.list_models(module=models, include=["resnet*", "vgg*_bn", "densenet*"]))
        raise InputError("model.name", name, "is no classifier of torchvision", f"choose e.g. among: {known}")
    check_width(name, "torchvision", width)
    if channels_in != 3:
        remedy = "choose a data set in colour, e.g. dataset=digits_rgb"
        raise InputError("dataset.name", f"<images of {channels_in} channel>", f"{name} takes 3 channels", remedy)
    arguments: dict[str, Any] = {"weights": None, "num_classes": num_classes}
    if norm != "bn":
        arguments["norm_layer"] = norm_layer(norm)

    def build() -> nn.Module:
        network: nn.Module = models.get_model(own, **arguments)
        return network

    return tried(name, build, norm=norm, channels_in=channels_in, image_size=image_size)
