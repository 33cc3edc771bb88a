"""DeepMarks (Chen et al. 2018 [3]): a user's code word from an anti-collusion code, written as a fingerprint vector."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ipr.claims.base import Reading, reading
from ipr.claims.structure import check_basis, check_rows
from ipr.config.recipe import Recipe
from ipr.config.registry import register
from ipr.config.schema import TrainConfig
from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.models.inspection import convolution_of
from ipr.randomness import generator
from ipr.schemes.base import About, Trained
from ipr.schemes.start import claim_parts, start_network
from ipr.schemes.watermark import InFilters, InFiltersConfig
from ipr.signature import agreeing_bits, detect
from ipr.watermarks.projection import FilterClaim, check_finite, check_shape, mean_filter, projected, secret_projection

BASIS_LIMIT = 2**12
"""Bits of a claim that a judge draws again at most, for its basis is decomposed anew."""


def code_book(order: int) -> Tensor:
    """The anti-collusion code of a projective plane: v = order^2 + order + 1 words of v bits, (v, v), int8.

    The plane's lines are the blocks of a (v, order + 1, 1) balanced incomplete block design; a user's word is -1 at
    the points of that user's line and +1 elsewhere. The words of up to `order` users who average their networks can
    be told from what is left, as DeepMarks asks of its design.

    Raises:
        InputError: the order is not prime.
    """
    if order < 2 or any(order % divisor == 0 for divisor in range(2, order)):
        raise InputError("scheme.order", order, "is not a prime number", "give e.g. 11, for 133 bits")
    # Points, and lines, of the plane over the integers modulo `order`: (1, y, z), (0, 1, z) and (0, 0, 1).
    line = [(1, y, z) for y in range(order) for z in range(order)] + [(0, 1, z) for z in range(order)] + [(0, 0, 1)]
    points = torch.tensor(line)
    incident = (points @ points.T) % order == 0
    return torch.where(incident, -1, 1).to(torch.int8)


def fingerprint(basis: Tensor, word: Tensor) -> Tensor:
    """F = sum_i b_i u_i, (v,): the word's bits on an orthonormal basis u (the columns of `basis`).

    Summed in float64 and rounded once to the basis's type, so that it is the same on every processor.
    """
    return (basis.double() @ word.double()).to(basis)


def embedding_loss(w: Tensor, projection: Tensor, fingerprint: Tensor) -> Tensor:
    """|f - X w|^2, summed over the fingerprint's elements (the authors' Eq. 1).

    Args:
        w: mean filter, (M,).
        projection: X, (v, M).
        fingerprint: f, (v,).
    """
    return (fingerprint - projection @ w).square().sum()


@dataclass(frozen=True, kw_only=True)
class DeepMarksClaim(FilterClaim):
    """A fingerprint; the bits are the user's code word, and T is v.

    Attributes:
        projection: X, (v, M), float.
        basis: u, orthonormal columns, (v, v), float.
    """

    kind = "deepmarks"
    of_projection = True
    tolerances: ClassVar[Mapping[str, float]] = {"basis": 1e-3}  # an orthogonal decomposition spreads the last bits

    projection: Tensor
    basis: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shape("projection", self.projection, self.bits.numel(), None)
        check_shape("basis", self.basis, self.bits.numel(), self.bits.numel())
        check_finite("projection", self.projection)
        check_finite("basis", self.basis)

    @classmethod
    def drawn(cls, network: nn.Module, layer: str, words: Tensor, source: Generator, **parts: Any) -> Self:
        """A new claim for a layer: one of the words, and a basis and a projection of its own.

        Deviation: X is drawn from N(0, 1) as Uchida's, so that an unrelated network's bits are fair coins; with the
        U[0, 1] that some implementations use, all elements of X w lean to the sign of the weights' mean.
        """
        name, convolution = convolution_of(network, layer)
        size = words.shape[1]
        drawn = torch.randn(size, size, generator=source)
        basis = torch.linalg.qr(drawn.double())[0].float()  # in float32 its last digits are the processor's
        chosen = int(torch.randint(words.shape[0], (1,), generator=source))
        return cls(
            layer=name,
            projection=secret_projection(size, mean_filter(convolution).numel(), source),
            basis=basis,
            bits=words[chosen],
            **parts,
        )

    def read(self, suspect: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> Reading:
        """Bit i is the sign of u_i . X w; the correlation is the cosine between f and X w."""
        found = projected(suspect, self.layer, self.projection)
        basis = self.basis.double()
        agreeing, total = agreeing_bits(detect(basis.T @ found), self.bits), self.bits.numel()
        cosine = functional.cosine_similarity(fingerprint(basis, self.bits), found, dim=0)
        return reading({self.layer: agreeing}, {self.layer: total}, correlation=float(cosine))

    def drawn_from(self, source: Generator, network: nn.Module, data: ImageData) -> Self:
        """See `WatermarkClaim.drawn_from`."""
        return self.drawn(network, self.layer, code_book(order_of(self.bits.numel())), source, **self.kept)

    def redrawn(self, network: nn.Module, data: ImageData, seed: int) -> Self:
        """See `WatermarkClaim.redrawn`: another user's word."""
        return self.drawn(network, self.layer, self.other_words(), generator(seed, "second watermark"), **self.kept)

    def other_words(self) -> Tensor:
        """The code words of other users, (v - 1, v)."""
        words = code_book(order_of(self.bits.numel()))
        return words[(words != self.bits).any(1)]

    def with_rows(self, rows: Callable[[Tensor, Tensor], Tensor]) -> Self:
        """See `WatermarkClaim.with_rows`: bits are read behind a rotation, which is put in front of the rows."""
        return replace(self, projection=self.basis @ rows(self.projection, self.bits))

    def not_redrawn(self, data: ImageData) -> str | None:
        """See `WatermarkClaim.not_redrawn`."""
        if self.bits.numel() > BASIS_LIMIT:
            return f"more than {BASIS_LIMIT} bits are too many to draw again"
        return super().not_redrawn(data)

    def check_structure(self) -> None:
        """See `Claim.check_structure`; a code word may be anything."""
        check_rows(self.projection)
        check_basis(self.basis)


def order_of(size: int) -> int:
    """The order of the plane with v = `size` points: v = order^2 + order + 1."""
    return (math.isqrt(4 * size - 3) - 1) // 2


@dataclass
class DeepMarksConfig(InFiltersConfig):
    """DeepMarks: an anti-collusion code word as a fingerprint vector."""

    order: int = 11  # of the code's projective plane, a prime; order^2 + order + 1 bits
    weight: float = 0.1  # gamma


@register("deepmarks", order=5)
class DeepMarks(InFilters):
    """L_c + gamma |f - X w|^2 (Chen et al. 2018, gamma = 0.1)."""

    Config = DeepMarksConfig
    claim_kind = DeepMarksClaim
    more_bits = "scheme.order"
    about = About(
        "projection",
        "Chen et al. 2018 [3]",
        "squared distance of a projected mean filter to a fingerprint",
        "bits of a code word; correlation",
    )

    projection: Tensor
    fingerprint: Tensor

    def __init__(
        self, network: nn.Module, recipe: Recipe, num_classes: int, *, claim: DeepMarksClaim, scheme: DeepMarksConfig
    ) -> None:
        super().__init__(network, recipe, num_classes, claim=claim, scheme=scheme)
        self.register_buffer("fingerprint", fingerprint(claim.basis, claim.bits), persistent=False)

    @classmethod
    def draw_claim(cls, config: TrainConfig, data: ImageData, trained: Trained) -> DeepMarksClaim:
        """See `Scheme.draw_claim`."""
        scheme, network = config.scheme, start_network(config, data)
        assert isinstance(scheme, DeepMarksConfig)
        words, source = code_book(scheme.order), cls.source(config)
        return DeepMarksClaim.drawn(network, scheme.layer, words, source, **claim_parts(config, data))

    def embedding_loss(self, w: Tensor) -> Tensor:
        """|f - X w|^2."""
        return embedding_loss(w, self.projection, self.fingerprint)
