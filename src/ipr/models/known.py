"""By which name a network can be built again: what a claim has to say, so that a judge needs weights alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from ipr.config.registry import entries
from ipr.errors import InputError
from ipr.models import build_model
from ipr.models.inspection import answer_of, device_of, evaluating

WIDTHS = (1.0, 0.5, 0.25, 0.125)
"""Of our own networks, tried in turn."""


def named_model(network: nn.Module, *, channels_in: int, image_size: int, num_classes: int) -> dict[str, Any] | None:
    """The `model` of a claim's architecture (name, norm, width) that builds a plain network of the same class, with
    the same names and shapes of weights; None where no model that is installed does.
    """
    sizes = {"channels_in": channels_in, "image_size": image_size, "num_classes": num_classes}
    own = shapes(network)
    for name, norm, width in _candidates(network):
        try:
            with torch.device("meta"), warnings.catch_warnings(action="ignore"):
                built = build_model(name, norm=norm, width=width, **sizes)
        except InputError:
            continue
        alike = type(built) is type(network) and shapes(built) == own
        if alike and _answers_alike(network, build_model(name, norm=norm, width=width, **sizes), sizes):
            return {"name": name, "norm": norm, "width": width}
    return None


def _answers_alike(network: nn.Module, built: nn.Module, sizes: dict[str, int]) -> bool:
    """Whether a network is what its name builds: a pooling that was taken out, or a stride, changes no shape."""
    example = torch.randn(2, sizes["channels_in"], sizes["image_size"], sizes["image_size"])
    built.load_state_dict(network.state_dict())
    built.to(device_of(network))
    with evaluating(network), evaluating(built):
        one, other = (answer_of(each, example.to(device_of(network))) for each in (network, built))
    return one.shape == other.shape and bool((one - other).norm() <= 1e-4 * one.norm())


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shapes of all that a `state_dict` holds, by name."""
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def _candidates(network: nn.Module) -> Iterator[tuple[str, str, float]]:
    home = type(network).__module__
    if home.startswith("torchvision.models."):
        from torchvision import models

        builders: dict[str, Callable[..., nn.Module]] = {
            name: models.get_model_builder(name) for name in models.list_models(module=models)
        }
        for own in (own for own, build in builders.items() if build.__module__ == home):
            yield from ((f"torchvision:{own}", norm, 1.0) for norm in ("bn", "gn"))
    elif home.startswith("timm.models."):
        told = getattr(network, "pretrained_cfg", None) or {}
        if isinstance(told, dict) and "architecture" in told:
            yield f"timm:{told['architecture']}", "bn", 1.0
    else:
        yield from _registered(home)


def _registered(home: str) -> Iterator[tuple[str, str, float]]:
    """Models of ours, and of installed packages, whose module the network's class is from."""
    for name, entry in entries("model").items():
        if entry.module == home:
            yield from ((name, norm, width) for norm in ("bn", "gn") for width in WIDTHS)
