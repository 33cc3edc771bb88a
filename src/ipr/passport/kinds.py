"""Which norms can be protected, and what replaces each: torch's, and timm's and torchvision's that do the same.

A class is known by its full name, so that timm, which is optional, is never imported. A subclass that chooses its
arguments and no more is as good as its parent; one that defines anything else may do more, so it is not protected.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ipr.passport.layer import Affine, PassportBatchNorm2d, PassportGroupNorm, PassportLayer
from ipr.passport.layer_norm import PassportLayerNorm, PassportLayerNorm2d, PassportRMSNorm, PassportRMSNorm2d


class _ThenActs(PassportLayer):
    """What timm's norms with an activation do besides; both modules are the plain norm's own.

    Attributes:
        drop: what is dropped of the normalised map.
        act: the activation behind it.
    """

    drop: nn.Module
    act: nn.Module

    def forward(self, x: Tensor, affine: Affine | None = None) -> Tensor:
        """Eq. 3, then drop and activation."""
        y: Tensor = self.act(self.drop(super().forward(x, affine)))
        return y


class PassportBatchNormAct2d(_ThenActs, PassportBatchNorm2d):
    """A passport layer over timm's batch norm with an activation."""


class PassportGroupNormAct(_ThenActs, PassportGroupNorm):
    """A passport layer over timm's group norm with an activation."""


_KINDS: dict[str, type[PassportLayer]] = {
    "torch.nn.modules.batchnorm.BatchNorm2d": PassportBatchNorm2d,
    "torch.nn.modules.normalization.GroupNorm": PassportGroupNorm,
    "timm.layers.norm.GroupNorm": PassportGroupNorm,
    "timm.layers.norm.GroupNorm1": PassportGroupNorm,
    "timm.layers.norm_act.BatchNormAct2d": PassportBatchNormAct2d,
    "timm.layers.norm_act.GroupNormAct": PassportGroupNormAct,
    "timm.layers.norm_act.GroupNorm1Act": PassportGroupNormAct,
    "torch.nn.modules.normalization.LayerNorm": PassportLayerNorm,
    "timm.layers.norm.LayerNorm": PassportLayerNorm,
    "timm.layers.norm.LayerNorm2d": PassportLayerNorm2d,
    "torchvision.models.convnext.LayerNorm2d": PassportLayerNorm2d,
    "torch.nn.modules.normalization.RMSNorm": PassportRMSNorm,
    "timm.layers.norm.RmsNorm": PassportRMSNorm,
    "timm.layers.norm.RmsNorm2d": PassportRMSNorm2d,
}


_SAYS_NOTHING = {
    "__init__", "__module__", "__doc__", "__annotations__", "__constants__", "__firstlineno__", "__static_attributes__",
    "__annotate_func__", "__annotations_cache__", "__annotate__",
}  # fmt: skip
"""What a class may define and still do what its parent does: how it is made, and what Python notes of it."""


def passport_kind(norm: nn.Module) -> type[PassportLayer] | None:
    """What replaces a plain norm; None where it cannot be protected."""
    kind: type = type(norm)
    while (name := f"{kind.__module__}.{kind.__qualname__}") not in _KINDS:
        if len(kind.__bases__) != 1 or vars(kind).keys() - _SAYS_NOTHING:
            return None
        kind = kind.__bases__[0]
    return _KINDS[name]


def known_norms() -> tuple[str, ...]:
    """Torch's classes of norms that can be protected, for messages."""
    return tuple(name.rpartition(".")[2] for name in _KINDS if name.startswith("torch."))


def own_pair(norm: nn.Module, channels: int) -> Tensor:
    """A norm's scale and shift, (2, C), without gradient and where they are; 1 and 0 where it has none."""
    weight, bias = norm._parameters.get("weight"), norm._parameters.get("bias")
    at_hand = next((one.detach() for one in norm.parameters()), torch.empty(0))
    ones = at_hand.new_ones(channels) if weight is None else weight.detach()
    return torch.stack([ones, torch.zeros_like(ones) if bias is None else bias.detach()])


def public_pair(norm: nn.Module, channels: int) -> Tensor:
    """The scale and shift that a passport's stand in the place of: the norm's own; 1 and 0 where it has none, or where
    they come after the passport's.

    Args:
        norm: plain or protected.
        channels: C.

    Returns:
        (2, C), without gradient, where the norm's own are.
    """
    own = own_pair(norm, channels)
    kind = passport_kind(norm) or type(norm)
    if issubclass(kind, PassportLayer) and not kind.replaces:
        own[0], own[1] = 1, 0
    return own


def behind(norm: nn.Module) -> nn.Module:
    """What follows within a norm, plain or protected, once it has normalised: nothing, or its drop and activation."""
    if issubclass(passport_kind(norm) or type(norm), _ThenActs):
        return nn.Sequential(norm.get_submodule("drop"), norm.get_submodule("act"))
    return nn.Identity()
