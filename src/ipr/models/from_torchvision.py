"""torchvision's classifiers as they are, with fresh weights: `model.name=torchvision:resnet18`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ipr.errors import InputError
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
    if width != 1:
        raise InputError("model.width", width, f"the sizes of {name} are torchvision's", "give 1")
    if channels_in != 3:
        remedy = "choose a data set in colour, e.g. dataset=digits_rgb"
        raise InputError("dataset.name", f"<images of {channels_in} channel>", f"{name} takes 3 channels", remedy)
    arguments: dict[str, Any] = {"weights": None, "num_classes": num_classes}
    if norm != "bn":
        arguments["norm_layer"] = norm_layer(norm)
    _try_out(name, norm, image_size, lambda: models.get_model(own, **arguments))
    network: nn.Module = models.get_model(own, **arguments)
    return network


def _without_memory(build: Callable[[], nn.Module]) -> nn.Module:
    try:
        return build()
    except NotImplementedError:  # RegNets ask for numbers while they are built
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            return build().to("meta")


def _try_out(name: str, norm: str, image_size: int, build: Callable[[], nn.Module]) -> None:
    """Builds the network and runs it once without memory or arithmetic, to see whether it can be trained on images."""
    with torch.device("meta"), warnings.catch_warnings(action="ignore"):  # GoogLeNet on how it is initialised
        try:
            network = _without_memory(build)
        except (TypeError, ValueError, ZeroDivisionError) as error:  # no norm of one's choice, or of other groups
            raise InputError("model.norm", norm, f"{name} cannot be built with it ({error})", "choose bn") from error
        try:
            logits = network.train()(torch.zeros(2, 3, image_size, image_size))
        except (RuntimeError, ValueError, AssertionError) as error:
            remedy = "choose larger images, or another model"
            raise InputError("dataset.image_size", image_size, f"{name} cannot take it ({error})", remedy) from error
    if not isinstance(logits, Tensor):
        raise InputError("model.name", name, "answers with more than logits in training", "choose another model")
