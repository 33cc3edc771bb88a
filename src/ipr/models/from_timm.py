"""timm's classifiers as they are, with fresh weights: `model.name=timm:resnet18`; timm itself is optional."""

from __future__ import annotations

from torch import nn

from ipr.errors import InputError
from ipr.extras import DISTRIBUTION
from ipr.models.foreign import check_width, tried

PREFIX = "timm:"
"""What the name of such a model begins with."""


def from_timm(name: str, *, norm: str, width: float, channels_in: int, image_size: int, num_classes: int) -> nn.Module:
    """A network of timm's own class, initialised by it from torch's global generator; nothing is downloaded.

    Args:
        name: `timm:` and an architecture that `timm.list_models` lists, without the tag of weights.
        norm: `bn`, for the norms that the architecture has, whatever they are. (Given a norm of one's choice, many of
            timm's lose the activations that come with theirs, and say nothing.)
        width: 1, as the sizes of these networks are timm's.
        channels_in: channels of an image.
        image_size: height and width of an image, in pixels.
        num_classes: number of logits.

    Raises:
        InputError: timm is not installed or has no such architecture, or it cannot be built so, or cannot take such
            images.
    """
    try:
        import timm
    except ImportError as error:
        raise InputError(
            "model.name", name, "is of timm, which is not installed", f"pip install '{DISTRIBUTION}[timm]'"
        ) from error
    own = name.removeprefix(PREFIX)
    if own not in timm.list_models():  # never `hf-hub:` or a path: those would be fetched or read
        known = ", ".join(timm.list_models(["resnet??", "densenet*", "regnety_00?", "mobilenetv3*"]))
        raise InputError("model.name", name, "is no architecture of timm", f"choose e.g. among: {known}")
    check_width(name, "timm", width)
    if norm != "bn":
        remedy = "give bn, or an architecture that has another, e.g. timm:resnet50_gn"
        raise InputError("model.norm", norm, f"the norms of {name} are timm's", remedy)

    def build() -> nn.Module:
        return timm.create_model(own, pretrained=False, num_classes=num_classes, in_chans=channels_in)

    return tried(name, build, norm=norm, channels_in=channels_in, image_size=image_size)
