"""A passport between two low-rank adapters, and a second one that is to work in its place (SEAL, arXiv:2501.09284).

    W = W0 + B C A,  B (C_out, r) and A (r, n), the passports C and C_p (r, r)

The owner shows B, A, C and C_p. With B C_p A in the place of B C A the network is to work as well, which the judge
tries by adding B (C_p - C) A to the suspect's W; with a random passport it is not to.

SEAL has no signature. Here the entries of C and C_p are drawn signs, +-s / sqrt(r), so that C carries r^2 bits a layer:
they are read in B^+ W A^+, in which C stands beside what B and A make of W0.

What it is worth. B and A are the claimant's, and are solved for: any weights are a rest and B C A, with any invertible
C, and then any C_p does as well (`factorise`). So a claim of this kind counts by its date. Whoever chose B and A before
that may have chosen what many networks read: `SealClaim.redraw` leaves it open, and with it the rule `sound`.

Shapes: L layers, sum(C_out) and sum(n) of all of them; n = k k C_in / groups.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn

from ipr.claims.base import Reading, reading
from ipr.claims.redraw import Part
from ipr.claims.structure import NEVER_DRAWN, REMEDY
from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.models.inspection import projection_of
from ipr.signature import agreeing_bits, binomial_tail, detect
from ipr.watermarks.base import WatermarkClaim
from ipr.watermarks.projection import check_bits, check_finite, check_shape

NOT_DRAWN = "trained, and not drawn: whoever chooses them may choose what many networks read"
"""Of adapters."""


SIGNS_LIMIT = 2**22
"""The most signs that a passport has in all layers: whether each is singular takes a decomposition."""


def drawn_passports(layers: int, rank: int, source: Generator) -> Tensor:
    """The signs of C and C_p for each layer, (2, L, r, r), int8, each matrix drawn again until it is invertible."""
    drawn = []
    for _ in range(2 * layers):
        signs = torch.randint(2, (rank, rank), generator=source) * 2 - 1
        while int(torch.linalg.matrix_rank(signs.double())) < rank:
            signs = torch.randint(2, (rank, rank), generator=source) * 2 - 1
        drawn.append(signs.to(torch.int8))
    return torch.stack(drawn).view(2, layers, rank, rank)


@dataclass(frozen=True, kw_only=True)
class SealClaim(WatermarkClaim):
    """Two passports, and the adapters that they stand between.

    Attributes:
        places: the names of the layers in the network's order, joined by commas.
        scale: s; the entries of C and C_p are +-s / sqrt(r).
        passports: their signs, C's and C_p's, (2, L, r, r), int8.
        up: B of all layers, one below the other, (sum(C_out), r), float.
        down: A of all layers, side by side, (r, sum(n)), float.
    """

    kind = "seal"
    brings_passport = True
    of_accessory = True
    never_drawn = (Part("adapters", "signature", None, NOT_DRAWN),)
    follow = frozenset({"up", "down"})

    places: str
    scale: float
    passports: Tensor
    up: Tensor
    down: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        if len({*self.named}) < len(self.named):
            raise InputError("claim", ascii(self.places), "names a layer twice", "restore the claim")
        check_shape("passports", self.passports, 2, len(self.named), self.rank, self.rank)
        if self.passports[0].numel() > SIGNS_LIMIT:
            what = f"a passport of {self.passports[0].numel()} signs"
            raise InputError("claim", what, f"has more than {SIGNS_LIMIT}", "lower scheme.rank, or name fewer layers")
        check_bits("passports", self.passports)
        check_shape("up", self.up, None, self.rank)
        check_shape("down", self.down, self.rank, None)
        for name in ("up", "down"):
            check_finite(name, getattr(self, name))
        if type(self.scale) is not float or not 0 < self.scale <= 1e6:
            raise InputError("claim", "scale", "is no number above 0 and up to 10^6", "restore the claim")

    @classmethod
    def drawn(
        cls, network: nn.Module, layers: Sequence[str], rank: int, scale: float, source: Generator, **parts: Any
    ) -> Self:
        """A new claim: passports, and adapters of 0 until training has completed them.

        Args:
            network: a plain one.
            layers: the names of its layers.
            rank: r; less where a layer has fewer channels.
            scale: s.
            source: draws.
            parts: see `claim_parts`.
        """
        sizes = [projection_of(network, name).weight.flatten(1).shape for name in layers]
        rank = min([rank, *(side for size in sizes for side in size)])
        return cls(
            places=",".join(layers),
            scale=float(scale),
            passports=drawn_passports(len(layers), rank, source),
            up=torch.zeros(sum(channels for channels, _ in sizes), rank),
            down=torch.zeros(rank, sum(n for _, n in sizes)),
            **parts,
        )

    @property
    def named(self) -> list[str]:
        """The names of the layers."""
        return self.places.split(",")

    @property
    def rank(self) -> int:
        """The rank, r."""
        return self.passports.shape[-1]

    def secrets(self) -> Tensor:
        """C and C_p of each layer, (2, L, r, r), float64."""
        signs: Tensor = self.passports.double().cpu()
        return signs * (self.scale / math.sqrt(self.rank))

    def adapted(self, network: nn.Module) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
        """Name, W (C, n), B and A of each layer of a network, in double precision on the CPU.

        Raises:
            InputError: the network has no such layers.
        """
        found = {name: _weight(network, name).detach().double().cpu().flatten(1) for name in self.named}
        ups = _parted(self.up, 0, [weight.shape[0] for weight in found.values()])
        downs = _parted(self.down, 1, [weight.shape[1] for weight in found.values()])
        for (name, weight), up, down in zip(found.items(), ups, downs, strict=True):
            yield name, weight, up, down

    def read(self, suspect: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> Reading:
        """A bit is the sign of an entry of B^+ W A^+. The bits are drawn, so that they are fair coins for whoever drew
        B and A without them; their claimant did not.
        """
        agreeing, total = {}, {}
        for (name, weight, up, down), bits in zip(self.adapted(suspect), self.passports[0], strict=True):
            found = torch.linalg.pinv(up) @ weight @ torch.linalg.pinv(down)
            agreeing[name], total[name] = agreeing_bits(detect(found), bits), bits.numel()
        return reading(agreeing, total)

    def presented_in(self, suspect: nn.Module) -> nn.Module:
        """See `Claim.presented_in`: W + B (C_p - C) A, which is W0 + B C_p A where it is the owner's.

        Raises:
            InputError: also where that is not finite.
        """
        shown = copy.deepcopy(suspect)
        first, second = self.secrets()
        for (name, weight, up, down), change in zip(self.adapted(suspect), second - first, strict=True):
            place = _weight(shown, name)
            changed = (weight + up @ change @ down).view_as(place).to(place)
            if not bool(changed.isfinite().all()):
                raise InputError("claim", f"what it presents to {name}", "is not finite", REMEDY)
            with torch.no_grad():
                place.copy_(changed)
        return shown

    def rivals(self, source: Generator, count: int) -> list[Self]:
        """See `WatermarkClaim.rivals`: random ones in the place of C_p, between the claim's own adapters."""
        own, layers = self.passports[:1].cpu(), len(self.named)
        others = (drawn_passports(layers, self.rank, source)[1:] for _ in range(count))
        return [replace(self, owner="", origin=None, passports=torch.cat([own, other])) for other in others]

    def drawn_from(self, source: Generator, network: nn.Module, data: ImageData) -> Self:
        """See `WatermarkClaim.drawn_from`: other passports between the same adapters."""
        fresh = drawn_passports(len(self.named), self.rank, source)
        return replace(self, owner="", origin=None, images=None, passports=fresh)

    def redraw(self, data: ImageData) -> tuple[Part, ...]:
        """See `Claim.redraw`: passports can be drawn again; adapters were trained, or chosen."""
        return (self._redrawn("passports", data), *self.never_drawn)

    def check_network(self, network: nn.Module, example: Tensor) -> None:
        """See `Claim.check_network`: it is read, and presented."""
        super().check_network(network, example)
        self.presented_in(network)

    def check_structure(self) -> None:
        """See `Claim.check_structure`.

        Raises:
            InputError: also where a passport is singular, or the second agrees with the first as no drawn one does.
        """
        super().check_structure()
        if bool((torch.linalg.matrix_rank(self.passports.double()) < self.rank).any()):
            raise InputError("claim", "passports", "hold a singular matrix", REMEDY)
        same = int((self.passports[0] == self.passports[1]).sum())
        if binomial_tail(same, self.marks().numel())[0] <= NEVER_DRAWN:
            problem = f"has {same} of {self.marks().numel()} signs of the first: where one works so does the other"
            raise InputError("claim", "second passport", problem, REMEDY)

    def marks(self) -> Tensor:
        """The signs of C in all layers."""
        return self.passports[0].flatten()


def _weight(network: nn.Module, name: str) -> Tensor:
    try:
        return projection_of(network, name).weight
    except (AttributeError, TypeError) as error:
        raise InputError("claim", ascii(name), "is no layer of the network", "judge its own network") from error


def _parted(adapter: Tensor, side: int, sizes: Sequence[int]) -> Sequence[Tensor]:
    """An adapter layer by layer, along its rows (0) or its columns (1), in double precision on the CPU."""
    if adapter.shape[side] != sum(sizes):
        what = f"adapters for {adapter.shape[side]} {('channels', 'weights of a channel')[side]}"
        raise InputError("claim", what, f"are for another network: there are {sum(sizes)}", "judge its own network")
    parts: Sequence[Tensor] = adapter.double().cpu().split([*sizes], side)
    return parts
