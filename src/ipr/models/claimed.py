"""The plain network that a claim names: bounded, as whoever brings a claim may name one of any size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ipr.errors import InputError
from ipr.models import build_model

WIDTH_LIMIT = 16.0
INTEGER_LIMITS = {"channels_in": (1, 16), "image_size": (8, 512), "num_classes": (2, 100_000)}
"""The smallest and the largest that a claim may name."""

PARAMETER_LIMIT = 2**28
"""Of the network, together: 1 GiB in float32."""

REMEDY = "restore the claim"


def check_architecture(architecture: Mapping[str, Any]) -> None:
    """Refuses sizes of a claim's architecture that are no sizes, or beyond the limits; what it does not name is fine.

    Raises:
        InputError: naming the field.
    """
    for name, (least, most) in INTEGER_LIMITS.items():
        value = architecture.get(name)
        if value is not None and (type(value) is not int or not least <= value <= most):
            problem = f"is no whole number from {least} to {most}"
            raise InputError(f"claim architecture.{name}", ascii(value)[:50], problem, REMEDY)
    model = architecture.get("model", {})
    if not isinstance(model, dict):
        raise InputError("claim architecture.model", ascii(model)[:50], "is no mapping", REMEDY)
    width = model.get("width", 1.0)
    if type(width) not in (int, float) or not (math.isfinite(width) and 0 < width <= WIDTH_LIMIT):
        problem = f"is no number above 0 and up to {WIDTH_LIMIT:g}"
        raise InputError("claim architecture.model.width", ascii(width)[:50], problem, REMEDY)
    for name in ("name", "norm"):
        if not isinstance(text := model.get(name, ""), str):
            raise InputError(f"claim architecture.model.{name}", ascii(text)[:50], "is no text", REMEDY)


def network_of(architecture: Mapping[str, Any]) -> nn.Module:
    """The plain network that an architecture names, initialised at random.

    Args:
        architecture: of a claim: `model` (name, norm, width), `channels_in`, `image_size` and `num_classes`.

    Raises:
        InputError: the architecture names no known network, or one that is too large.
    """
    without_memory(architecture)
    with torch.random.fork_rng(devices=[]):
        return _built(architecture)


def without_memory(architecture: Mapping[str, Any]) -> nn.Module:
    """The same without memory for its weights (on the device `meta`), so that it can be counted first.

    Raises:
        InputError: see `network_of`.
    """
    check_architecture(architecture)
    try:
        with torch.device("meta"):
            network = _built(architecture)
    except KeyError as error:
        raise InputError("claim architecture", "", f"does not name {error}", REMEDY) from error
    size = sum(parameter.numel() for parameter in network.parameters())
    if size > PARAMETER_LIMIT:
        model = architecture["model"]
        problem = f"the network would have {size} parameters, more than {PARAMETER_LIMIT}"
        raise InputError("claim architecture", f"{model['name']!a} of width {model['width']}", problem, REMEDY)
    return network


def _built(architecture: Mapping[str, Any]) -> nn.Module:
    model = architecture["model"]
    sizes = {name: architecture[name] for name in INTEGER_LIMITS}
    return build_model(model["name"], norm=model["norm"], width=model["width"], **sizes)
