"""The fidelity evaluation process F (Definition 1.II)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from ipr.data.images import LabelledImages
from ipr.models.use import evaluating
from ipr.passport.fork import Forked
from ipr.passport.layer import Branch

BATCH = 256
"""Images of one pass."""


@dataclass(frozen=True)
class Fidelity:
    """Whether an accuracy is the owner's: |M - M_t| <= epsilon_f. All three are fractions in [0, 1]."""

    accuracy: float
    target: float
    threshold: float

    @property
    def holds(self) -> bool:
        """The outcome of F; the comparison forgives the rounding of a float, nothing more."""
        return abs(self.accuracy - self.target) <= self.threshold + 1e-12


def accuracy(network: nn.Module, images: LabelledImages, batch_size: int = BATCH) -> float:
    """The fraction of images that a plain network classifies as labelled."""
    device = next(network.parameters()).device
    with evaluating(network):
        correct = sum((network(x).argmax(1) == y).sum() for x, y in images.batches(batch_size, device))
    return int(correct) / images.labels.numel()


def accuracies(
    forked: Forked,
    images: LabelledImages,
    *branches: Branch,
    batch_size: int = BATCH,
    progress: Iterable[None] | None = None,
) -> list[float]:
    """The same for every branch and every passport presented to a protected network, in one trunk pass."""
    network = forked.network
    device = next(network.parameters()).device
    correct: Tensor | int = 0
    ticks = iter(progress or ())
    with evaluating(network):
        for x, y in images.batches(batch_size, device):
            answers = forked(x, *branches).argmax(-1)
            correct = correct + (answers == y).sum(1)
            next(ticks, None)
    assert isinstance(correct, Tensor)
    return [count / images.labels.numel() for count in correct.tolist()]
