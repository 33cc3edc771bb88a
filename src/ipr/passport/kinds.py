"""Which norms can be protected, and what replaces each: torch's, and timm's that also drop and act.

A class is known by its full name, so that timm, which is optional, is never imported. A subclass that chooses its
arguments and no more is as good as its parent; one that defines anything else may do more, so it is not protected.
"""

from __future__ import annotations

from torch import Tensor, nn

from ipr.passport.layer import Affine, PassportBatchNorm2d, PassportGroupNorm, PassportLayer


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


def behind(norm: nn.Module) -> nn.Module:
    """What follows within a norm, plain or protected, once it has normalised: nothing, or its drop and activation."""
    if issubclass(passport_kind(norm) or type(norm), _ThenActs):
        return nn.Sequential(norm.get_submodule("drop"), norm.get_submodule("act"))
    return nn.Identity()
