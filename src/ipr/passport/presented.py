"""The claim to passport layers: what every party presents to them, and a forger's who brings bare scales."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ipr.claims.base import Claim, Thresholds
from ipr.claims.origin import SIGNATURE, TRIGGER_SET, Origin
from ipr.claims.recorded_images import RecordedImages
from ipr.claims.redraw import ALL_TEXT, Part, compared, source_of
from ipr.claims.structure import REMEDY, check_labels_differ
from ipr.data.images import ImageData
from ipr.data.trigger_sets import TriggerSet, abstract_trigger_set, check_trigger_set
from ipr.errors import InputError
from ipr.passport.layer import Affine
from ipr.passport.normal_form import public_signs, relative_to
from ipr.passport.surgery import ConvNorm, find_layers
from ipr.signature import Signature, bits_of, check_text_bytes, draw_signature


class PresentedClaim(Claim):
    """A claim that presents a scale and a shift to each of its layers, and a signature to read in the scales.

    Attributes:
        part: what stands before a layer's name where what is presented is stored.
        brings_passport: whether the scales follow from a passport (Eq. 4); a judge may ask for one.
        signature: layer -> bits in {-1, +1}, (C,), int8; 0 where a channel carries none.
        text_bytes: how many bytes of text the signature begins with.
        triggers: trigger images with their labels; None where the scheme has none.
    """

    kind = "passport"
    part: ClassVar[str]
    brings_passport: ClassVar[bool]

    signature: Signature
    text_bytes: int
    triggers: TriggerSet | None

    @property
    @abstractmethod
    def presented(self) -> Mapping[str, Tensor]:
        """Layer -> what is presented to it, float."""

    @abstractmethod
    def shape_at(self, layer: ConvNorm) -> tuple[int, ...]:
        """The shape that `presented` must have at a layer."""

    @abstractmethod
    def affines(self, network: nn.Module) -> dict[str, Affine]:
        """Scale and shift that the claim gives each layer of a network, each (1, C)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers != list(self.signature):
            raise InputError(
                "claim",
                sorted({*self.layers} ^ {*self.signature}) or self.layers,
                "layers with a passport but no signature, or the reverse",
                "give both for each layer",
            )
        for name, bits in self.signature.items():
            if bits.dtype != torch.int8 or bits.dim() != 1 or not bool(((bits >= -1) & (bits <= 1)).all()):
                problem = "is not a row of -1, 0 and +1 in int8"
                raise InputError("claim", f"signature of {name}", problem, "restore the claim")
        if not any(bool(bits.any()) for bits in self.signature.values()):
            raise InputError("claim", "signature", "has no bit", "restore the claim")
        for name, given in self.presented.items():
            fits = given.dim() == (4 if self.brings_passport else 2)
            if not fits or given.shape[0] != 2 or not given.is_floating_point():
                shape = f"{tuple(given.shape)} in {given.dtype}"
                raise InputError("claim", f"{name}: {shape}", "is no passport and no pair of scales", "restore it")
        check_text_bytes(self.text_bytes, self.marks().numel())
        if self.triggers is not None:
            check_trigger_set(self.triggers.pixels, self.triggers.labels)

    @property
    def bound(self) -> bool:
        """Whether the signature follows from passport, owner and nonce; checked when the claim was made."""
        return False

    @property
    def relative(self) -> bool:
        """Whether the bits are read relative to the signs of the public scales (`normal_form.py`)."""
        return False

    @property
    def says_of_signature(self) -> str:
        """See `Claim.says_of_signature`."""
        return "of the owner's choice"

    @property
    def chosen_bits(self) -> int:
        """See `Claim.chosen_bits`; a bound signature holds no text, whatever is said of its length."""
        return 0 if self.bound else 8 * self.text_bytes

    def redraw(self, data: ImageData) -> tuple[Part, ...]:
        """See `Claim.redraw`: signature and trigger set. A passport may be chosen (`judging/redraw.py`)."""
        parts = [self._signature_redrawn()]
        if self.triggers is not None:
            parts.append(_triggers_redrawn(self.triggers, self.origin, data))
        return tuple(parts)

    def _signature_redrawn(self) -> Part:
        if self.bound:
            return Part("signature", "signature", True, "follows from passport, owner and nonce")
        capacities = {name: bits.numel() for name, bits in self.signature.items()}
        text, total = 8 * self.text_bytes, self.marks().numel()
        source = source_of(self.origin, SIGNATURE)
        if isinstance(source, str) or text == total:
            return Part("signature", "signature", None, source if isinstance(source, str) else f"is {ALL_TEXT}")
        again = draw_signature(capacities, None, source, total)
        found = [{"bits": bits_of(one).cpu()[text:], "channels": _signed(one)} for one in (self.signature, again)]
        return compared("signature", "signature", *found, text=text, total=total)

    def check_structure(self) -> None:
        """See `Claim.check_structure`."""
        super().check_structure()
        if self.triggers is not None:
            check_labels_differ(self.triggers.labels, self.architecture.get("num_classes", 2))

    def check_network(self, network: nn.Module, example: Tensor) -> None:
        """See `Claim.check_network`."""
        self.check_fit(find_layers(network, example, self.layers))
        self.checked_affines(network)

    def check_fit(self, layers: Sequence[ConvNorm]) -> None:
        """Refuses a passport, or scales, of other shapes than the layers.

        Raises:
            InputError: naming the layer.
        """
        if {layer.conv for layer in layers} != {*self.layers}:
            problem = "names other layers than the suspect's"
            raise InputError("claim", ", ".join(self.layers), problem, "name convolutions")
        for layer in layers:
            wanted, got = self.shape_at(layer), tuple(self.presented[layer.conv].shape)
            bits = self.signature[layer.conv].numel()
            if got != wanted or bits != layer.channels:
                raise InputError(
                    "claim",
                    f"{layer.conv}: {got}, {bits} bits",
                    f"its shape must be {wanted} with {layer.channels} bits",
                    "generate it for this network and image size",
                )

    def checked_affines(self, network: nn.Module) -> dict[str, Affine]:
        """The `affines` of a claim that fits the network, where they say something.

        Raises:
            InputError: a scale or a shift is not finite: a product that is too large for a float.
        """
        affines = self.affines(network)
        for name, pair in affines.items():
            if not all(bool(values.float().isfinite().all()) for values in pair):
                raise InputError("claim", f"scales of {name}", "are not finite", REMEDY)
        return affines

    @property
    def layers(self) -> list[str]:
        """The protected layers, by the names of their convolutions, in the network's order."""
        return list(self.presented)

    def forged(self, **changes: Any) -> PresentedClaim:
        """Another party's claim: the same but for its secrets (`changes`), the owner's name and origin."""
        return replace(self, owner="", origin=None, **changes)

    def with_triggers(self, triggers: TriggerSet | None) -> Self:
        """See `Claim.with_triggers`."""
        changes: dict[str, Any] = {"triggers": triggers}
        return replace(self, **changes)

    def read_scales(self, network: nn.Module, affines: Mapping[str, Affine] | None = None) -> dict[str, Tensor]:
        """The scales whose signs are read, layer -> (C,), before they are made relative: those that are presented.

        Args:
            network: see `signed_scales`.
            affines: see there.
        """
        return {name: gamma[0] for name, (gamma, _) in (affines or self.affines(network)).items()}

    def signed_scales(
        self, network: nn.Module, layers: Sequence[ConvNorm], affines: Mapping[str, Affine] | None = None
    ) -> dict[str, Tensor]:
        """The claimed scales in the form in which their signs are read, layer -> (C,): as presented, or relative.

        Args:
            network: the suspect, plain or with passport layers.
            layers: the protected layers.
            affines: what the claim gives the layers of this network, where it is known (`affines`).
        """
        scales = self.read_scales(network, affines)
        return relative_to(public_signs(network, layers), scales) if self.relative else scales

    def dissimilarity(self, other: Claim) -> float:
        """See `Claim.dissimilarity`; whatever scales come of, it is bits that are read in them."""
        mine, theirs = self.marks(), other.marks()
        if not isinstance(other, PresentedClaim) or mine.shape != theirs.shape:
            return 1.0
        return float((mine != theirs).float().mean())

    def marks(self) -> Tensor:
        """The bits of all layers, (N,), in {-1, +1}."""
        return bits_of(self.signature)

    def tensors(self) -> dict[str, Tensor]:
        """See `Claim.tensors`."""
        named = {f"{self.part}/{name}": tensor for name, tensor in self.presented.items()}
        named |= {f"signature/{name}": bits for name, bits in self.signature.items()}
        if self.triggers is not None:
            named |= {"trigger_set/pixels": self.triggers.pixels, "trigger_set/labels": self.triggers.labels}
        return named

    def specifics(self) -> dict[str, Any]:
        """See `Claim.specifics`."""
        return {"layers": self.layers, "text_bytes": self.text_bytes, "binding": None}


def shared_parts(facts: Mapping[str, Any], tensors: Mapping[str, Tensor], thresholds: Thresholds) -> dict[str, Any]:
    """What every `PresentedClaim` is made of, from what its folder holds.

    Raises:
        InputError: there are trigger images without labels, or the reverse.
    """
    pixels, labels = (tensors.get(f"trigger_set/{name}") for name in ("pixels", "labels"))
    if (pixels is None) != (labels is None):
        raise InputError("claim", "trigger set", "has images or labels, not both", "restore the claim")
    return {
        "signature": {name: tensors[f"signature/{name}"] for name in facts["layers"]},
        "text_bytes": facts["text_bytes"],
        "triggers": None if pixels is None or labels is None else TriggerSet(pixels, labels),
        "thresholds": thresholds,
        "owner": facts["owner"],
        "origin": Origin.read(facts.get("origin")),
        "images": RecordedImages.read(facts.get("images")),
        "architecture": dict(facts["architecture"]),
    }


@dataclass(frozen=True)
class ScalesClaim(PresentedClaim):
    """Scales and shifts without a passport: what a forger brings who has none (fake2, flipped signs).

    An owner never needs them, so a judge may ask for the passport; here they are judged all the same.

    Attributes:
        scales: layer -> scale and shift, (2, C), float.
        signature: see `PresentedClaim`, as the next two.
        text_bytes: see there.
        triggers: see there.
    """

    part = "scales"
    brings_passport = False

    scales: Mapping[str, Tensor]
    signature: Signature
    text_bytes: int = 0
    triggers: TriggerSet | None = None

    @property
    def presented(self) -> Mapping[str, Tensor]:
        """The scales."""
        return self.scales

    def shape_at(self, layer: ConvNorm) -> tuple[int, ...]:
        """See `PresentedClaim.shape_at`: of scale and shift."""
        return (2, layer.channels)

    def affines(self, network: nn.Module) -> dict[str, Affine]:
        """See `PresentedClaim.affines`: as they are, where the network is and in its precision."""
        stored = {name: pair.to(network.get_parameter(f"{name}.weight")) for name, pair in self.scales.items()}
        return {name: (pair[0:1], pair[1:2]) for name, pair in stored.items()}

    @classmethod
    def from_parts(cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], thresholds: Thresholds) -> Self:
        """See `Claim.from_parts`."""
        if facts["binding"] is not None:
            raise InputError("claim", "binding", "binds a signature to no passport", "bring the passport")
        scales = {name: tensors[f"scales/{name}"] for name in facts["layers"]}
        return cls(scales, **shared_parts(facts, tensors, thresholds))


def _signed(signature: Signature) -> Tensor:
    """Which channels carry a bit, (C,) over all layers."""
    return torch.cat([bits.cpu() for bits in signature.values()]) != 0


def _triggers_redrawn(triggers: TriggerSet, origin: Origin | None, data: ImageData) -> Part:
    source = source_of(origin, TRIGGER_SET)
    if isinstance(source, str):
        return Part("trigger set", "images", None, source)
    count = triggers.labels.numel()
    again = abstract_trigger_set(count, data.image_size, data.channels, len(data.classes), source)
    mine, drawn = ({"pixels": images.pixels, "labels": images.labels} for images in (triggers, again))
    return compared("trigger set", "images", mine, drawn)
