"""The claim of a passport's owner: passport, signature and, in V3, a trigger set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from ipr.claims.base import Claim, Thresholds
from ipr.claims.origin import Origin
from ipr.data.trigger_sets import check_trigger_set
from ipr.errors import InputError
from ipr.passport.bound import Binding, bound_signature
from ipr.passport.layer import Affine, patch_mean, scale_and_shift
from ipr.passport.normal_form import public_signs, relative_to
from ipr.passport.surgery import ConvNorm, Passport
from ipr.signature import Signature, check_text_bytes


@dataclass(frozen=True)
class PassportClaim(Claim):
    """Passport, signature and trigger set; owner, thresholds and architecture as in every `Claim`.

    Attributes:
        passport: layer -> P_gamma and P_beta, (2, C_in, H, W), float; empty where `scales` are brought instead.
        signature: layer -> bits in {-1, +1}, (C,), int8.
        text_bytes: how many bytes of text the signature begins with.
        trigger_pixels: trigger images, (N, H, W, channels), uint8; None where the scheme has none.
        trigger_labels: their labels, (N,), int64.
        scales: layer -> scale and shift, (2, C): what a forger brings who has no passport (fake2, flipped signs). An
            owner never needs them, so a judge may ask for the passport; here they are judged all the same.
        binding: the nonce from which with passport and owner the signature follows, as `Binding` is written; None for
            a signature of the owner's choice.
    """

    kind = "passport"

    passport: Passport
    signature: Signature
    text_bytes: int = 0
    trigger_pixels: Tensor | None = None
    trigger_labels: Tensor | None = None
    scales: Mapping[str, Tensor] = field(default_factory=dict)
    binding: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.passport and self.scales:
            raise InputError("claim", sorted(self.scales), "brings a passport and scales", "bring one of them")
        if self.layers != list(self.signature):
            raise InputError(
                "claim",
                sorted({*self.layers} ^ {*self.signature}) or self.layers,
                "layers with a passport but no signature, or the reverse",
                "give both for each layer",
            )
        for name, bits in self.signature.items():
            if bits.dtype != torch.int8 or bits.dim() != 1 or not bool((bits.abs() == 1).all()):
                raise InputError(
                    "claim", f"signature of {name}", "is not a row of -1 and +1 in int8", "restore the claim"
                )
        for name, given in (self.passport or self.scales).items():
            fits = given.dim() == 4 if self.passport else given.dim() == 2
            if not fits or given.shape[0] != 2 or not given.is_floating_point():
                shape = f"{tuple(given.shape)} in {given.dtype}"
                raise InputError("claim", f"{name}: {shape}", "is no passport and no pair of scales", "restore it")
        check_text_bytes(self.text_bytes, sum(bits.numel() for bits in self.signature.values()))
        if (self.trigger_pixels is None) != (self.trigger_labels is None):
            raise InputError("claim", "trigger set", "has images or labels, not both", "restore the claim")
        if self.trigger_pixels is not None and self.trigger_labels is not None:
            check_trigger_set(self.trigger_pixels, self.trigger_labels)
        if self.binding is not None:
            self._check_binding(Binding.parse(self.binding))

    def _check_binding(self, binding: Binding) -> None:
        if not self.passport:
            raise InputError("claim", "binding", "binds a signature to no passport", "bring the passport")
        capacities = {name: bits.numel() for name, bits in self.signature.items()}
        derived = bound_signature(self.passport, capacities, self.owner, binding)
        if any(not torch.equal(derived[name], bits.cpu()) for name, bits in self.signature.items()):
            problem = "the signature does not follow from passport, owner and nonce"
            raise InputError("claim", "binding", problem, "restore the claim; such a signature cannot be chosen")

    @property
    def bound(self) -> bool:
        """Whether the signature follows from passport, owner and nonce; checked when the claim was made."""
        return self.binding is not None

    @property
    def relative(self) -> bool:
        """Whether the bits are read relative to the signs of the public scales (`normal_form.py`)."""
        return self.binding is not None and Binding.parse(self.binding).relative

    @property
    def says_of_signature(self) -> str:
        """What the signature follows from, in words."""
        return "of the owner's choice" if self.binding is None else Binding.parse(self.binding).says

    def forged(self, **changes: Any) -> Self:
        """Another party's claim: the same but for its secrets (`changes`), the owner's name, binding and origin."""
        return replace(self, owner="", binding=None, origin=None, **changes)

    @property
    def layers(self) -> list[str]:
        """The protected layers, by the names of their convolutions, in the network's order."""
        return list(self.passport or self.scales)

    def affines(self, network: nn.Module) -> dict[str, Affine]:
        """Scale and shift that the claim gives each layer of a network: Eq. 4 for a passport; each (1, C)."""
        if self.scales:
            stored = {n: pair.to(network.get_parameter(f"{n}.weight").device) for n, pair in self.scales.items()}
            return {name: (pair[0:1], pair[1:2]) for name, pair in stored.items()}
        affines = {}
        for name, maps in self.passport.items():
            conv = network.get_submodule(name)
            assert isinstance(conv, nn.Conv2d)
            affines[name] = scale_and_shift(conv.weight.detach(), patch_mean(maps.to(conv.weight), conv).unsqueeze(0))
        return affines

    def signed_scales(
        self, network: nn.Module, places: Sequence[ConvNorm], affines: Mapping[str, Affine] | None = None
    ) -> dict[str, Tensor]:
        """The claimed scales in the form in which their signs are read, layer -> (C,): Eq. 4, or relative.

        Args:
            network: the suspect, plain or with passport layers.
            places: the protected layers.
            affines: what the claim gives the layers of this network, where it is known (`affines`).
        """
        scales = {name: gamma[0] for name, (gamma, _) in (affines or self.affines(network)).items()}
        return relative_to(public_signs(network, places), scales) if self.relative else scales

    def marks(self) -> Tensor:
        """The bits of all layers, (N,)."""
        return torch.cat(list(self.signature.values()))

    def tensors(self) -> dict[str, Tensor]:
        """See `Claim.tensors`."""
        named = {f"passport/{name}": maps for name, maps in self.passport.items()}
        named |= {f"scales/{name}": pair for name, pair in self.scales.items()}
        named |= {f"signature/{name}": bits for name, bits in self.signature.items()}
        if self.trigger_pixels is not None and self.trigger_labels is not None:
            named |= {"trigger_set/pixels": self.trigger_pixels, "trigger_set/labels": self.trigger_labels}
        return named

    def specifics(self) -> dict[str, Any]:
        """See `Claim.specifics`."""
        return {"layers": self.layers, "text_bytes": self.text_bytes, "binding": self.binding}

    @classmethod
    def from_parts(cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], thresholds: Thresholds) -> Self:
        """See `Claim.from_parts`."""
        scaled = any(name.startswith("scales/") for name in tensors)
        return cls(
            passport={} if scaled else {name: tensors[f"passport/{name}"] for name in facts["layers"]},
            scales={name: tensors[f"scales/{name}"] for name in facts["layers"]} if scaled else {},
            signature={name: tensors[f"signature/{name}"] for name in facts["layers"]},
            thresholds=thresholds,
            text_bytes=facts["text_bytes"],
            binding=facts["binding"],
            owner=facts["owner"],
            origin=Origin.read(facts.get("origin")),
            trigger_pixels=tensors.get("trigger_set/pixels"),
            trigger_labels=tensors.get("trigger_set/labels"),
            architecture=dict(facts["architecture"]),
        )
