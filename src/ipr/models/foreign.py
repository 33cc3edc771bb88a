"""Networks whose architecture is another library's: what they have in common, and a trial of each without memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ipr.errors import InputError

Build = Callable[[], nn.Module]
"""Makes a network on torch's default device, initialised from torch's global generator."""

CANNOT_BUILD = (TypeError, ValueError, ZeroDivisionError, AssertionError, RuntimeError)
"""What a library's class raises that takes no norm of one's choice, or none of other groups."""

CANNOT_RUN = (RuntimeError, ValueError, AssertionError, TypeError, IndexError)
"""What a network raises for images of a size that it cannot take."""


def check_width(name: str, library: str, width: float) -> None:
    """Refuses a width other than 1: the sizes of these networks are their library's.

    Raises:
        InputError: it is another.
    """
    if width != 1:
        raise InputError("model.width", width, f"the sizes of {name} are {library}'s", "give 1")


def tried(name: str, build: Build, *, norm: str, channels_in: int, image_size: int) -> nn.Module:
    """What `build` makes, once it was built and run without memory or arithmetic to see that it can be trained.

    Args:
        name: of the model, for messages.
        build: makes it.
        norm: of its layers, for messages.
        channels_in: channels of an image.
        image_size: its height and width, in pixels.

    Raises:
        InputError: it cannot be built, cannot take such images, or answers with more than logits.
    """
    with torch.device("meta"), warnings.catch_warnings(action="ignore"):  # GoogLeNet on how it is initialised
        try:
            network = _built(build)
        except CANNOT_BUILD as error:
            problem = f"{name} cannot be built with it ({_first_line(error)})"
            raise InputError("model.norm", norm, problem, "choose bn") from error
        try:
            logits = network.train()(torch.zeros(2, channels_in, image_size, image_size))
        except CANNOT_RUN as error:
            problem, remedy = f"{name} cannot take it ({_first_line(error)})", "choose larger images, or another model"
            raise InputError("dataset.image_size", image_size, problem, remedy) from error
    if not isinstance(logits, Tensor):
        raise InputError("model.name", name, "answers with more than logits in training", "choose another model")
    return _built(build)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _built(build: Build) -> nn.Module:
    """On the default device; where that has no numbers and a class asks for some (RegNets), moved there afterwards."""
    try:
        return build()
    except NotImplementedError:
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            return build().to("meta")
