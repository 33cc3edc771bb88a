"""IPGuard (Cao, Jia and Gong, AsiaCCS 2021): points near the decision boundary, and the labels that they get there.

A point starts from a training image of class i and is moved, by Adam, to the side of another class j:

    ReLU(Z_i(x) - Z_j(x) + k) + ReLU(max over t != i, j of Z_t(x) - Z_i(x)),

so that j leads i by the margin k and all others stay behind i (Z: logits). Copies of the network give these points
its labels; networks that were trained by themselves have their boundary elsewhere, and give fewer. How many fewer is a
matter of k and of the task, so that a judge asks networks of his own.

Deviations: points are rounded to bytes, as a judge sends pictures; so the label that a point is claimed with is the one
that the network gives to the rounded point. The paper takes k = 10 and 1,000 steps at 0.001 on CIFAR-10. Here k is 3:
docs/fingerprints.md shows what it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ipr.config.ranges import check_numbers
from ipr.config.registry import register
from ipr.config.schema import TrainConfig
from ipr.data.images import ImageData, LabelledImages, normalise
from ipr.data.trigger_sets import TriggerSet
from ipr.models.inspection import device_of, frozen, logits_of
from ipr.schemes.base import About, Trained
from ipr.schemes.fingerprint import Fingerprint
from ipr.schemes.key_images import KeyImagesConfig
from ipr.schemes.start import claim_parts
from ipr.watermarks.key_images import KeyImageClaim, answers, drawn_images

MARGIN, STEPS, RATE = 3.0, 500, 0.02
"""k in logits, Adam's steps at most, and its learning rate in fractions of the pixels' range."""


def ipguard_loss(logits: Tensor, origin: Tensor, target: Tensor, margin: float) -> Tensor:
    """The loss of each point, (N,).

    Args:
        logits: Z, (N, K).
        origin: i, the class that a point comes from, (N,).
        target: j, another class, (N,).
        margin: k, in logits.
    """
    one, other = (logits.gather(1, label[:, None])[:, 0] for label in (origin, target))
    both = torch.stack([origin, target], 1)
    rest = logits.scatter(1, both, -torch.inf).amax(1)
    return functional.relu(one - other + margin) + functional.relu(rest - one)


def boundary_points(
    network: nn.Module,
    data: ImageData,
    count: int,
    source: Generator,
    *,
    margin: float = MARGIN,
    steps: int = STEPS,
    lr: float = RATE,
) -> TriggerSet:
    """Points near a network's decision boundary, with the labels that it gives them.

    Args:
        network: a trained plain network; left as it was.
        data: its training images, which the points start from.
        count: N.
        source: draws images and targets.
        margin: k, in logits.
        steps: of Adam at most; it stops where every loss is 0.
        lr: of Adam, in fractions of the pixels' range.

    Raises:
        InputError: there are fewer training images than points.
    """
    chosen = drawn_images(data, count, source)
    classes, device = len(data.classes), device_of(network)
    origin = data.train_labels[chosen]
    target = (origin + torch.randint(1, classes, origin.shape, generator=source)) % classes
    pixels = (data.train_pixels[chosen].to(device).float()).requires_grad_()
    origin, target = origin.to(device), target.to(device)
    optimizer = torch.optim.Adam([pixels], 255 * lr)
    with frozen(network), torch.enable_grad():
        for _ in range(steps):
            logits = logits_of(network, normalise(pixels, data.mean, data.std))
            loss = ipguard_loss(logits, origin, target, margin).sum()
            if not float(loss.detach()):
                break
            (pixels.grad,) = torch.autograd.grad(loss, pixels)
            optimizer.step()
            with torch.no_grad():
                pixels.clamp_(0, 255)
    rounded = pixels.detach().round().to(torch.uint8).cpu()
    given = answers(network, LabelledImages(rounded, chosen, data.mean, data.std))
    return TriggerSet(rounded, given)


@dataclass(frozen=True, kw_only=True)
class IPGuardClaim(KeyImageClaim):
    """Points near the boundary of the network that they were made from, with its labels.

    Networks of the same task agree with far more than one label in `choices`: the chance of a guess says little here,
    that of independent networks decides.
    """

    kind = "ipguard"
    is_fingerprint = True
    of_training_images = True

    @classmethod
    def keys(cls, network: nn.Module, data: ImageData, count: int, source: Generator) -> TriggerSet:
        """See `KeyImageClaim.keys`."""
        return boundary_points(network, data, count, source)

    def not_redrawn(self, data: ImageData) -> str | None:
        """See `WatermarkClaim.not_redrawn`."""
        return "they follow from a trained network, so they cannot be drawn again"


@dataclass
class IPGuardConfig(KeyImagesConfig):
    """IPGuard: trigger_set.size points near the boundary of the trained plain network."""

    margin: float = MARGIN  # k: by how many logits the target leads
    steps: int = STEPS  # of Adam at most
    lr: float = RATE  # of Adam, in fractions of the pixels' range


@register("ipguard", order=20)
class IPGuard(Fingerprint):
    """Points near the decision boundary of the trained plain network; nothing is trained besides."""

    Config = IPGuardConfig
    claim_kind = IPGuardClaim
    about = About(
        "fingerprint", "Cao et al. 2021", "nothing: points near the decision boundary are kept", "their labels"
    )

    @classmethod
    def identity(cls, config: TrainConfig, data: ImageData) -> dict[str, Any]:
        """See `Scheme.identity`: how many points."""
        return super().identity(config, data) | {"trigger_set": {"size": config.trigger_set.size}}

    @classmethod
    def draw_claim(cls, config: TrainConfig, data: ImageData, trained: Trained) -> IPGuardClaim:
        """See `Scheme.draw_claim`."""
        asked = config.scheme
        assert isinstance(asked, IPGuardConfig)
        check_numbers(asked, "scheme.")
        points = boundary_points(
            trained(),
            data,
            config.trigger_set.size,
            cls.source(config),
            margin=asked.margin,
            steps=asked.steps,
            lr=asked.lr,
        )
        return IPGuardClaim(
            pixels=points.pixels, labels=points.labels, choices=len(data.classes), **claim_parts(config, data)
        )
