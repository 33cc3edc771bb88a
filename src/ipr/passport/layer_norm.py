"""Passport layers over layer norm and RMS norm, as transformers have them.

There a norm stands before what it serves and sees a residual sum, x + W h + ...: no convolution of its own feeds it.
The projection W whose output was added last is taken in its place: its rows are the norm's channels, and its input h is
what a passport is a substitute of. So Eq. 4 stays as it is: gamma_c = <W_c, S>.

The scale and shift of such a norm can be folded into the linear layers that read it, and no answer changes: whatever
was written there relative to them would be anybody's to move. Hence a passport's come *before* the norm's own,

    y = weight * (gamma * x_hat + beta) + bias,

which is the same network wherever scale and shift are folded to. The public branch has gamma = 1 and beta = 0, and the
bits are the signs of gamma alone. With V1 there are no norm's own, and Eq. 3 is as published.

RMS norm has no shift: gamma alone is the passport's there, and P_beta is given to nothing.

What is not hidden by this: the residual stream can be rotated (`models/residual_stream.py`).
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from ipr.passport.layer import Affine, PassportLayer


class _BeforeItsOwn(PassportLayer):
    """A passport layer whose scale and shift come before those of the norm, (C,), in channels last or (B, C, H, W).

    Attributes:
        channels_first: whether the norm takes maps, (B, C, H, W), and not tokens, (B, ..., C).
    """

    replaces = False
    channels_first: ClassVar[bool] = False

    def public_affine(self) -> Affine:
        """1 and 0, each (1, C): the norm's own scale and shift come afterwards."""
        like = self.conv.weight.new_ones(1, self.conv.weight.shape[0])
        return like, like.new_zeros(like.shape)

    def folded(self, gamma: Tensor, beta: Tensor) -> Affine:
        """See `PassportLayer.folded`: weight gamma and weight beta + bias."""
        weight, bias = self._parameters.get("weight"), self._parameters.get("bias")
        gamma, beta = (gamma, beta) if weight is None else (weight * gamma, weight * beta)
        return gamma, beta if bias is None else beta + bias

    def forward(self, x: Tensor, affine: Affine | None = None) -> Tensor:
        """The norm, then the passport's scale and shift, or those given, each (1, C), then the norm's own."""
        gamma, beta = self.folded(*(affine or self.presented or self.passport_affine()))
        if not self.channels_first:
            return self.normalise(x, gamma.squeeze(0), beta.squeeze(0))
        return self.normalise(x.movedim(1, -1), gamma.squeeze(0), beta.squeeze(0)).movedim(-1, 1)


class PassportLayerNorm(_BeforeItsOwn, nn.LayerNorm):
    """A passport layer over layer norm."""

    def normalise(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """`nn.LayerNorm.forward` with the affine given."""
        return functional.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


class PassportLayerNorm2d(PassportLayerNorm):
    """A passport layer over the layer norm of maps, (B, C, H, W), in torchvision and timm."""

    channels_first = True


class PassportRMSNorm(_BeforeItsOwn, nn.RMSNorm):
    """A passport layer over RMS norm; the shift is given to nothing."""

    def normalise(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """`nn.RMSNorm.forward` with the scale given."""
        return functional.rms_norm(x, self.normalized_shape, weight, self.eps)


class PassportRMSNorm2d(PassportRMSNorm):
    """A passport layer over timm's RMS norm of maps, (B, C, H, W)."""

    channels_first = True
