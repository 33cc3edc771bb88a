"""Forging a secret projection (Section II-B1): new secrets that fixed weights already satisfy."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ipr.attacks.base import Attack, Attacked, Fit, Victim, require
from ipr.claims.base import Claim
from ipr.data.images import ImageData
from ipr.randomness import generator


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

    lr: float = 0.01  # learning rate of Adam
    iterations: int = 1000  # steps at most

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        require(self.lr > 0, "lr", self.lr, "give e.g. 0.01")
        require(self.iterations >= 1, "iterations", self.iterations, "give e.g. 1000")

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
