"""A projection watermark: bit j is the sign of the difference of two weights of a convolution's mean filter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn

from ipr.claims.base import Reading, reading
from ipr.config.recipe import Recipe
from ipr.config.schema import TrainConfig
from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.models.inspection import convolution_of
from ipr.schemes.base import About, Trained
from ipr.schemes.start import claim_parts, start_network
from ipr.schemes.watermark import InFilters, InFiltersConfig
from ipr.signature import agreeing_bits, detect
from ipr.watermarks.projection import FilterClaim, check_shape, mean_filter


def differences(w: Tensor, pairs: Tensor) -> Tensor:
    """w_a - w_b of every pair (a, b): (T,) from the mean filter, (M,), and the pairs, int64 (T, 2)."""
    return w[pairs[:, 0]] - w[pairs[:, 1]]


@dataclass(frozen=True, kw_only=True)
class PairsClaim(FilterClaim):
    """The owner's secrets; every field is stored under its name. Layer and bits are those of every `FilterClaim`.

    Attributes:
        pairs: int64 (T, 2), no weight twice.
    """

    kind = "pairs"  # as the scheme is registered

    pairs: Tensor

    def __post_init__(self) -> None:
        """Refuses a claim from a folder that is none; who brings it may have made it by hand."""
        super().__post_init__()
        check_shape("pairs", self.pairs, self.bits.numel(), 2)
        if self.pairs.dtype != torch.int64 or self.pairs.unique().numel() != self.pairs.numel():
            raise InputError("claim", "pairs", "names a weight twice, or none", "restore the claim")

    @classmethod
    def drawn(cls, network: nn.Module, layer: str, count: int, source: Generator, **parts: Any) -> Self:
        """A new claim of `count` bits: pairs and bits at random.

        Raises:
            InputError: the layer's mean filter has too few weights.
        """
        name, convolution = convolution_of(network, layer)
        most = mean_filter(convolution).numel() // 2
        if not 1 <= count <= most:
            raise InputError("scheme.bits", count, f"is not 1 to {most}, the pairs of {name}", f"give e.g. {most}")
        pairs = torch.randperm(2 * most, generator=source)[: 2 * count].view(count, 2)
        bits = (torch.randint(2, (count,), generator=source) * 2 - 1).to(torch.int8)
        return cls(layer=name, pairs=pairs, bits=bits, **parts)

    def read(self, suspect: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> Reading:
        """See `WatermarkClaim.read`. Pairs and bits are drawn, so an unrelated network's are fair coins."""
        name, convolution = convolution_of(suspect, self.layer)
        w = mean_filter(convolution).detach().double().cpu()
        if int(self.pairs.min()) < 0 or int(self.pairs.max()) >= w.numel():
            raise InputError("claim", name, f"has {w.numel()} weights, fewer than the pairs", "judge its own network")
        agreeing, total = agreeing_bits(detect(differences(w, self.pairs)), self.bits), self.bits.numel()
        return reading({self.layer: agreeing}, {self.layer: total})

    def drawn_from(self, source: Generator, network: nn.Module, data: ImageData) -> Self:
        """See `WatermarkClaim.drawn_from`: what a judge draws again, and what another party would embed."""
        return self.drawn(network, self.layer, self.bits.numel(), source, **self.kept)


@dataclass
class PairsConfig(InFiltersConfig):
    """What `scheme.FIELD=...` sets, besides the layer."""

    bits: int = 64  # T
    weight: float = 0.1  # of the regulariser
    margin: float = 0.05  # a difference that is larger is left alone


class Pairs(InFilters):
    """Cross-entropy, and a hinge that gives every difference the sign of its bit."""

    Config = PairsConfig
    claim_kind = PairsClaim
    about = About("projection", "this package", "a hinge on differences of weights of a mean filter", "bits")

    pairs: Tensor
    bits: Tensor

    def __init__(
        self, network: nn.Module, recipe: Recipe, num_classes: int, *, claim: PairsClaim, scheme: PairsConfig
    ) -> None:
        super().__init__(network, recipe, num_classes, claim=claim, scheme=scheme)  # the claim's tensors are attributes
        self.margin = scheme.margin

    @classmethod
    def draw_claim(cls, config: TrainConfig, data: ImageData, trained: Trained) -> PairsClaim:
        """See `Scheme.draw_claim`: the secrets of a new run."""
        scheme, network = config.scheme, start_network(config, data)
        assert isinstance(scheme, PairsConfig)
        return PairsClaim.drawn(network, scheme.layer, scheme.bits, cls.source(config), **claim_parts(config, data))

    def embedding_loss(self, w: Tensor) -> Tensor:
        """sum_j max(0, margin - b_j (w_a - w_b)), of the mean filter, (M,)."""
        return torch.relu(self.margin - self.bits * differences(w, self.pairs)).sum()
