"""Passports whose scales pass through what their owner has trained, an accessory, before a norm takes them.

    F(v) = W_out LeakyReLU(W_into v),  C -> C / 4 -> C without bias,

shared by scale and shift of a layer (Zhang et al., *Passport-aware Normalization for Deep Model Protection*, NeurIPS
2020). Eq. 4 stays what it is, and the bits are written into what goes in, so that F decides no sign.

F belongs to the secrets, and is the claimant's to choose: with an F of his own anybody finds scales that serve a
network for whatever passport, and whatever bits. Hence it counts where a commitment says that it was there before the
network was released, and there alone (`judging/decision.py`); and the judge presents random passports through it, too
(`judging/control.py`).

Turning or scaling a channel (`models/gauge.py`) turns or scales <W_c, S>, but F is not linear: scales then change in
every channel, where those of Eq. 4 change in one. A copy that was turned has to be matched (docs/alignment.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ipr.claims.base import Thresholds
from ipr.errors import InputError
from ipr.passport.claim import PassportClaim
from ipr.passport.layer import Affine
from ipr.passport.presented import PresentedClaim, shared_parts

Accessory = Mapping[str, Tensor]
"""What is trained of one layer, by name."""

SHARE = 4
"""C / `SHARE` numbers are between the two matrices of F."""

SLOPE = 0.01
"""Of LeakyReLU below 0."""


def shapes_of_f(channels: int) -> dict[str, tuple[int, ...]]:
    """The shapes of F for C channels: `into` (C / 4, C) and `out` (C, C / 4), with one number between at least."""
    hidden = max(1, channels // SHARE)
    return {"into": (hidden, channels), "out": (channels, hidden)}


def draw_f(channels: int, source: Generator) -> dict[str, Tensor]:
    """F as training begins: every matrix uniform within 1 / sqrt(its inputs), as linear layers are in torch."""
    return {
        name: (2 * torch.rand(shape, generator=source) - 1) / math.sqrt(shape[1])
        for name, shape in shapes_of_f(channels).items()
    }


def through_f(values: Tensor, accessory: Accessory) -> Tensor:
    """F of K rows, (K, C) -> (K, C), in their precision."""
    with torch.autocast(values.device.type, enabled=False):  # as Eq. 4 is computed
        into, out = (accessory[name].to(values) for name in ("into", "out"))
        found: Tensor = functional.linear(functional.leaky_relu(functional.linear(values, into), SLOPE), out)
    return found


@dataclass(frozen=True)
class AccessoryClaim(PassportClaim):
    """A passport, its signature, and what its scales and shifts pass through.

    Attributes:
        accessories: layer -> what was trained of it, of the shapes that `shapes` says, float.
    """

    of_accessory: ClassVar[bool] = True

    accessories: Mapping[str, Accessory] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if [*self.accessories] != self.layers:
            problem = "is not given for each layer of the passport, and for no other"
            raise InputError("claim", "what its scales pass through", problem, "restore the claim")
        for name, accessory in self.accessories.items():
            wanted = self.shapes(self.signature[name].numel())
            got = {part: tuple(tensor.shape) for part, tensor in accessory.items()}
            if got != wanted or not all(tensor.is_floating_point() for tensor in accessory.values()):
                problem = f"is no set of floats of the shapes {wanted}"
                raise InputError("claim", f"what scales of {name} pass through: {got}", problem, "restore the claim")

    @classmethod
    def shapes(cls, channels: int) -> dict[str, tuple[int, ...]]:
        """The shapes of what is trained of a layer of C channels, by name."""
        return shapes_of_f(channels)

    @classmethod
    def drawn(cls, channels: int, source: Generator) -> dict[str, Tensor]:
        """The same as training begins."""
        return draw_f(channels, source)

    def through(self, layer: str, affine: Affine, accessory: Accessory) -> Affine:
        """The scale and shift that a layer is presented.

        Args:
            layer: its name.
            affine: those of Eq. 4, each (1, C).
            accessory: what is trained of the layer, the claim's own or as far as training has come, and `constants`.
        """
        gamma, beta = affine
        return through_f(gamma, accessory), through_f(beta, accessory)

    def constants(self, layer: str) -> Accessory:
        """What else of the claim scales of a layer pass through, which no training moves; nothing by default."""
        return {}

    def signed(self, gamma: Tensor, accessory: Accessory) -> Tensor:
        """The scales that carry the bits, (1, C), of those of Eq. 4; these themselves by default."""
        return gamma

    def presents(self, layer: str, affine: Affine) -> Affine:
        """See `PassportClaim.presents`: `through` the claim's own accessory."""
        return self.through(layer, affine, {**self.accessories[layer], **self.constants(layer)})

    def reads(self, layer: str, gamma: Tensor) -> Tensor:
        """The scales whose signs are read, of those of Eq. 4, each (1, C): `signed` by the claim's own accessory."""
        return self.signed(gamma, self.accessories[layer])

    def read_scales(self, network: nn.Module, affines: Mapping[str, Affine] | None = None) -> dict[str, Tensor]:
        """See `PresentedClaim.read_scales`: those of Eq. 4, `signed`."""
        own = self.plain().affines(network)
        return {name: self.reads(name, gamma)[0] for name, (gamma, _) in own.items()}

    def forged(self, **changes: Any) -> PassportClaim:
        """See `PresentedClaim.forged`. Whoever brings a passport of his own lacks the accessory: his is an ordinary
        claim, whose scales are those of Eq. 4. That is the stronger one, too: what he finds is presented as it is.
        """
        return self.plain().forged(**changes) if "passport" in changes else super().forged(**changes)

    def plain(self) -> PassportClaim:
        """The same passport and signature as an ordinary claim, without the accessory; not bound."""
        same = {one.name: getattr(self, one.name) for one in fields(PassportClaim)}
        return PassportClaim(**same | {"binding": None})

    def tensors(self) -> dict[str, Tensor]:
        """See `Claim.tensors`."""
        own = {
            f"accessory/{name}/{part}": tensor
            for name, accessory in self.accessories.items()
            for part, tensor in accessory.items()
        }
        return super().tensors() | own

    @classmethod
    def from_parts(
        cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], thresholds: Thresholds
    ) -> PresentedClaim:
        """See `Claim.from_parts`."""
        passport = {name: tensors[f"passport/{name}"] for name in facts["layers"]}
        shared = shared_parts(facts, tensors, thresholds)
        parts = {name: cls.shapes(bits.numel()) for name, bits in shared["signature"].items()}
        accessories = {name: {part: tensors[f"accessory/{name}/{part}"] for part in parts[name]} for name in parts}
        return cls(passport, binding=facts["binding"], accessories=accessories, **shared)
