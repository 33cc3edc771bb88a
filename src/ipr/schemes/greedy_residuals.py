"""Greedy residuals (Liu et al. 2021, ICML): a signed message in the signs of sums over a layer's largest weights.

Nothing secret is needed to read them: the owner signs a message, and the hash of the signature is what every row of
weights is given the sign of. Who claims them brings message, public key and signature.

Constants are those of the authors' published program: 256 rows of 253 weights, of which the smaller half is set to 0,
threshold 0.1. Their layer is the first convolution of ResNet-18; here `model.watermark_layer`.

Deviations: lambda is 0.3 instead of 0.01, which writes few bits in a short training (docs/schemes.md). The key is
one of Ed25519 instead of RSA, so that it can be drawn again, and the hash is SHAKE-256 instead of SHA-256, for any
number of bits. Weights are averaged in whole groups, where theirs overlap, and rows of a small layer are shorter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from torch import Generator, Tensor, nn

from ipr.claims.base import OWNER_LIMIT, Reading, reading
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
from ipr.watermarks.projection import check_count, check_shape


def rows_of(weights: Tensor, count: int, columns: int) -> Tensor:
    """A layer's weights as `count` rows of `columns` averages, (T, C).

    Each is the mean of as many neighbours as there are for all; what is left over is left out. Where there are fewer
    than T C weights, rows are shorter.

    Args:
        weights: flattened, (N,), N at least T.
        count: T.
        columns: C at most.
    """
    columns = min(columns, weights.numel() // count)
    each = weights.numel() // (count * columns)
    return weights[: count * columns * each].view(count, columns, each).mean(2)


def residuals(rows: Tensor, dropped: float) -> Tensor:
    """The mean of each row whose smallest entries by magnitude are set to 0, (T,).

    Args:
        rows: (T, C).
        dropped: the fraction of a row that is set to 0, in [0, 1); at least one entry is kept.
    """
    columns = rows.shape[1]
    kept = max(1, columns - int(dropped * columns + 0.5))
    largest = rows.detach().abs().topk(kept, dim=1).indices
    return rows.gather(1, largest).sum(1) / columns


def embedding_loss(residual: Tensor, bits: Tensor, threshold: float) -> Tensor:
    """sum_j max(0, threshold - b_j r_j): the hinge loss of Liu et al.

    Args:
        residual: r, (T,).
        bits: b in {-1, +1}, (T,).
        threshold: the magnitude that it asks for, at least 0.
    """
    return torch.relu(threshold - bits * residual).sum()


@dataclass(frozen=True, kw_only=True)
class GreedyResidualsClaim(HashedClaim):
    """A signed message, the hash of whose signature is the bits.

    Attributes:
        message: what was signed, one line of at most 200 characters; no secret.
        public_key: of Ed25519, (32,), uint8.
        signature: of the message, (64,), uint8.
        columns: weights of a row at most, C.
        dropped: the fraction of a row that is set to 0.
    """

    kind = "greedy_residuals"
    hash_of = "the signature"

    message: str
    public_key: Tensor
    signature: Tensor
    columns: int
    dropped: float

    def __post_init__(self) -> None:
        for name, tensor, size in (("public_key", self.public_key, 32), ("signature", self.signature, 64)):
            check_shape(name, tensor, size)
            if tensor.dtype != torch.uint8:
                raise InputError("claim", name, "is not made of bytes", "restore the claim")
        if not self.message.isprintable() or len(self.message) > OWNER_LIMIT:
            problem = f"is not one line of at most {OWNER_LIMIT} characters that can be seen"
            raise InputError("claim", "message", problem, "restore the claim")
        if type(self.columns) is not int or self.columns < 1:
            raise InputError("claim", "columns", "is no number from 1 on", "restore the claim")
        if not 0 <= self.dropped < 1:
            raise InputError("claim", "dropped", "is no fraction from 0 to below 1", "restore the claim")
        super().__post_init__()

    @classmethod
    def drawn(
        cls, network: nn.Module, layer: str, count: int, source: Generator, *, message: str, **parts: Any
    ) -> Self:
        """A new claim of `count` bits: a drawn key signs the message.

        Raises:
            InputError: no such layer, no bits, or fewer weights than bits.
        """
        name, convolution = convolution_of(network, layer)
        check_count(count)
        if convolution.weight.numel() < count:
            problem = f"{name} has {convolution.weight.numel()} weights"
            raise InputError("scheme.bits", count, problem, "write fewer bits, or choose a larger layer")
        key = Ed25519PrivateKey.from_private_bytes(bytes(torch.randint(256, (32,), generator=source).tolist()))
        signature = key.sign(message.encode())
        return cls(
            layer=name,
            bits=hash_bits(signature, count),
            message=message,
            public_key=torch.tensor(list(key.public_key().public_bytes_raw()), dtype=torch.uint8),
            signature=torch.tensor(list(signature), dtype=torch.uint8),
            **parts,
        )

    def hashed(self) -> Tensor:
        """See `HashedClaim.hashed`; the signature has to be the public key's."""
        public_key, signature = bytes(elements(self.public_key)), bytes(elements(self.signature))
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, self.message.encode())
        except (InvalidSignature, ValueError) as error:
            raise InputError(
                "claim", "signature", "is not the public key's of the message", "restore the claim"
            ) from error
        return hash_bits(signature, self.bits.numel())

    def read(self, suspect: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> Reading:
        """Bit j is the sign of the j-th residual. Bits are a hash, so an unrelated network's are fair coins.

        Raises:
            InputError: the layer has fewer weights than there are bits.
        """
        name, convolution = convolution_of(suspect, self.layer)
        weights, total = convolution.weight.detach().double().cpu().flatten(), self.bits.numel()
        if weights.numel() < total:
            problem, remedy = f"the layer has {weights.numel()} weights", "judge the network that it was made for"
            raise InputError("claim", f"{name}: {total} bits", problem, remedy)
        found = detect(residuals(rows_of(weights, total, self.columns), self.dropped))
        return reading({self.layer: agreeing_bits(found, self.bits)}, {self.layer: total})

    def drawn_from(self, source: Generator, network: nn.Module, data: ImageData) -> Self:
        """See `WatermarkClaim.drawn_from`: of the same message."""
        sizes: dict[str, Any] = {"message": self.message, "columns": self.columns, "dropped": self.dropped}
        return self.drawn(network, self.layer, self.bits.numel(), source, **sizes, **self.kept)


@dataclass
class GreedyResidualsConfig(InFiltersConfig):
    """Greedy residuals: a signed message in the signs of sums over a layer's largest weights."""

    bits: int = 256  # T
    signature: str | None = None  # the message that is signed, no secret; null for the owner's name
    columns: int = 253  # averaged weights of a row at most
    dropped: float = 0.5  # of a row: the smallest weights, which are set to 0
    threshold: float = 0.1  # the magnitude that a residual is to have
    weight: float = 0.3  # lambda


@register("greedy_residuals", order=14)
class GreedyResiduals(InFilters):
    """L_c + lambda sum_j max(0, threshold - b_j r_j), b the hash of a signature (Liu et al. 2021)."""

    Config = GreedyResidualsConfig
    claim_kind = GreedyResidualsClaim
    about = About(
        "projection", "Liu et al. 2021, greedy residuals", "hinge on sums of a layer's largest weights", "bits"
    )

    bits: Tensor

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        num_classes: int,
        *,
        claim: GreedyResidualsClaim,
        scheme: GreedyResidualsConfig,
    ) -> None:
        super().__init__(network, recipe, num_classes, claim=claim, scheme=scheme)
        self.columns, self.dropped, self.threshold = claim.columns, claim.dropped, scheme.threshold

    @classmethod
    def draw_claim(cls, config: TrainConfig, data: ImageData, trained: Trained) -> GreedyResidualsClaim:
        """See `Scheme.draw_claim`."""
        scheme, network = config.scheme, start_network(config, data)
        assert isinstance(scheme, GreedyResidualsConfig)
        check_numbers(scheme, "scheme.")
        message = config.owner if scheme.signature is None else scheme.signature
        sizes: dict[str, Any] = {"message": message, "columns": scheme.columns, "dropped": scheme.dropped}
        return GreedyResidualsClaim.drawn(
            network, scheme.layer, scheme.bits, cls.source(config), **sizes, **claim_parts(config, data)
        )

    def vector(self, convolution: nn.Conv2d) -> Tensor:
        """See `InFilters.vector`: the residuals, (T,)."""
        return residuals(rows_of(convolution.weight.flatten(), self.bits.numel(), self.columns), self.dropped)

    def embedding_loss(self, w: Tensor) -> Tensor:
        """The hinge of the residuals."""
        return embedding_loss(w, self.bits, self.threshold)
