"""Uchida et al. 2017 [1]: bits in a secret projection of a convolution's mean filter (the paper's Eq. 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

from torch import Generator, Tensor, nn
from torch.nn import functional

from ipr.claims.base import Reading, reading
from ipr.claims.structure import check_rows
from ipr.config.registry import register
from ipr.config.schema import TrainConfig
from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.models.inspection import convolution_of
from ipr.schemes.base import About, Trained
from ipr.schemes.start import claim_parts, start_network
from ipr.schemes.watermark import InFilters, InFiltersConfig
from ipr.signature import agreeing_bits, check_text_bytes, decode_text, detect, draw_signature
from ipr.watermarks.projection import (
    FilterClaim,
    check_count,
    check_finite,
    check_shape,
    mean_filter,
    projected,
    secret_projection,
)


def embedding_loss(w: Tensor, projection: Tensor, bits: Tensor) -> Tensor:
    """Eq. 2: E_R = -sum_j (b_j log y_j + (1 - b_j) log(1 - y_j)), y_j = sigmoid(sum_i X_ji w_i).

    Args:
        w: mean filter, (M,).
        projection: X, (T, M).
        bits: b in {-1, +1}, (T,); +1 stands for the 1 of Eq. 2, -1 for its 0.
    """
    return functional.binary_cross_entropy_with_logits(projection @ w, (bits > 0).to(w), reduction="sum")


@dataclass(frozen=True, kw_only=True)
class UchidaClaim(FilterClaim):
    """Bits in a projection, which may begin with a text.

    Attributes:
        projection: X, (T, M), float.
        text_bytes: how many bytes of text the bits begin with.
    """

    kind = "uchida"
    of_projection = True

    projection: Tensor
    text_bytes: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shape("projection", self.projection, self.bits.numel(), None)
        check_finite("projection", self.projection)
        check_text_bytes(self.text_bytes, self.bits.numel())

    @classmethod
    def drawn(
        cls, network: nn.Module, layer: str, count: int, source: Generator, *, text: str | None = None, **parts: Any
    ) -> Self:
        """A new claim of `count` bits for a layer: text first, random bits behind it.

        Raises:
            InputError: no such layer, no bits, or more text than bits.
        """
        name, convolution = convolution_of(network, layer)
        check_count(count)
        needed = 8 * len((text or "").encode())
        if needed > count:
            raise InputError(
                "scheme.signature",
                f"<{len(text or '')} characters>",
                f"needs {needed} bits, there are {count}",
                f"shorten it to {count // 8} bytes, or give scheme.bits={needed}",
            )
        return cls(
            layer=name,
            projection=secret_projection(count, mean_filter(convolution).numel(), source),
            bits=draw_signature({name: count}, text, source)[name],
            text_bytes=needed // 8,
            **parts,
        )

    def read(self, suspect: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> Reading:
        """Bit j is 1 where sum_i X_ji w_i > 0. X is drawn, so an unrelated network's bits are fair coins."""
        found = detect(projected(suspect, self.layer, self.projection))
        agreeing, total = agreeing_bits(found, self.bits), self.bits.numel()
        return reading({self.layer: agreeing}, {self.layer: total}, text=decode_text(found[: 8 * self.text_bytes]))

    def drawn_from(self, source: Generator, network: nn.Module, data: ImageData) -> Self:
        """See `WatermarkClaim.drawn_from`; without a text."""
        return self.drawn(network, self.layer, self.bits.numel(), source, **self.kept)

    def with_rows(self, rows: Callable[[Tensor, Tensor], Tensor]) -> Self:
        """See `WatermarkClaim.with_rows`."""
        return replace(self, projection=rows(self.projection, self.bits))

    @property
    def chosen_bits(self) -> int:
        """See `Claim.chosen_bits`."""
        return 8 * self.text_bytes

    def check_structure(self) -> None:
        """See `Claim.check_structure`."""
        super().check_structure()
        check_rows(self.projection)


@dataclass
class UchidaConfig(InFiltersConfig):
    """Uchida et al. 2017: bits in a projection of a mean filter."""

    bits: int = 256  # T
    signature: str | None = None  # text to write, no secret; null for random bits
    weight: float = 0.01  # lambda


@register("uchida", order=4)
class Uchida(InFilters):
    """L_c + lambda E_R (Uchida et al. 2017, lambda = 0.01; E_R is the paper's Eq. 2)."""

    Config = UchidaConfig
    claim_kind = UchidaClaim
    about = About(
        "projection", "Uchida et al. 2017 [1]; Eq. 2", "cross-entropy of a projected mean filter with bits", "bits"
    )

    projection: Tensor
    bits: Tensor

    @classmethod
    def draw_claim(cls, config: TrainConfig, data: ImageData, trained: Trained) -> UchidaClaim:
        """See `Scheme.draw_claim`."""
        scheme, network = config.scheme, start_network(config, data)
        assert isinstance(scheme, UchidaConfig)
        source, parts = cls.source(config), claim_parts(config, data)
        return UchidaClaim.drawn(network, scheme.layer, scheme.bits, source, text=scheme.signature, **parts)

    def embedding_loss(self, w: Tensor) -> Tensor:
        """E_R."""
        return embedding_loss(w, self.projection, self.bits)
