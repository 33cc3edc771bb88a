"""Forging a secret projection (Section II-B1, Table I): new secrets that fixed weights already satisfy."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from ipr.attacks.base import Attack, Attacked, Fit, Victim
from ipr.claims.base import Claim
from ipr.config.registry import register
from ipr.data.images import ImageData, LabelledImages
from ipr.data.trigger_sets import abstract_trigger_set
from ipr.models.inspection import convolution_of
from ipr.randomness import generator
from ipr.schemes import deepmarks, uchida
from ipr.schemes.deepmarks import DeepMarksClaim, fingerprint
from ipr.schemes.deepsigns import DeepSignsClaim, mean_features
from ipr.schemes.uchida import UchidaClaim
from ipr.watermarks.projection import mean_filter, secret_projection


@dataclass(frozen=True)
class Forgery:
    """What a forger of a projection X starts from and aims at.

    Attributes:
        vectors: what X is applied to, (S, M): a mean filter, or mean activations; fixed, as the weights are.
        start: a freshly drawn X, (T, M).
        target: what X is to give, (S, T): values for the closed form.
        loss: of an X, for the gradient: the scheme's own embedding loss, with the weights frozen and X trained.
        solved: whether an X gives all that is claimed.
        claim: the claim with an X.
    """

    vectors: Tensor
    start: Tensor
    target: Tensor
    loss: Callable[[Tensor], Tensor]
    solved: Callable[[Tensor], bool]
    claim: Callable[[Tensor], Claim]


def least_change(vectors: Tensor, start: Tensor, target: Tensor) -> Tensor:
    """The X nearest to `start` (in the Frobenius norm) with vectors X^T = target, (T, M): one linear solve.

    Args:
        vectors: (S, M), of rank S.
        start: (T, M).
        target: (S, T).
    """
    missing = target.double() - vectors.double() @ start.double().T
    change: Tensor = (torch.linalg.pinv(vectors.double()) @ missing).T
    return (start.double() + change).to(start)


def by_gradient(forgery: Forgery, lr: float, iterations: int) -> tuple[Tensor, int]:
    """X trained by Adam until it is solved, and the number of iterations; at most `iterations`."""
    projection = forgery.start.clone().requires_grad_()
    optimizer = torch.optim.Adam([projection], lr)
    for done in range(iterations):
        if forgery.solved(projection.detach()):
            return projection.detach(), done
        optimizer.zero_grad()
        forgery.loss(projection).backward()
        optimizer.step()
    return projection.detach(), iterations


def bits_as_values(start: Tensor, vectors: Tensor, bits: Tensor) -> Tensor:
    """Values (S, T) with the signs of the bits and the magnitudes that a fresh projection gives, so that nothing else
    tells them apart; magnitudes below a tenth of their deviation are raised to it, safe from rounding.

    Args:
        start: (T, M).
        vectors: (S, M).
        bits: (S, T).
    """
    values: Tensor = vectors @ start.T
    return bits * values.abs().clamp(min=0.1 * float(values.square().mean().sqrt()))


@dataclass
class ForgeProjection(Attack):
    """What the three forgers of a projection share: their two ways, each a point of its own."""

    kind = "ambiguity"
    section = "II-B1 (the same attack; no numbers)"
    families = ("projection",)

    lr: float = 0.01  # learning rate of Adam
    iterations: int = 1000  # steps at most

    @abstractmethod
    def forgery(self, victim: Victim, data: ImageData, source: torch.Generator) -> Forgery:
        """What is forged."""

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`; each way draws the same secrets and pays for them."""
        forgery = self.forgery(victim, data, generator(seed, "forged projection"))
        projection, iterations = by_gradient(forgery, self.lr, self.iterations)
        yield Attacked(victim.suspect, {"way=gradient": forgery.claim(projection)}, iterations=iterations)
        forgery = self.forgery(victim, data, generator(seed, "forged projection"))
        projection = least_change(forgery.vectors, forgery.start, forgery.target)
        yield Attacked(victim.suspect, {"way=closed_form": forgery.claim(projection)}, iterations=0)


@register("forge_uchida")
@dataclass
class ForgeUchida(ForgeProjection):
    """A new projection X for random bits: Eq. 2 is minimised over X with the weights frozen, or solved as it is linear.

    The paper took 50 iterations, 2.5 % of the training time; its optimiser and rate are not told, ours is Adam.
    """

    section = "II-B1, Table I"
    attacker_has = "the weights; no training data"
    claims = UchidaClaim
    needs = "nothing in it is read by a projection of a mean filter with bits as signs"

    def forgery(self, victim: Victim, data: ImageData, source: torch.Generator) -> Forgery:
        """See `ForgeProjection.forgery`."""
        owner = victim.claim
        assert isinstance(owner, UchidaClaim)
        w = mean_filter(convolution_of(victim.suspect, owner.layer)[1]).detach().cpu()
        bits = torch.randint(0, 2, owner.bits.shape, generator=source, dtype=torch.int8) * 2 - 1
        start = secret_projection(bits.numel(), w.numel(), source)
        return Forgery(
            vectors=w[None],
            start=start,
            target=bits_as_values(start, w[None], bits[None]),
            loss=lambda projection: uchida.embedding_loss(w, projection, bits),
            solved=lambda projection: bool(((projection @ w > 0) == (bits > 0)).all()),
            claim=lambda projection: replace(owner, origin=None, projection=projection, bits=bits, text_bytes=0),
        )


@register("forge_deepmarks")
@dataclass
class ForgeDeepMarks(ForgeProjection):
    """A new projection X and basis for another user's word: |f - X w|^2 is minimised over X with the weights frozen,
    until all bits are read and the correlation is 0.99, or solved as it is linear.
    """

    attacker_has = "the weights and the code book; no training data"
    claims = DeepMarksClaim
    needs = "nothing in it is read as a fingerprint vector"

    def forgery(self, victim: Victim, data: ImageData, source: torch.Generator) -> Forgery:
        """See `ForgeProjection.forgery`."""
        owner = victim.claim
        assert isinstance(owner, DeepMarksClaim)
        w = mean_filter(convolution_of(victim.suspect, owner.layer)[1]).detach().cpu()
        others = owner.other_words()
        bits = others[int(torch.randint(others.shape[0], (1,), generator=source))]
        basis, _ = torch.linalg.qr(torch.randn(bits.numel(), bits.numel(), generator=source))
        wanted = fingerprint(basis, bits)

        def solved(projection: Tensor) -> bool:
            found = projection @ w
            read = (basis.T @ found > 0) == (bits > 0)
            return bool(read.all()) and float(functional.cosine_similarity(found, wanted, dim=0)) >= 0.99

        return Forgery(
            vectors=w[None],
            start=secret_projection(bits.numel(), w.numel(), source),
            target=wanted[None],
            loss=lambda projection: deepmarks.embedding_loss(w, projection, wanted),
            solved=solved,
            claim=lambda projection: replace(owner, origin=None, projection=projection, basis=basis, bits=bits),
        )


@register("forge_deepsigns")
@dataclass
class ForgeDeepSigns(ForgeProjection):
    """A new projection A for random bits in the mean activations of key images that the forger drew.

    The key images are abstract patterns, dealt out to the classes in turn: a judge who asked that they be of these
    classes would be given images of them, at no other cost.
    """

    attacker_has = "the weights and images of its own; no training data"
    claims = DeepSignsClaim
    needs = "nothing in it is read from mean activations"

    def forgery(self, victim: Victim, data: ImageData, source: torch.Generator) -> Forgery:
        """See `ForgeProjection.forgery`."""
        owner = victim.claim
        assert isinstance(owner, DeepSignsClaim)
        count = owner.labels.numel()
        own = abstract_trigger_set(count, data.image_size, data.channels, len(data.classes), source)
        labels = owner.chosen[torch.arange(count) % owner.chosen.numel()]
        keys = LabelledImages(own.pixels, labels, data.mean, data.std)
        means = mean_features(victim.suspect, keys, owner.chosen).float()
        bits = torch.randint(0, 2, owner.bits.shape, generator=source, dtype=torch.int8) * 2 - 1
        start = secret_projection(bits.shape[1], means.shape[1], source)
        wanted = (bits > 0).to(means)
        return Forgery(
            vectors=means,
            start=start,
            target=bits_as_values(start, means, bits),
            loss=lambda projection: functional.binary_cross_entropy_with_logits(
                means @ projection.T, wanted, reduction="sum"
            ),
            solved=lambda projection: bool(((means @ projection.T > 0) == (bits > 0)).all()),
            claim=lambda projection: replace(
                owner, origin=None, pixels=own.pixels, labels=labels, projection=projection, bits=bits
            ),
        )
