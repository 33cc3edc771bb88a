"""The fidelity evaluation process F (Definition 1.II)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ipr.data.images import LabelledImages, normalise
from ipr.models.inspection import device_of, evaluating, logits_of
from ipr.passport.fork import Forked
from ipr.passport.layer import Affine
from ipr.passport.statistics import Statistics, batch_norms, of_one_batch, using

BATCH = 256
"""Images of one pass."""

STATISTICS_IMAGES = 1000
"""How many images a judge takes the statistics of batch norms from, of those that he judges on; their labels are not
used."""

STATISTICS_PIXELS = 2**24
"""And how many pixels they have together at most, since they are one batch: 334 images of 224 x 224."""

ROUNDING = 1e-12
"""What a comparison of two accuracies forgives: the rounding of a float, nothing more."""


@dataclass(frozen=True)
class Fidelity:
    """Whether an accuracy is the owner's: |M - M_t| <= epsilon_f. All three are fractions in [0, 1]."""

    accuracy: float
    target: float
    threshold: float

    @property
    def holds(self) -> bool:
        """The outcome of F; the comparison forgives the rounding of a float, nothing more."""
        return abs(self.accuracy - self.target) <= self.threshold + ROUNDING


@dataclass(frozen=True)
class Accuracies:
    """What a judge decides fidelity from; all are fractions in [0, 1].

    Attributes:
        claimed: with what is claimed presented; a watermark presents nothing, so that it is `given`.
        given: of the suspect as it is given away.
        target: M_t, which the claim declares; None where it declares none.
        chance: of an answer that is always the same: the largest class's share of the images judged on.
        control: the best of the random passports tried beside the claim; None where none was tried.
        plainly: of the suspect as it is given away on the same pictures, read as if no claim said how; None where they
            are read so anyway.
    """

    claimed: float
    given: float
    target: float | None
    chance: float
    control: float | None = None
    plainly: float | None = None

    @property
    def free(self) -> float:
        """What the suspect reaches as it is given away, the better of both readings of the pictures: no claimant may
        make it look worse than it is by how he has them read.
        """
        return max(self.given, self.plainly or 0.0)

    @property
    def floor(self) -> float:
        """What is well above chance: a quarter of the way from chance to 1."""
        return self.chance + (1 - self.chance) / 4

    @property
    def above_chance(self) -> bool:
        """Whether what is claimed reaches the floor; never where all images are of one class: any answer then may."""
        return self.claimed >= self.floor and self.claimed > self.chance


def percent(fraction: float | None, nothing: str = "-") -> str:
    """An accuracy, or another fraction, as a percentage with two decimals; `nothing` for None."""
    return nothing if fraction is None else f"{100 * fraction:.2f} %"


def largest_class(images: LabelledImages) -> float:
    """The accuracy of an answer that is always the same, a fraction."""
    return int(images.labels.bincount().max()) / images.labels.numel()


def as_published(seen: Accuracies, epsilon: float) -> bool:
    """Definition 1.II: |M - M_t| <= epsilon_f; False where the claim declares no M_t."""
    return seen.target is not None and Fidelity(seen.claimed, seen.target, epsilon).holds


def as_given_away(seen: Accuracies, epsilon: float) -> bool:
    """Whether the suspect works with what is claimed, whatever the claimant says of it.

    One-sided: a network that is better with a passport is no forgery. It must lose no more than epsilon_f of what the
    suspect reaches as it is given away (V2, V3). A passport that opens a locked network (V1) must lose no more than
    that of the declared target: what the suspect reaches without it says nothing then. And it must do so well above
    chance and above every random passport.

    Args:
        seen: what was measured.
        epsilon: epsilon_f, a fraction.
    """
    if seen.target is None or not seen.above_chance:
        return False
    if seen.control is not None and seen.claimed <= seen.control:
        return False
    slack = epsilon + ROUNDING
    opened = seen.claimed > seen.free + slack
    return seen.claimed >= seen.free - slack and not (opened and seen.claimed < seen.target - slack)


def accuracy(network: nn.Module, images: LabelledImages, batch_size: int = BATCH) -> float:
    """The fraction of images that a plain network classifies as labelled."""
    device = device_of(network)
    with evaluating(network):
        correct = sum((logits_of(network, x).argmax(1) == y).sum() for x, y in images.batches(batch_size, device))
    return int(correct) / images.labels.numel()


def accuracy_when_presented(network: nn.Module, images: LabelledImages) -> float:
    """The same of a network whose weights are what a claim presents: with statistics of batch norms from up to
    `STATISTICS_IMAGES` of the judge's own images, as those that are kept are of other weights.
    """
    norms = batch_norms(network.modules())
    if not norms:
        return accuracy(network, images)
    with evaluating(network):
        seen = of_one_batch(norms, lambda: logits_of(network, _chosen(images, device_of(network))))
    with using(seen):
        return accuracy(network, images)


def statistics_of(forked: Forked, images: LabelledImages, affines: Sequence[Mapping[str, Affine]]) -> list[Statistics]:
    """What a judge has the batch norms behind passport layers use, with each of several scales and shifts presented.

    The rule is the same for whoever presents them: statistics of up to `STATISTICS_IMAGES` of the judge's own images,
    those whose content has the smallest digests, in one batch. It depends on no order, and on nothing that a claimant
    brings but scales and shifts.
    """
    if not forked.norms:
        return [{} for _ in affines]
    return forked.statistics(_chosen(images, device_of(forked.network)), affines)


def _chosen(images: LabelledImages, device: torch.device) -> Tensor:
    pixels = images.pixels
    count = min(STATISTICS_IMAGES, max(2, STATISTICS_PIXELS // (pixels.shape[1] * pixels.shape[2])))
    if pixels.shape[0] > count:
        digests = [hashlib.sha256(image.numpy().tobytes()).digest() for image in pixels.cpu()]
        order = sorted(range(len(digests)), key=digests.__getitem__)
        pixels = pixels[order[:count]]
    return normalise(pixels.to(device), images.mean, images.std)


def accuracies(
    forked: Forked,
    images: LabelledImages,
    affines: Sequence[Mapping[str, Affine]],
    statistics: Sequence[Statistics] = (),
    *,
    batch_size: int = BATCH,
    progress: Iterable[None] | None = None,
) -> list[float]:
    """The same of a protected network with each of several scales and shifts presented, in one trunk pass.

    Args:
        forked: the network.
        images: what is judged on.
        affines: see `Forked.__call__`.
        statistics: see there.
        batch_size: images of one pass.
        progress: advanced once a batch.
    """
    network = forked.network
    device = device_of(network)
    correct: Tensor | int = 0
    ticks = iter(progress or ())
    with evaluating(network):
        for x, y in images.batches(batch_size, device):
            answers = torch.stack(forked(x, affines, statistics)).argmax(-1)
            correct = correct + (answers == y).sum(1)
            next(ticks, None)
    assert isinstance(correct, Tensor)
    return [count / images.labels.numel() for count in correct.tolist()]
