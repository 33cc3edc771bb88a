"""Networks for small images, each written once, in plain PyTorch; no scheme inside."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ipr.errors import InputError
from ipr.models.alexnet import AlexNet
from ipr.models.from_torchvision import PREFIX, from_torchvision
from ipr.models.resnet import resnet18, resnet50

MODELS: dict[str, Callable[..., nn.Module]] = {"alexnet": AlexNet, "resnet18": resnet18, "resnet50": resnet50}


def build_model(
    name: str, *, norm: str, width: float, channels_in: int, image_size: int, num_classes: int
) -> nn.Module:
    """A plain network, initialised from torch's global generator.

    Args:
        name: one of `MODELS`, or `torchvision:` and the name of a classifier of torchvision.
        norm: `bn` or `gn`.
        width: multiplies the number of channels of every convolution; 1 is Table III.
        channels_in: channels of an image.
        image_size: its height and width, in pixels.
        num_classes: number of logits.

    Raises:
        InputError: an unknown name, or a size that the network cannot take.
    """
    if name not in MODELS and not name.startswith(PREFIX):
        raise InputError("model.name", name, "is not a model", f"choose among: {', '.join(MODELS)}, {PREFIX}NAME")
    if not width > 0:
        raise InputError("model.width", width, "must be above 0", "give e.g. 0.25, or 1 for Table III")
    if image_size < 8:
        raise InputError("dataset.image_size", image_size, f"is too small for {name}", "use images of 8 pixels or more")
    sizes = {"channels_in": channels_in, "image_size": image_size, "num_classes": num_classes}
    if name.startswith(PREFIX):
        return from_torchvision(name, norm=norm, width=width, **sizes)
    return MODELS[name](norm=norm, width=width, **sizes)
