"""NeuralMark (Yao et al. 2025, arXiv:2507.11137): the hash of a key is the watermark, and chooses the weights.

Constants are those of the authors' published program: lambda = 1, four rounds of filtering, 512 weights after pooling,
256 bits. Their layers are the fourth convolution of AlexNet and one of the third stage of ResNet-18; here
`model.watermark_layer`.

The authors bind bits to the key alone. So does this: no owner's name is hashed, and whoever sees the key holds
it, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ipr.claims.base import Reading, reading
from ipr.claims.structure import check_rows
from ipr.config.ranges import check_numbers
from ipr.config.recipe import Recipe
from ipr.config.registry import register
from ipr.config.schema import TrainConfig
from ipr.data.images import ImageData
from ipr.digests import elements
from ipr.errors import InputError
from ipr.models.inspection import convolution_of
from ipr.schemes.base import About, Trained
from ipr.schemes.start import claim_parts, start_network
from ipr.schemes.watermark import InFilters, InFiltersConfig
from ipr.signature import agreeing_bits, detect
from ipr.watermarks.hashed import HashedClaim, hash_bits
from ipr.watermarks.projection import check_count, check_finite, check_shape, secret_projection

ROUNDS_LIMIT = 64
"""Rounds of a claim at most: each leaves about half of the weights."""


def filtered(weights: int, bits: Tensor, rounds: int) -> Tensor:
    """Which weights are left: in every round those that stand under a bit of +1 when the bits are laid side by side.

    A round leaves out what is behind the last whole row of bits.

    Args:
        weights: how many there are, flattened.
        bits: the watermark in {-1, +1}, (T,).
        rounds: R.

    Returns:
        Their positions in ascending order, int64; none where fewer than T were left before the last round.
    """
    left, ones = torch.arange(weights), (bits > 0).cpu()
    for _ in range(rounds):
        left = left[: left.numel() // ones.numel() * ones.numel()].view(-1, ones.numel())[:, ones].flatten()
    return left


def pooled(weights: Tensor, left: Tensor, size: int) -> Tensor:
    """The weights that are left, averaged: entry i over the i-th of every `size` of them, (size,).

    What is behind the last whole row is left out.

    Args:
        weights: flattened, (N,).
        left: positions, see `filtered`; at least `size`.
        size: k_0.
    """
    whole = left.numel() // size * size
    return weights.index_select(0, left[:whole]).view(-1, size).mean(0)


def embedding_loss(w: Tensor, key: Tensor, bits: Tensor) -> Tensor:
    """The mean over the bits of the cross-entropy of sigmoid(w K) with them.

    Args:
        w: filtered and pooled weights, (k_0,).
        key: K, (k_0, T).
        bits: b in {-1, +1}, (T,).
    """
    return functional.binary_cross_entropy_with_logits(w @ key, (bits > 0).to(w))


@dataclass(frozen=True, kw_only=True)
class NeuralMarkClaim(HashedClaim):
    """A key, whose hash is the bits.

    Attributes:
        key: K, (k_0, T), float32.
        rounds: R, how often the weights are filtered.
    """

    kind = "neuralmark"
    hash_of = "the key"

    key: Tensor
    rounds: int

    def __post_init__(self) -> None:
        check_shape("key", self.key, None, self.bits.numel())
        check_finite("key", self.key)
        if self.key.dtype != torch.float32:
            raise InputError("claim", "key", "is not made of float32", "restore the claim")
        if type(self.rounds) is not int or not 1 <= self.rounds <= ROUNDS_LIMIT:
            raise InputError("claim", "rounds", f"is no number from 1 to {ROUNDS_LIMIT}", "restore the claim")
        super().__post_init__()

    @classmethod
    def drawn(
        cls, network: nn.Module, layer: str, count: int, source: Generator, *, pooled: int, rounds: int, **parts: Any
    ) -> Self:
        """A new claim of `count` bits, read from `pooled` averages of a layer's weights: the key from N(0, 1).

        Raises:
            InputError: no such layer, no bits, or too few weights are left by the filter.
        """
        name, convolution = convolution_of(network, layer)
        check_count(count)
        key = secret_projection(pooled, count, source)
        claim = cls(layer=name, key=key, bits=key_bits(key), rounds=rounds, **parts)
        if (left := claim.left(convolution).numel()) < pooled:
            problem = (
                f"{rounds} rounds leave {left} of the {convolution.weight.numel()} weights of {name}, not {pooled}"
            )
            raise InputError("scheme.layer", layer, problem, "give a larger layer, or less scheme.rounds and .pooled")
        return claim

    def hashed(self) -> Tensor:
        """See `HashedClaim.hashed`."""
        return key_bits(self.key)

    def left(self, convolution: nn.Conv2d) -> Tensor:
        """Which of a convolution's weights carry the bits: see `filtered`."""
        return filtered(convolution.weight.numel(), self.bits, self.rounds)

    def read(self, suspect: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> Reading:
        """Bit j is 1 where the j-th of w K is above 0. Bits are a hash, so an unrelated network's are fair coins.

        Raises:
            InputError: the filter leaves the layer too few weights.
        """
        name, convolution = convolution_of(suspect, self.layer)
        left, size = self.left(convolution), self.key.shape[0]
        if left.numel() < size:
            problem = f"the filter leaves {left.numel()} weights of the layer"
            raise InputError("claim", f"{name}: a key for {size}", problem, "judge the network that it was made for")
        w = pooled(convolution.weight.detach().double().cpu().flatten(), left, size)
        agreeing = agreeing_bits(detect(w @ self.key.double()), self.bits)
        return reading({self.layer: agreeing}, {self.layer: self.bits.numel()})

    def drawn_from(self, source: Generator, network: nn.Module, data: ImageData) -> Self:
        """See `WatermarkClaim.drawn_from`."""
        size, count = self.key.shape
        return self.drawn(network, self.layer, count, source, pooled=size, rounds=self.rounds, **self.kept)

    def check_structure(self) -> None:
        """See `Claim.check_structure`: a bit is read by a column of the key."""
        super().check_structure()
        check_rows(self.key.T)


def key_bits(key: Tensor) -> Tensor:
    """SHAKE-256 of a key's elements, row by row, little-endian; a bit for each column, (T,)."""
    return hash_bits(elements(key), key.shape[1])


@dataclass
class NeuralMarkConfig(InFiltersConfig):
    """NeuralMark: the hash of a key, in weights that it chooses."""

    bits: int = 256  # T
    pooled: int = 512  # k_0, averages of weights that bits are read from
    rounds: int = 4  # of filtering, R
    weight: float = 1.0  # lambda


@register("neuralmark", order=13)
class NeuralMark(InFilters):
    """L_c + lambda BCE(sigmoid(w K), b), b the hash of K and w the weights that b chooses (Yao et al. 2025)."""

    Config = NeuralMarkConfig
    claim_kind = NeuralMarkClaim
    about = About(
        "projection",
        "Yao et al. 2025, NeuralMark",
        "cross-entropy of projected weights with the hash that chooses them",
        "bits",
    )

    key: Tensor
    bits: Tensor
    left: Tensor

    def __init__(
        self, network: nn.Module, recipe: Recipe, num_classes: int, *, claim: NeuralMarkClaim, scheme: NeuralMarkConfig
    ) -> None:
        super().__init__(network, recipe, num_classes, claim=claim, scheme=scheme)
        self.register_buffer("left", claim.left(convolution_of(network, claim.layer)[1]), persistent=False)

    @classmethod
    def draw_claim(cls, config: TrainConfig, data: ImageData, trained: Trained) -> NeuralMarkClaim:
        """See `Scheme.draw_claim`."""
        scheme, network = config.scheme, start_network(config, data)
        assert isinstance(scheme, NeuralMarkConfig)
        check_numbers(scheme, "scheme.")
        sizes, parts = {"pooled": scheme.pooled, "rounds": scheme.rounds}, claim_parts(config, data)
        return NeuralMarkClaim.drawn(network, scheme.layer, scheme.bits, cls.source(config), **sizes, **parts)

    def vector(self, convolution: nn.Conv2d) -> Tensor:
        """See `InFilters.vector`: filtered and pooled weights, (k_0,)."""
        return pooled(convolution.weight.flatten(), self.left, self.key.shape[0])

    def embedding_loss(self, w: Tensor) -> Tensor:
        """BCE(sigmoid(w K), b)."""
        return embedding_loss(w, self.key, self.bits)
