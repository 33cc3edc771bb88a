"""`model=timm model.name=resnet50`: a library's model by its own name, in the group of its library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

LIBRARIES = ("torchvision", "timm")
"""Choices of the group `model` that are libraries: their models are named `torchvision:NAME` and `timm:NAME`."""


def of_library(asked: Any, choices: Mapping[str, Any]) -> Any:
    """A configuration whose model is the library's that its group names, where the name does not say whose it is.

    Without this `resnet50` in the group of timm would be ours, which is another network.

    Args:
        asked: of whatever command; one without a model is returned as it is.
        choices: group -> choice, as Hydra has them.
    """
    model, library = getattr(asked, "model", None), choices.get("model")
    if model is None or library not in LIBRARIES or ":" in model.name:
        return asked
    return replace(asked, model=replace(model, name=f"{library}:{model.name}"))
