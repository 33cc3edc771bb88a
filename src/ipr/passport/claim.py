"""The claim of a passport's owner: passport, signature and, in V3, a trigger set."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn

from ipr.claims.base import Thresholds
from ipr.claims.structure import REMEDY
from ipr.data.trigger_sets import TriggerSet
from ipr.errors import InputError
from ipr.models.inspection import Projection, projection_of
from ipr.passport.bound import Binding, bound_signature
from ipr.passport.layer import Affine, patch_mean, scale_and_shift
from ipr.passport.presented import PresentedClaim, ScalesClaim, shared_parts
from ipr.passport.surgery import ConvNorm, Passport
from ipr.signature import Signature

NOISE = 1e-6
"""A mean patch is noise where it is so small beside that of the passport's absolute values: it cancels to rounding."""


@dataclass(frozen=True)
class PassportClaim(PresentedClaim):
    """Passport, signature and trigger set; owner, thresholds and architecture as in every `Claim`.

    Attributes:
        passport: layer -> P_gamma and P_beta, (2, C_in, H, W), float.
        signature: see `PresentedClaim`, as the next two.
        text_bytes: see there.
        triggers: see there.
        binding: the nonce from which with passport and owner the signature follows, as `Binding` is written; None for
            a signature of the owner's choice.
    """

    part = "passport"
    brings_passport = True

    passport: Passport
    signature: Signature
    text_bytes: int = 0
    triggers: TriggerSet | None = None
    binding: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.binding is not None:
            self._check_binding(self.binding)

    def _check_binding(self, text: str) -> None:
        binding = Binding.parse(text)
        capacities = {name: bits.numel() for name, bits in self.signature.items()}
        derived = bound_signature(self.passport, capacities, self.owner, binding, self.marks().numel())
        if any(not torch.equal(derived[name], bits.cpu()) for name, bits in self.signature.items()):
            problem = "the signature does not follow from passport, owner and nonce"
            raise InputError("claim", "binding", problem, "restore the claim; such a signature cannot be chosen")

    @property
    def presented(self) -> Passport:
        """The passport."""
        return self.passport

    def shape_at(self, layer: ConvNorm) -> tuple[int, ...]:
        """See `PresentedClaim.shape_at`: of P_gamma and P_beta."""
        return (2, *layer.input_shape)

    @property
    def bound(self) -> bool:
        """See `PresentedClaim.bound`."""
        return self.binding is not None

    @property
    def relative(self) -> bool:
        """See `PresentedClaim.relative`."""
        return self.binding is not None and Binding.parse(self.binding).relative

    @property
    def says_of_signature(self) -> str:
        """See `PresentedClaim.says_of_signature`."""
        return super().says_of_signature if self.binding is None else Binding.parse(self.binding).says

    def forged(self, **changes: Any) -> PassportClaim:
        """See `PresentedClaim.forged`; without the binding, which is the owner's."""
        return self.insiders(**changes)

    def insiders(self, **changes: Any) -> Self:
        """The same of somebody who knows all of the owner's secrets, and keeps those that `changes` does not name."""
        other = replace(self, owner="", origin=None, binding=None, **changes)
        if other.passport is self.passport:
            other._means.update(self._means)
        return other

    def with_scales(self, scales: Mapping[str, Tensor], **changes: Any) -> ScalesClaim:
        """Another party's claim to the same layers that brings scales, (2, C) each; `changes` as in `forged`."""
        same = ("signature", "text_bytes", "triggers", "thresholds", "architecture")
        return ScalesClaim(scales, **{name: getattr(self, name) for name in same} | changes)

    @property
    def nonce(self) -> bytes | None:
        """See `Claim.nonce`."""
        return None if self.binding is None else Binding.parse(self.binding).nonce

    def affines(self, network: nn.Module) -> dict[str, Affine]:
        """See `PresentedClaim.affines`: Eq. 4."""
        weights = {name: network.get_parameter(f"{name}.weight").detach() for name in self.layers}
        means = self.patch_means(network)
        own = {name: scale_and_shift(weight, means[name].to(weight)[None]) for name, weight in weights.items()}
        return {name: self.presents(name, affine) for name, affine in own.items()}

    def presents(self, layer: str, affine: Affine) -> Affine:
        """The scale and shift that a layer is presented, of those of Eq. 4, each (1, C); by default themselves."""
        return affine

    def checked_affines(self, network: nn.Module) -> dict[str, Affine]:
        """See `PresentedClaim.checked_affines`.

        Raises:
            InputError: also where the passport says nothing at a layer: the mean patch of P_gamma or of P_beta is 0, or
                no more than what rounding leaves.
        """
        there, most = self.energies(network), self.energies(network, magnitudes=True)
        for name, energy in there.items():
            heard = (energy > NOISE * most[name]) & (energy > torch.finfo(torch.float32).tiny)
            for half, sounds in zip(("P_gamma", "P_beta"), heard.tolist(), strict=True):
                if not sounds:
                    raise InputError("claim", f"{half} of {name}", "has a mean patch of 0, so it says nothing", REMEDY)
        return super().checked_affines(network)

    def energies(self, network: nn.Module, *, magnitudes: bool = False) -> dict[str, Tensor]:
        """|S| of P_gamma and of P_beta, or of their absolute values, as `generate.energies` returns them."""
        means = {name: self._mean(network, name, magnitudes=magnitudes) for name in self.layers}
        return {name: mean.flatten(1).norm(dim=1) for name, mean in means.items()}

    def patch_means(self, network: nn.Module) -> dict[str, Tensor]:
        """S of P_gamma and of P_beta at each layer, (2, G, D) in float64; computed once for each shape of a layer."""
        return {name: self._mean(network, name, magnitudes=False) for name in self.layers}

    def _mean(self, network: nn.Module, name: str, *, magnitudes: bool) -> Tensor:
        """The mean patch of the passport, or of its absolute values, at a layer."""
        conv = projection_of(network, name)
        key = (name, magnitudes, _shape_of(conv))
        if key not in self._means:
            maps = self.passport[name].detach().double()
            self._means[key] = patch_mean(maps.abs() if magnitudes else maps, conv)
        return self._means[key]

    @cached_property
    def _means(self) -> dict[Hashable, Tensor]:
        return {}

    def specifics(self) -> dict[str, Any]:
        """See `Claim.specifics`."""
        return super().specifics() | {"binding": self.binding}

    @classmethod
    def from_parts(
        cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], thresholds: Thresholds
    ) -> PresentedClaim:
        """See `Claim.from_parts`; a folder of this kind may hold scales instead: a `ScalesClaim`."""
        if any(name.startswith("scales/") for name in tensors):
            return ScalesClaim.from_parts(facts, tensors, thresholds)
        passport = {name: tensors[f"passport/{name}"] for name in facts["layers"]}
        return cls(passport, binding=facts["binding"], **shared_parts(facts, tensors, thresholds))


def _shape_of(conv: Projection) -> Hashable:
    """What a mean patch depends on besides the passport."""
    if isinstance(conv, nn.Linear):
        return ()
    return conv.kernel_size, conv.stride, conv.padding, conv.padding_mode, conv.dilation, conv.groups
